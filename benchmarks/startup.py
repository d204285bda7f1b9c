# SPDX-License-Identifier: Apache-2.0
"""How long memtrace takes to start, until it is armed, beside perf record; and what memory it takes then."""

from __future__ import annotations

import re
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import click

from memtrace.benchmarks import tracers
from memtrace.benchmarks.findings import Finding, say, script, table
from memtrace.benchmarks.spread import abba, spread
from memtrace.benchmarks.surroundings import Surroundings
from memtrace.benchmarks.tracers import Tracer
from memtrace.errors import MemtraceError
from memtrace.traces.reader import open_run

_GOAL_HELP_S = 0.2
_GOAL_BESIDE_PERF = 2.5
_GOAL_RSS_MB = 120
_GOAL_TAKEN_MB = 64
_OUTPUT = "trace.out"
# When it starts, ns of the day's clock, and what is free then, kB.
_SCRIPT = "date +%s%N\ngrep MemFree: /proc/meminfo\n"
_SETTLE_S = 1.0
"""The kernel frees in the background what the tracer before had."""

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
        (folder / "command").write_text(_SCRIPT)
        starts = _tracers(chosen, folder, repeats)
    click.echo(
        table(("seconds", "median (min..max)"), [(n, spread(t).text(".3f")) for n, t in plain.items()])
    )
    click.echo()
    rows = [
        (
            tracer.name,
            spread([s.armed_s for s in starts[tracer.name]]).text(".2f"),
            spread([s.whole_s for s in starts[tracer.name]]).text(".2f"),
            spread([s.taken_mb for s in starts[tracer.name]]).text(".0f"),
        )
        for tracer in chosen
    ]
    click.echo(table(("", "start to COMMAND, s", "to the end, s", "MemFree taken, MB"), rows))
    own = starts[tracers.MEMTRACE.name]
    say(
        f"Each {2 * repeats} times (ABBA). COMMAND starts when the tracer records. memtrace's recorder "
        f"says it was armed {spread([s.told_s for s in own if s.told_s is not None]).text('.2f')} s after it "
        "began. MemFree is the machine's: others take and free memory meanwhile."
    )
    for sentence in tracers.absent("perf", "bpftrace", "unshare"):
        say(sentence)
    say(surroundings.sentence())
    return [
        _at_most("memtrace --help, s", plain[_HELP], _GOAL_HELP_S, ".3f"),
        _beside_perf(own, starts.get(tracers.PERF.name, [])),
        _at_most("peak RSS, MB", [s.rss_mb for s in own if s.rss_mb is not None], _GOAL_RSS_MB),
        _at_most("MemFree taken until armed, MB", [s.taken_mb for s in own], _GOAL_TAKEN_MB),
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


@dataclass(frozen=True)
class _Start:
    """One start of a tracer."""

    armed_s: float
    """Until COMMAND started."""
    whole_s: float
    """Until the tracer had ended."""
    taken_mb: float
    """By how much the machine's MemFree fell until COMMAND read it."""
    told_s: float | None = None
    """From when on memtrace says that it recorded."""
    rss_mb: float | None = None
    """Peak RSS of memtrace's recorder."""


def _tracers(chosen: Sequence[Tracer], folder: Path, repeats: int) -> dict[str, list[_Start]]:
    """The starts by tracer.  One before is not counted: memtrace may compile in it."""
    found: dict[str, list[_Start]] = defaultdict(list)
    for tracer in chosen:
        _start(tracer, folder)
    for _ in range(repeats):
        for tracer in abba(chosen):
            found[tracer.name].append(_start(tracer, folder))
    return found


def _start(tracer: Tracer, folder: Path) -> _Start:
    (folder / _OUTPUT).unlink(missing_ok=True)
    time.sleep(_SETTLE_S)
    free_kb = _number(r"^MemFree: +(\d+)", Path("/proc/meminfo").read_text())
    begun, wall = time.time_ns(), time.perf_counter()
    out = tracers.run(tracer.argv(["sh", "command"], _OUTPUT), folder)
    start = _Start(
        (_number(r"^(\d{19})$", out) - begun) / 1e9,
        time.perf_counter() - wall,
        (free_kb - _number(r"^MemFree: +(\d+)", out)) * 1024 / 1e6,
    )
    if tracer not in (tracers.MEMTRACE, tracers.MEMTRACE_ALL):
        return start
    with open_run(folder / _OUTPUT) as run:
        cost = run.status.cost
    if cost is None:
        return start
    return replace(start, told_s=cost.armed_after_ns / 1e9, rss_mb=cost.recorder_max_rss_bytes / 1e6)


def _number(pattern: str, text: str) -> int:
    """The number in what a command printed among whatever the tracer did."""
    found = re.search(pattern, text, re.M)
    if found is None:
        raise MemtraceError(f"{text!r} has nothing like {pattern}")
    return int(found[1])


def _beside_perf(own: Sequence[_Start], perf: Sequence[_Start]) -> Finding:
    what, goal = "start to COMMAND / perf record's", f"<= {_GOAL_BESIDE_PERF}"
    if not perf:
        return Finding(what, "no perf", goal, None)
    ratio = spread([s.armed_s for s in own]).median / spread([s.armed_s for s in perf]).median
    return Finding(what, f"{ratio:.1f}", goal, ratio <= _GOAL_BESIDE_PERF)


def _at_most(what: str, values: Sequence[float], goal: float, form: str = ".0f") -> Finding:
    found = spread(values)
    return Finding(what, found.text(form), f"<= {goal}", found.median <= goal)


@click.command(help=__doc__)
@click.option("--repeats", type=click.IntRange(1), default=4, show_default=True, help="ABBA pairs.")
def main(repeats: int) -> None:
    """The command line."""
    script(lambda: measure(repeats))


if __name__ == "__main__":
    main()
