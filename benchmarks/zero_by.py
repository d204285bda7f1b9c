# SPDX-License-Identifier: Apache-2.0
"""How fast `report --view zero --by` nests and groups a streamed run: whole processes, start included.

A synthetic run of page faults, each with an allocation, its clear and an interrupt's
allocation inside, by some 300 threads in 50 cgroups, from 1000 stacks.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
from pathlib import Path

import click

from memtrace.benchmarks.findings import Finding, say, script, table
from memtrace.benchmarks.ledger import make as intervals
from memtrace.benchmarks.report_speed import run_process
from memtrace.benchmarks.spread import spread
from memtrace.benchmarks.surroundings import Surroundings

_GOAL_RATE = 1e6
_GOAL_RSS = 500e6
_WORDS = ("tree", "task", "cgroup", "stack")
_GROUP = 700_000
_STACK = "entry;asm_exc_page_fault;handle_mm_fault;__handle_mm_fault;f{};do_anonymous_page;vma_alloc_folio"
_MAKE = """
import pathlib, sys
from memtrace.benchmarks.zero_by import make
make(pathlib.Path(sys.argv[1]), int(sys.argv[2]))
"""


def measure(rows: int = 5_000_000, repeats: int = 3) -> list[Finding]:
    """Print the table; the findings are each grouping's speed, and the largest resident set."""
    surroundings = Surroundings()
    lines, findings, largest = [], [], 0.0
    with tempfile.TemporaryDirectory(prefix="memtrace-bench-") as name:
        path = Path(name) / "run.parquet"
        # Not in this process: a child's max RSS begins with its parent's.
        subprocess.run([sys.executable, "-c", _MAKE, str(path), str(rows)], check=True)
        report = [sys.executable, "-m", "memtrace.cli", "report", str(path), "--view", "zero", "--by"]
        run_process([*report, "task"])
        for word in _WORDS:
            taken = [run_process([*report, word]) for _ in range(repeats)]
            wall, cpu = spread([t.wall_s for t in taken]), spread([t.cpu_s for t in taken])
            rate = spread([rows / t.cpu_s for t in taken])
            largest = max(largest, *(t.rss_bytes for t in taken))
            lines.append((f"--by {word}", wall.text(".2f"), cpu.text(".2f"), rate.text(".1f", 1e-6)))
            findings.append(
                Finding(
                    f"zero by {word}, M rows/s a core",
                    rate.text(".1f", 1e-6),
                    f">= {_GOAL_RATE / 1e6:.0f}",
                    rate.median >= _GOAL_RATE,
                )
            )
    click.echo(table(("", "wall s", "CPU s", "M rows/s"), lines))
    say(
        f"{rows:,} rows, {repeats} processes each; M rows/s is per second of CPU time."
        f" {surroundings.sentence()}"
    )
    size = f"{largest / 1e6:.0f}"
    return [*findings, Finding("zero by, max RSS MB", size, f"< {_GOAL_RSS / 1e6:.0f}", largest < _GOAL_RSS)]


def make(path: Path, rows: int) -> None:
    """Writes a run of about ``rows`` streamed rows."""
    import numpy as np
    import pyarrow as pa

    from memtrace.traces.run import ProbeSite, RunHeader, RunStatus
    from memtrace.traces.schema import arrow_schema
    from memtrace.traces.writer import RunWriter

    given = intervals(rows)
    by_end = np.argsort(given.end, kind="stable")
    start, end, task, event = (a[by_end] for a in (given.start, given.end, given.context, given.event))
    events = ("root.fault", "alloc", "zero.alloc")
    schema, root = arrow_schema(), event == 0

    def coded(name: str, codes: object, texts: list[str]) -> pa.DictionaryArray:
        return pa.DictionaryArray.from_arrays(pa.array(codes, schema.field(name).type.index_type), texts)

    columns = {
        "ts_ns": pa.array(end + 10**12),
        "dur_ns": pa.array(end - start),
        "count": pa.array(np.ones(len(end), np.int64)),
        "total_ns": pa.array(end - start),
        "event": coded("event", event, list(events)),
        "pid": pa.array((task // 4).astype(np.int32)),
        "tid": pa.array(task.astype(np.int32)),
        "comm": coded("comm", task % 20, [f"task{i}" for i in range(20)]),
        "order": pa.array(np.zeros(len(end), np.int8), mask=root),
        "bytes": pa.array(np.full(len(end), 4096), mask=root),
        "flags": pa.array((~root).astype(np.uint32)),
        "cgroup": coded("cgroup", task % 50, [f"/{i}.scope" for i in range(50)]),
        "stack": coded("stack", end % 1000, [_STACK.format(i) for i in range(1000)]),
    }
    whole = pa.table([columns.get(f.name, pa.nulls(len(end), f.type)) for f in schema], schema=schema)
    manifest = tuple(ProbeSite(name, f"fentry:{name}", "fentry", proven=True) for name in events)
    header = RunHeader("benchmark", (), events=events, stream_all=True, cpus=4, manifest=manifest)
    with RunWriter(path, header, overwrite=True) as writer:
        for first in range(0, len(whole), _GROUP):
            writer.write(whole.slice(first, _GROUP))
        last = int(end[-1]) + 10**12
        writer.close(RunStatus(complete=True, started_ns=10**12, ended_ns=last, rows=len(whole)))


@click.command(help=__doc__)
@click.option("--rows", type=click.IntRange(1), default=5_000_000, show_default=True, help="About so many.")
@click.option("--repeats", type=click.IntRange(1), default=3, show_default=True, help="Of each grouping.")
def main(rows: int, repeats: int) -> None:
    """The command line."""
    script(lambda: measure(rows, repeats))


if __name__ == "__main__":
    main()
