# SPDX-License-Identifier: Apache-2.0
"""How long memtrace takes to start: its help, its imports, and from the start until it is armed."""

from __future__ import annotations

import shutil
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path

import click

from memtrace.benchmarks import tracers
from memtrace.benchmarks.findings import Finding, say, script, table
from memtrace.benchmarks.spread import abba, spread
from memtrace.benchmarks.surroundings import Surroundings
from memtrace.benchmarks.tracers import Tracer
from memtrace.traces.reader import open_run

_GOAL_HELP_S = 0.2
_GOAL_ARMED_S = 1.5
_OUTPUT = "trace.out"
_NANOSECONDS_DIGITS = 19

_COMMANDS = {
    "python -c pass": [sys.executable, "-c", "pass"],
    "memtrace --help": [sys.executable, "-m", "memtrace.cli", "--help"],
    "import memtrace.cli": [sys.executable, "-c", "import memtrace.cli"],
    "import what records": [
        sys.executable,
        "-c",
        "import pyarrow.parquet, memtrace.commands.record, memtrace.probes.recorder.recording",
    ],
}
_HELP = "memtrace --help"
_TRACERS = (tracers.MEMTRACE, tracers.MEMTRACE_ALL, tracers.PERF, tracers.BPFTRACE_COUNT)


def measure(repeats: int = 4) -> list[Finding]:
    """Print the tables; the findings are the time of ``--help`` and the time until armed."""
    surroundings = Surroundings()
    with tempfile.TemporaryDirectory(prefix="memtrace-bench-") as name:
        folder = Path(name)
        plain = _plain(folder, repeats)
        chosen = tracers.available(_TRACERS)
        armed, whole, told = _tracers(chosen, folder, repeats)
    click.echo(
        table(("seconds", "median (min..max)"), [(n, spread(t).text(".3f")) for n, t in plain.items()])
    )
    click.echo()
    rows = [(t.name, spread(armed[t.name]).text(".2f"), spread(whole[t.name]).text(".2f")) for t in chosen]
    click.echo(table(("seconds", "start to COMMAND", "to the end"), rows))
    say(
        f"Each {2 * repeats} times (ABBA). COMMAND (date) starts when the tracer records. memtrace's "
        f"recorder itself says it was armed {spread(told).text('.2f')} s after it began."
    )
    for sentence in tracers.absent("perf", "bpftrace", "unshare"):
        say(sentence)
    say(surroundings.sentence())
    slowest = spread(armed[tracers.MEMTRACE.name] + armed[tracers.MEMTRACE_ALL.name])
    return [
        _finding("memtrace --help, s", plain[_HELP], _GOAL_HELP_S),
        Finding(
            "start to armed, s", slowest.text(".2f"), f"< {_GOAL_ARMED_S}", slowest.median < _GOAL_ARMED_S
        ),
    ]


def _plain(folder: Path, repeats: int) -> dict[str, list[float]]:
    times: dict[str, list[float]] = defaultdict(list)
    for argv in _COMMANDS.values():
        tracers.run(argv, folder)
    for _ in range(repeats):
        for name in abba(tuple(_COMMANDS)):
            begun = time.perf_counter()
            tracers.run(_COMMANDS[name], folder)
            times[name].append(time.perf_counter() - begun)
    return times


def _tracers(
    chosen: Sequence[Tracer], folder: Path, repeats: int
) -> tuple[dict[str, list[float]], dict[str, list[float]], list[float]]:
    """Seconds until COMMAND started and until the tracer had ended, by tracer; and what memtrace told."""
    armed: dict[str, list[float]] = defaultdict(list)
    whole: dict[str, list[float]] = defaultdict(list)
    told = []
    for _ in range(repeats):
        for tracer in abba(chosen):
            (folder / _OUTPUT).unlink(missing_ok=True)
            begun, wall = time.time_ns(), time.perf_counter()
            out = tracers.run(tracer.argv([shutil.which("date") or "date", "+%s%N"], _OUTPUT), folder)
            whole[tracer.name].append(time.perf_counter() - wall)
            armed[tracer.name].append((_moment(out) - begun) / 1e9)
            if tracer in (tracers.MEMTRACE, tracers.MEMTRACE_ALL):
                with open_run(folder / _OUTPUT) as run:
                    cost = run.status.cost
                told += [cost.armed_after_ns / 1e9] if cost else []
    return armed, whole, told


def _moment(out: str) -> int:
    """The time that date(1) printed among whatever the tracer did, ns."""
    return next(int(w) for w in out.split() if w.isdigit() and len(w) == _NANOSECONDS_DIGITS)


def _finding(what: str, seconds: Sequence[float], goal: float) -> Finding:
    took = spread(seconds)
    return Finding(what, took.text(".3f"), f"< {goal}", took.median < goal)


@click.command(help=__doc__)
@click.option("--repeats", type=click.IntRange(1), default=4, show_default=True, help="ABBA pairs.")
def main(repeats: int) -> None:
    """The command line."""
    script(lambda: measure(repeats))


if __name__ == "__main__":
    main()
