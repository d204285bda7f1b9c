# SPDX-License-Identifier: Apache-2.0
"""Bytes on disk for one event: a streamed run against perf.data, raw and compressed, of the same work."""

from __future__ import annotations

import shutil
import tempfile
from collections import defaultdict
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

_GOAL = 0.1
_RUN, _PERF = "run --stream all", "perf.data"
_PERF_Z, _PERF_ZSTD = "perf record -z", "perf.data, zstd -3"
_OUTPUT = "trace.out"


@dataclass(frozen=True)
class Size:
    """Of one output."""

    events: int
    bytes: int

    @property
    def each(self) -> float:
        """Bytes for an event."""
        return self.bytes / max(1, self.events)


def measure(repeats: int = 2, mib: int = 256, rounds: int = 12, builds: int = 40) -> list[Finding]:
    """Print the table; the findings are ratios to perf.data as it is, of the same repetition.

    Two workloads, since the first is an easy one: page faults of one process,
    one after the other; and ``builds`` compilations, which are many processes with
    allocations of many kinds.
    """
    chosen = tracers.available((tracers.MEMTRACE_ALL, tracers.PERF, tracers.PERF_Z))
    surroundings = Surroundings()
    findings: list[Finding] = []
    with tempfile.TemporaryDirectory(prefix="memtrace-bench-") as name:
        folder = Path(name)
        faults.build(folder)
        work = faults.Work(faults.cpus_here()[:2], mib, rounds=rounds)
        for label, command in (
            (f"page faults, {work.pages:,}", work.argv("rounds")),
            (f"{builds} compilations, two at a time", _compile(folder, builds)),
        ):
            sizes = _sizes(chosen, command, folder, repeats)
            click.echo(f"{label}:")
            _print(sizes)
            findings.append(_finding(label.split(",")[0], sizes))
            click.echo()
    for sentence in tracers.absent("perf", "unshare", "zstd"):
        say(sentence)
    say("The run's header and statuses are counted in, as perf.data's are. " + surroundings.sentence())
    return findings


def _compile(folder: Path, builds: int) -> list[str]:
    source = Path(faults.__file__).with_name("faults.c")
    shutil.copy(source, folder / "build.c")
    script = f"seq {builds} | xargs -P 2 -I N cc -O2 -c -o build.N.o build.c"
    (folder / "build.sh").write_text(script + "\n")
    return ["sh", "build.sh"]


def _sizes(
    chosen: Sequence[Tracer], command: Sequence[str], folder: Path, repeats: int
) -> dict[str, list[float]]:
    """Bytes for an event, by output, one value a run."""
    sizes: dict[str, list[float]] = defaultdict(list)
    for _ in range(repeats):
        for tracer in abba(chosen):
            output = folder / _OUTPUT
            output.unlink(missing_ok=True)
            tracers.run(tracer.argv(command, _OUTPUT), folder)
            for name, size in _outputs(tracer, folder):
                sizes[name].append(size.each)
    return sizes


def _outputs(tracer: Tracer, folder: Path) -> list[tuple[str, Size]]:
    output = folder / _OUTPUT
    if tracer is tracers.MEMTRACE_ALL:
        with open_run(output) as run:
            streamed = sum(c.streamed for c in run.status.counters)
        return [(_RUN, Size(streamed, output.stat().st_size))]
    events = tracers.perf_samples(folder, _OUTPUT)
    found = [(_PERF if tracer is tracers.PERF else _PERF_Z, Size(events, output.stat().st_size))]
    if tracer is tracers.PERF and not tracers.absent("zstd"):
        tracers.run(["zstd", "-q", "-f", "-3", _OUTPUT, "-o", "packed"], folder)
        found.append((_PERF_ZSTD, Size(events, (folder / "packed").stat().st_size)))
    return found


def _print(sizes: dict[str, list[float]]) -> None:
    ours = spread(sizes[_RUN]).median
    rows = []
    for name, each in sizes.items():
        size = spread(each)
        rows.append((name, size.text(".2f"), f"{size.median / ours:.1f}"))
    click.echo(table(("", "bytes/event", "/ run"), sorted(rows, key=lambda row: float(row[2]))))


def _finding(label: str, sizes: dict[str, list[float]]) -> Finding:
    what = f"bytes/perf.data's: {label}"
    if not sizes.get(_PERF):
        return Finding(what, "unknown", f"<= {_GOAL}", None)
    ratio = spread(ours / theirs for ours, theirs in zip(sizes[_RUN], sizes[_PERF], strict=True))
    return Finding(what, ratio.text(".3f"), f"<= {_GOAL}", ratio.median <= _GOAL)


@click.command(help=__doc__)
@click.option("--repeats", type=click.IntRange(1), default=2, show_default=True, help="ABBA pairs.")
@click.option("--rounds", type=click.IntRange(1), default=12, show_default=True, help="Page-fault rounds.")
@click.option("--builds", type=click.IntRange(1), default=40, show_default=True, help="Compilations.")
def main(repeats: int, rounds: int, builds: int) -> None:
    """The command line."""
    script(lambda: measure(repeats, rounds=rounds, builds=builds))


if __name__ == "__main__":
    main()
