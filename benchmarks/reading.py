# SPDX-License-Identifier: Apache-2.0
"""Events read a second of CPU time: `memtrace report` against `perf script`, of the same work."""

from __future__ import annotations

import os
import sys
import tempfile
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path

import click

from memtrace.benchmarks import faults, tracers
from memtrace.benchmarks.findings import Finding, say, script, table
from memtrace.benchmarks.spread import abba, spread
from memtrace.benchmarks.surroundings import Surroundings
from memtrace.traces.reader import open_run

_RUN, _PERF = "run.parquet", "perf.data"


def measure(repeats: int = 2, mib: int = 256, rounds: int = 24) -> list[Finding]:
    """Print the table; the finding is the ratio of events per second of CPU time, whole processes."""
    name = "report's events/s to perf script's"
    missing = tracers.absent(*tracers.PERF.needs)
    if missing:
        for sentence in missing:
            say(sentence)
        return [Finding(name, "unknown", "> 1", None)]
    surroundings = Surroundings()
    rates: dict[str, list[float]] = defaultdict(list)
    with tempfile.TemporaryDirectory(prefix="memtrace-bench-") as folder_name:
        folder = Path(folder_name)
        faults.build(folder)
        work = faults.Work(faults.cpus_here()[:2], mib, rounds=rounds).argv("rounds")
        tracers.run(tracers.MEMTRACE_ALL.argv(work, _RUN), folder)
        tracers.run(tracers.PERF.argv(work, _PERF), folder)
        readers = {
            "memtrace report": ([sys.executable, "-m", "memtrace.cli", "report", _RUN], _streamed(folder)),
            "perf script": (["perf", "script", "-i", _PERF], tracers.perf_samples(folder, _PERF)),
        }
        for _ in range(repeats):
            for reader in abba(list(readers)):
                argv, events = readers[reader]
                rates[reader].append(events / _cpu_seconds(argv, folder))
    rows = [(reader, spread(v / 1e6 for v in values).text(".2f")) for reader, values in rates.items()]
    click.echo(table(("", "M events/s of CPU"), rows))
    ratio = spread(a / b for a, b in zip(rates["memtrace report"], rates["perf script"], strict=True))
    say(
        "perf script prints each event, report adds them up: what a person waits for. "
        + surroundings.sentence()
    )
    return [Finding(name, ratio.text(".1f"), "> 1", ratio.median > 1)]


def _cpu_seconds(argv: Sequence[str], folder: Path) -> float:
    """CPU time of a command whose output is read and thrown away."""
    before = os.times()
    tracers.run(["sh", "-c", 'exec "$@" > /dev/null', "sh", *argv], folder)
    after = os.times()
    return after.children_user + after.children_system - before.children_user - before.children_system


def _streamed(folder: Path) -> int:
    with open_run(folder / _RUN) as run:
        return sum(counter.streamed for counter in run.status.counters)


@click.command(help=__doc__)
@click.option("--repeats", type=click.IntRange(1), default=2, show_default=True, help="ABBA pairs.")
@click.option("--rounds", type=click.IntRange(1), default=24, show_default=True, help="Page-fault rounds.")
def main(repeats: int, rounds: int) -> None:
    """The command line."""
    script(lambda: measure(repeats, rounds=rounds))


if __name__ == "__main__":
    main()
