# SPDX-License-Identifier: Apache-2.0
"""How fast compare holds two sides of many runs against each other.

The same files, once through ``memtrace compare`` (scan, percentiles of every cell,
bootstrap, permutation test, page) and once through a hand-written GROUP BY over
all of them in DuckDB, which gives counts and sums and no statistics.  Whole
processes, interleaved.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
from collections import defaultdict
from pathlib import Path

import click

from memtrace.benchmarks.findings import Finding, say, script, table
from memtrace.benchmarks.report_speed import Taken, run_process
from memtrace.benchmarks.spread import abba, spread
from memtrace.benchmarks.surroundings import Surroundings

_GOAL_S = 10.0
_COMPARE, _BY_HAND = "memtrace compare", "GROUP BY, both sides"
_MAKE = (
    "import sys; from pathlib import Path; from memtrace.benchmarks.report_speed import make;"
    "make(Path(sys.argv[1]), int(sys.argv[2]), True, int(sys.argv[3]))"
)
_HAND = """
import duckdb
for side in ("before", "after"):
    print(duckdb.sql(f'''SELECT filename, event, "order", nid, sum(count), sum(bytes), sum(self_ns)
        FROM read_parquet("{folder}/{{side}}/*.parquet", filename=true) GROUP BY ALL''').fetchall())
"""


def measure(runs: int = 20, rows: int = 1_000_000, repeats: int = 3) -> list[Finding]:
    """Print the table; the finding is the wall time of a comparison."""
    surroundings = Surroundings()
    with tempfile.TemporaryDirectory(prefix="memtrace-bench-") as name:
        folder = Path(name)
        for i, side in enumerate(("before", "after")):
            (folder / side).mkdir()
            for run in range(runs):
                path = folder / side / f"{run:03d}.parquet"
                seed = str(1 + i * runs + run)
                subprocess.run([sys.executable, "-c", _MAKE, str(path), str(rows), seed], check=True)
        sides = [str(folder / side) for side in ("before", "after")]
        commands = {
            _COMPARE: [sys.executable, "-m", "memtrace.cli", "compare", *sides],
            _BY_HAND: [sys.executable, "-c", _HAND.format(folder=folder)],
        }
        found: dict[str, list[Taken]] = defaultdict(list)
        for _ in range(repeats):
            for which in abba(tuple(commands)):
                found[which].append(run_process(commands[which]))
    lines = [
        (
            which,
            spread([t.wall_s for t in taken]).text(".2f"),
            spread([t.cpu_s for t in taken]).text(".2f"),
            spread([t.rss_bytes for t in taken]).text(".0f", 1e-6),
        )
        for which, taken in found.items()
    ]
    click.echo(f"2 x {runs} runs of {rows:,} rows:")
    click.echo(table(("", "wall s", "CPU s", "max RSS MB"), lines))
    click.echo()
    say(f"Whole processes, {2 * repeats} each (ABBA). {surroundings.sentence()}")
    wall = spread([t.wall_s for t in found[_COMPARE]])
    what = f"compare 2 x {runs} runs of {rows / 1e6:g} M rows, s"
    return [Finding(what, wall.text(".2f"), f"< {_GOAL_S:.0f}", wall.median < _GOAL_S)]


@click.command(help=__doc__)
@click.option("--runs", type=click.IntRange(2), default=20, show_default=True, help="A side.")
@click.option("--rows", type=click.IntRange(1), default=1_000_000, show_default=True, help="In each run.")
@click.option("--repeats", type=click.IntRange(1), default=3, show_default=True, help="ABBA pairs.")
def main(runs: int, rows: int, repeats: int) -> None:
    """The command line."""
    script(lambda: measure(runs, rows, repeats))


if __name__ == "__main__":
    main()
