# SPDX-License-Identifier: Apache-2.0
"""What tracing adds to one page allocation: memtrace, perf and bpftrace on the same page faults."""

from __future__ import annotations

import statistics
import tempfile
from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import click

from memtrace.benchmarks import faults, tracers
from memtrace.benchmarks.findings import Finding, say, script, table
from memtrace.benchmarks.spread import abba, spread
from memtrace.benchmarks.surroundings import Surroundings
from memtrace.benchmarks.tracers import Tracer
from memtrace.traces.reader import open_run

_TRACERS = (
    tracers.UNTRACED,
    tracers.MEMTRACE,
    tracers.MEMTRACE_ALL,
    tracers.PERF,
    tracers.BPFTRACE_COUNT,
    tracers.BPFTRACE_PRINT,
)
_GOAL = 0.5
_SHARE = 0.15
"""Of the fault's own CPU time, with order 0 summed in the kernel."""
_OUTPUT = "trace.out"


@dataclass(frozen=True)
class Cost:
    """One run under one tracer: medians per fault, and the share of the faults that it recorded."""

    cpu_ns: float
    wall_ns: float
    kept: float


def measure(repeats: int = 4, mib: int = 64, rounds: int = 10, warmup: int = 2) -> list[Finding]:
    """Print the table; the findings are ratios to ``perf record`` of the same repetition."""
    work = faults.Work(cpus=faults.cpus_here()[-1:], mib=mib, rounds=rounds, warmup=warmup)
    chosen = tracers.available(_TRACERS)
    surroundings = Surroundings()
    seen: dict[str, list[Cost]] = defaultdict(list)
    with tempfile.TemporaryDirectory(prefix="memtrace-bench-") as name:
        folder = Path(name)
        faults.build(folder)
        for _ in range(repeats):
            both: dict[str, list[Cost]] = defaultdict(list)
            for tracer in abba(chosen):
                both[tracer.name].append(_run(tracer, work, folder))
            for tracer in chosen:
                seen[tracer.name].append(_mean(both[tracer.name]))
        site = _site(folder, work)
    pages = mib * faults.PAGES_PER_MIB
    say(
        f"{pages:,} fresh 4 KiB pages a round on CPU {work.cpus[0]}; {rounds} rounds a run after "
        f"{warmup} of warm-up, {2 * repeats} runs each (ABBA); median (min..max) of {repeats} pairs. "
        f"memtrace's site for alloc here: {site}."
    )
    _print(chosen, seen)
    say(
        "CPU and added: the faulting thread's CPU time. Wall: added to its wall time, where it also waits "
        "for a CPU, be it for the tracer's reader or for anybody else. Kept: share of the faults that "
        "the output has. /perf: added CPU time, over that of perf record in the same pair."
    )
    for sentence in tracers.absent("perf", "bpftrace", "unshare"):
        say(sentence)
    say(surroundings.sentence())
    return _findings(seen)


def _run(tracer: Tracer, work: faults.Work, folder: Path) -> Cost:
    (folder / _OUTPUT).unlink(missing_ok=True)
    tracers.run(tracer.argv(work.argv("rounds"), _OUTPUT), folder)
    cpu, wall = faults.per_fault(faults.read(folder / "rounds"))
    return Cost(cpu, wall, min(1.0, _recorded(tracer, folder) / work.pages))


def _mean(costs: Sequence[Cost]) -> Cost:
    return Cost(
        statistics.mean(c.cpu_ns for c in costs),
        statistics.mean(c.wall_ns for c in costs),
        statistics.mean(c.kept for c in costs),
    )


