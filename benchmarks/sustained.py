# SPDX-License-Identifier: Apache-2.0
"""How many events a second memtrace streams with nothing lost, and what its reader needs for it."""

from __future__ import annotations

import tempfile
from dataclasses import dataclass
from pathlib import Path

import click

from memtrace.benchmarks import faults, tracers
from memtrace.benchmarks.findings import Finding, say, script, table
from memtrace.benchmarks.surroundings import Surroundings
from memtrace.errors import MemtraceError
from memtrace.traces.reader import Run, open_run
from memtrace.traces.run import RunStatus
from memtrace.traces.schema import Flag
from memtrace.traces.totals import EventCounters

_GOAL_RATE = 800_000
_GOAL_CPU_NS = 250
"""For each event: 20 % of one CPU at 800,000 a second."""
_NEAR = 0.98
"""Pacing and the run's own edges: a rate this close to the one asked for is that rate."""
_SUM_MODULUS = 2**64


@dataclass(frozen=True)
class Sums:
    """Of one event: how many, and sums of order and pfn modulo 2**64."""

    count: int
    order: int
    pfn: int


def measure(seconds: float = 60, rate: float = _GOAL_RATE, mib: int = 4) -> list[Finding]:
    """Record paced page faults on all CPUs (two at most), and hold the file against the kernel's sums.

    Each thread touches only ``mib`` at a time, so that its pages stay in the
    cache: the rate is what counts here.  Raises MemtraceError if they differ.
    """
    cpus = faults.cpus_here()[:2]
    with tempfile.TemporaryDirectory(prefix="memtrace-bench-") as name:
        folder = Path(name)
        faults.build(folder)
        alone = _untraced_rate(folder, faults.Work(cpus, mib, seconds=min(5, seconds)))
        surroundings = Surroundings()
        work = faults.Work(cpus, mib, seconds=seconds, rate=rate)
        tracers.run(tracers.MEMTRACE_ALL.argv(work.argv("rounds"), "run.parquet"), folder)
        with open_run(folder / "run.parquet") as run:
            return _report(run, rate, alone, cpus, surroundings)


def _untraced_rate(folder: Path, work: faults.Work) -> float:
    tracers.run(work.argv("rounds"), folder)
    return sum(r.faults for r in faults.read(folder / "rounds")) / work.seconds


def _report(
    run: Run, rate: float, alone: float, cpus: tuple[int, ...], surroundings: Surroundings
) -> list[Finding]:
    status = run.status
    cost = status.cost
    if cost is None or not run.header.manifest:
        raise MemtraceError("the run does not say what recording cost: record it with this memtrace")
    elapsed = status.ended_ns - status.started_ns
    seen, streamed = (sum(getattr(c, n) for c in status.counters) for n in ("seen", "streamed"))
    achieved = seen / elapsed * 1e9
    share = cost.recorder_cpu_ns / elapsed
    each = cost.recorder_cpu_ns / max(1, streamed)
    lost = _lost(status)
    written = cost.file_bytes or 0
    asked = f"{rate:,.0f} faults/s asked for" if rate else "as fast as they can"
    say(f"Page faults on CPUs {','.join(map(str, cpus))} for {elapsed / 1e9:.0f} s, {asked}; all streamed.")
    rows = [
        ("events", f"{seen:,}"),
        ("events/s", f"{achieved:,.0f}"),
        ("untraced, unpaced: faults/s", f"{alone:,.0f}"),
        *((f"lost, {cause}", "unknown" if n is None else f"{n:,}") for cause, n in lost.items()),
        ("recorder's CPU, of one", f"{share:.1%}"),
        ("recorder's CPU ns/event", f"{each:,.0f}"),
        ("recorder's peak RSS MB", f"{cost.recorder_max_rss_bytes / 1e6:,.0f}"),
        ("written MB", f"{written / 1e6:,.1f}"),
        ("written bytes/event", f"{written / max(1, streamed):.2f}"),
    ]
    click.echo(table(("", ""), rows).lstrip("\n"))
    _check(run)
    if rate and achieved < _NEAR * rate:
        say(f"This machine made {achieved:,.0f} of the {rate:,.0f} events/s asked for.")
    say(surroundings.sentence())
    causes = {cause: n for cause, n in lost.items() if n}
    count = ", ".join(f"{n:,} ({cause})" for cause, n in causes.items()) or "0"
    fast = achieved >= _NEAR * _GOAL_RATE
    return [
        Finding(
            f"lost in {elapsed / 1e9:.0f} s",
            f"{count} at {achieved / 1e3:,.0f} k/s",
            f"0 at {_GOAL_RATE / 1e3:.0f} k/s",
            False if causes else (True if fast else None),
        ),
        Finding(
            "recorder's CPU ns/event",
            f"{each:,.0f} ({share:.1%} of one)",
            f"< {_GOAL_CPU_NS}",
            each < _GOAL_CPU_NS,
        ),
    ]


def _lost(status: RunStatus) -> dict[str, int | None]:
    losses = status.losses
    return {
        "ring full": losses.ring_full,
        "kretprobe missed": losses.kretprobe_missed,
        "recursion": losses.recursion,
        "entry without exit": losses.entry_without_exit,
        "no room": losses.no_room,
    }


def _check(run: Run) -> None:
    """Say for each event whether file and kernel agree; raises MemtraceError if not."""
    in_file = _file_sums(run)
    wrong = []
    for kernel in run.status.counters:
        if not kernel.seen:
            continue
        file = in_file.get(kernel.event, Sums(0, 0, 0))
        problem = _difference(kernel, file)
        lost = f" + {kernel.ring_full:,} lost" if kernel.ring_full else ""
        say(
            f"{kernel.event}: file {file.count:,}{lost}, kernel {kernel.seen:,}; sums of order and pfn: "
            + (problem or ("not comparable, as events were lost" if lost else "equal"))
            + "."
        )
        if problem:
            wrong.append(f"{kernel.event}: {problem}")
    if wrong:
        raise MemtraceError(f"the file is not what the kernel counted ({'; '.join(wrong)})")


def _difference(kernel: EventCounters, file: Sums) -> str:
    if kernel.aggregated or file.count + kernel.ring_full != kernel.seen:
        return f"{file.count} rows + {kernel.ring_full} lost are not {kernel.seen} seen"
    if kernel.ring_full:
        return ""
    for name, ours, theirs in (
        ("order", file.order, kernel.sum_order),
        ("pfn", file.pfn, kernel.sum_pfn),
    ):
        if ours != theirs:
            return f"sum of {name}: {ours} in the file, {theirs} in the kernel"
    return ""


def _file_sums(run: Run) -> dict[str, Sums]:
    import duckdb

    with duckdb.connect() as connection:
        connection.execute("SET threads = 2")
        rows = run.relation(connection, ("event", "order", "pfn", "flags"))
        sums = rows.filter(f"flags & {int(Flag.AGGREGATED)} = 0").aggregate(
            'event, count(*), coalesce(sum("order"), 0), coalesce(sum(pfn), 0)'
        )
        return {
            event: Sums(count, order % _SUM_MODULUS, pfn % _SUM_MODULUS)
            for event, count, order, pfn in sums.fetchall()
        }


@click.command(help=__doc__)
@click.option("--seconds", type=click.FloatRange(1), default=60, show_default=True)
@click.option(
    "--pace",
    type=click.FloatRange(0),
    default=_GOAL_RATE,
    show_default=True,
    help="Faults a second in all; 0: as fast as they can.",
)
def main(seconds: float, pace: float) -> None:
    """The command line."""
    script(lambda: measure(seconds, pace))


if __name__ == "__main__":
    main()