def _recorded(tracer: Tracer, folder: Path) -> float:
    """Allocations of the workload in a tracer's output (of everybody, where it does not tell)."""
    output = folder / _OUTPUT
    if tracer in (tracers.MEMTRACE, tracers.MEMTRACE_ALL):
        with open_run(output) as run:
            status = run.status
        seen = sum(c.seen for c in status.counters if c.event == "alloc")
        lost = sum(c.ring_full for c in status.counters if c.event == "alloc")
        ours = sum(t.count for t in status.tasks if t.event == "alloc" and t.comm == "faults")
        return ours * (seen - lost) / seen if seen else 0
    if tracer is tracers.PERF:
        comms = Counter(tracers.run(["perf", "script", "-i", _OUTPUT, "-F", "comm"], folder).split())
        return comms["faults"]
    if tracer is tracers.BPFTRACE_PRINT:
        with output.open(errors="replace") as lines:
            return sum(" faults " in line for line in lines)
    if tracer is tracers.BPFTRACE_COUNT:
        counts = [line.split("]: ") for line in output.read_text().splitlines() if line.startswith("@[")]
        return sum(int(count) for _, count in counts)
    return float("inf")


def _site(folder: Path, work: faults.Work) -> str:
    tracers.run(tracers.MEMTRACE.argv(["true"], _OUTPUT), folder)
    with open_run(folder / _OUTPUT) as run:
        return next((s.site or "none" for s in run.header.manifest if s.event == "alloc"), "none")


def _added(seen: dict[str, list[Cost]], name: str, clock: str) -> list[float]:
    """Against the untraced runs of the same repetition, ns per fault."""
    pairs = zip(seen[name], seen[tracers.UNTRACED.name], strict=True)
    return [getattr(traced, clock) - getattr(untraced, clock) for traced, untraced in pairs]


def _ratios(seen: dict[str, list[Cost]], name: str) -> list[float]:
    pairs = zip(_added(seen, name, "cpu_ns"), _added(seen, tracers.PERF.name, "cpu_ns"), strict=True)
    return [ours / theirs for ours, theirs in pairs if theirs > 0]


def _print(chosen: Sequence[Tracer], seen: dict[str, list[Cost]]) -> None:
    head = ("ns per fault", "CPU", "added (min..max)", "wall", "kept", "/perf")
    rows = []
    for tracer in chosen:
        costs = seen[tracer.name]
        cpu = f"{statistics.median(c.cpu_ns for c in costs):,.0f}"
        if tracer is tracers.UNTRACED:
            rows.append((tracer.name, cpu, "", "", "", ""))
            continue
        ratios = _ratios(seen, tracer.name) if tracers.PERF in chosen else []
        rows.append(
            (
                tracer.name,
                cpu,
                spread(_added(seen, tracer.name, "cpu_ns")).text(),
                f"{statistics.median(_added(seen, tracer.name, 'wall_ns')):+,.0f}",
                f"{statistics.median(c.kept for c in costs):.1%}",
                f"{statistics.median(ratios):.2f}" if ratios else "unknown",
            )
        )
    click.echo(table(head, rows))


def _findings(seen: dict[str, list[Cost]]) -> list[Finding]:
    found = []
    for name, short in (
        (tracers.MEMTRACE.name, "added CPU/perf's"),
        (tracers.MEMTRACE_ALL.name, "added CPU/perf's, --stream all"),
    ):
        ratios = _ratios(seen, name) if seen[tracers.PERF.name] else []
        goal = f"<= {_GOAL}"
        if not ratios:
            found.append(Finding(short, "unknown", goal, None))
            continue
        ratio = spread(ratios)
        found.append(Finding(short, ratio.text(".2f"), goal, ratio.median <= _GOAL))
    shares = [
        added / untraced.cpu_ns
        for added, untraced in zip(
            _added(seen, tracers.MEMTRACE.name, "cpu_ns"), seen[tracers.UNTRACED.name], strict=True
        )
    ]
    share = spread(shares)
    found.append(
        Finding("added CPU of a 4 KiB fault", share.text(".1%"), f"<= {_SHARE:.0%}", share.median <= _SHARE)
    )
    return found


@click.command(help=__doc__)
@click.option("--repeats", type=click.IntRange(1), default=4, show_default=True, help="ABBA pairs.")
@click.option("--mib", type=click.IntRange(1), default=64, show_default=True, help="Memory of one round.")
@click.option("--rounds", type=click.IntRange(1), default=10, show_default=True, help="Counted rounds a run.")
def main(repeats: int, mib: int, rounds: int) -> None:
    """The command line."""
    script(lambda: measure(repeats, mib, rounds))


if __name__ == "__main__":
    main()
