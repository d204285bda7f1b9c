# SPDX-License-Identifier: Apache-2.0
"""How fast a big run is reported, against a GROUP BY written by hand for the same columns of the same file.

Two synthetic runs of streamed allocations: one with durations (log-normal), one
without any.  The report also has histograms, the check against the kernel's
counters, caveats and the rest of the page, all of it counted in, start included.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from memtrace.benchmarks.findings import Finding, say, script, table
from memtrace.benchmarks.spread import abba, spread
from memtrace.benchmarks.surroundings import Surroundings
from memtrace.errors import MemtraceError

if TYPE_CHECKING:
    import pyarrow as pa

_GOAL_RATE = 15e6
_GOAL_RATIO = 1.5
_GOAL_RSS = 500e6
_GROUP = 700_000
"""Rows of a row group: what a recorder that is hard at work writes in a second."""

_HAND = """
import duckdb
duckdb.sql("SET threads = {threads}")
duckdb.sql('''SELECT event, "order", nid, flags, sum(count), sum(bytes), sum(total_ns), sum(self_ns),
    max(dur_ns), sum(pfn) {more} FROM '{path}' GROUP BY ALL''').fetchall()
"""
_MAKE = """
import pathlib, sys
from memtrace.benchmarks.report_speed import make
make(pathlib.Path(sys.argv[1]), int(sys.argv[2]), sys.argv[3] == "1")
"""
_QUANTILES = ", approx_quantile(dur_ns, [0.5, 0.9, 0.99])"

_REPORT, _BY_HAND, _WITH_QUANTILES = "memtrace report", "GROUP BY", "GROUP BY, approx_quantile"


@dataclass(frozen=True)
class Taken:
    """What one process took."""

    wall_s: float
    cpu_s: float
    rss_bytes: int


def measure(rows: int = 50_000_000, repeats: int = 3) -> list[Finding]:
    """Print the table; the findings are the report's speed and memory, and its ratio to the GROUP BY."""
    surroundings = Surroundings()
    findings: list[Finding] = []
    threads = len(os.sched_getaffinity(0))
    with tempfile.TemporaryDirectory(prefix="memtrace-bench-") as name:
        for what, timed in (("with durations", True), ("without", False)):
            path = Path(name) / "run.parquet"
            # Not in this process: a child's max RSS begins with its parent's.
            subprocess.run([sys.executable, "-c", _MAKE, str(path), str(rows), str(int(timed))], check=True)
            click.echo(f"{rows:,} rows {what}, {path.stat().st_size / rows:.1f} bytes a row:")
            found = _compare(path, threads, repeats)
            click.echo(table(_HEAD, [_line(k, v, found, rows) for k, v in found.items()]))
            click.echo()
            findings += _findings(what, found, rows)
    say(
        f"Whole processes, {2 * repeats} each (ABBA), {threads} threads; M rows/s is per second of CPU"
        f" time, ratio that of wall times in the same pair. {surroundings.sentence()}"
    )
    return findings


def make(path: Path, rows: int, timed: bool, seed: int = 1) -> None:
    """Writes a run of ``rows`` streamed allocations on two nodes, 19 of 20 of order 0."""
    import numpy as np

    from memtrace.traces.run import Node, ProbeSite, RunHeader, RunStatus
    from memtrace.traces.totals import EventCounters, TaskTotal
    from memtrace.traces.writer import RunWriter

    rng = np.random.default_rng(seed)
    header = RunHeader(
        tool_version="benchmark",
        command=("memtrace", "record", "--stream", "all"),
        events=("alloc",),
        stream_all=True,
        kernel_release="synthetic",
        cpus=2,
        nodes=(Node(0), Node(1)),
        manifest=(ProbeSite("alloc", "fentry:alloc", "fentry", proven=True),),
    )
    sum_order = sum_pfn = done = 0
    start = now = 10**12
    with RunWriter(path, header, overwrite=True) as writer:
        while done < rows:
            chunk = _rows(rng, min(_GROUP, rows - done), now, timed)
            sum_order += int(np.asarray(chunk["order"]).sum())
            sum_pfn += int(np.asarray(chunk["pfn"]).sum())
            now = int(chunk["ts_ns"][-1].as_py())
            done += len(chunk)
            writer.write(chunk)
        counters = EventCounters("alloc", rows, rows, 0, 0, sum_order, sum_pfn)
        tasks = (TaskTotal("alloc", 1000, "worker", rows, 4096 * rows, None),)
        writer.close(RunStatus(True, start, now, counters=(counters,), tasks=tasks))


def _rows(rng: Any, count: int, start: int, timed: bool) -> pa.Table:
    import numpy as np
    import pyarrow as pa

    from memtrace.traces.schema import arrow_schema

    order = np.where(rng.random(count) < 0.95, 0, rng.integers(1, 10, count)).astype(np.int8)
    took = rng.lognormal(6, 0.8, count).astype(np.int64) + 50
    nid = rng.integers(0, 2, count).astype(np.int16)
    columns: dict[str, Any] = {
        "ts_ns": start + np.cumsum(rng.integers(500, 2000, count)),
        "count": np.ones(count, np.int64),
        "cpu": rng.integers(0, 2, count).astype(np.int16),
        "pid": rng.integers(1000, 1020, count).astype(np.int32),
        "tid": rng.integers(1000, 1020, count).astype(np.int32),
        "order": order,
        "bytes": np.int64(4096) << order.astype(np.int64),
        "pfn": rng.integers(0, 1 << 23, count),
        "nid": nid,
        "nid_requested": nid,
        "gfp": np.full(count, 0xCC0, np.uint32),
        "flags": rng.integers(0, 2, count).astype(np.uint32),
    }
    if timed:
        columns |= {"dur_ns": took, "total_ns": took, "self_ns": took}
    texts = {"event": ["alloc"], "site": ["fentry:alloc"], "comm": ["worker", "cc1", "ld", "sh"]}
    arrays = []
    for field in arrow_schema():
        if field.name in texts:
            codes = pa.array(rng.integers(0, len(texts[field.name]), count), field.type.index_type)
            arrays.append(pa.DictionaryArray.from_arrays(codes, texts[field.name]))
        elif field.name in columns:
            arrays.append(pa.array(columns[field.name], field.type))
        else:
            arrays.append(pa.nulls(count, field.type))
    return pa.Table.from_arrays(arrays, schema=arrow_schema())


def _compare(path: Path, threads: int, repeats: int) -> dict[str, list[Taken]]:
    hand = {_BY_HAND: "", _WITH_QUANTILES: _QUANTILES}
    commands = {_REPORT: [sys.executable, "-m", "memtrace.cli", "report", str(path)]} | {
        name: [sys.executable, "-c", _HAND.format(threads=threads, more=more, path=path)]
        for name, more in hand.items()
    }
    for command in commands.values():
        run_process(command)
    found: dict[str, list[Taken]] = defaultdict(list)
    for _ in range(repeats):
        for name in abba(tuple(commands)):
            found[name].append(run_process(commands[name]))
    return found


def run_process(command: list[str]) -> Taken:
    """What a command takes; raises MemtraceError if it fails."""
    begun = time.perf_counter()
    with tempfile.TemporaryFile() as complaint:
        process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=complaint)
        _, status, usage = os.wait4(process.pid, 0)
        # wait4() has reaped it: Popen must not wait again.
        process.returncode = os.waitstatus_to_exitcode(status)
        wall = time.perf_counter() - begun
        if process.returncode:
            complaint.seek(0)
            said = complaint.read().decode(errors="replace").strip().splitlines()
            raise MemtraceError(f"{command[0]} failed: {said[-1] if said else 'it said nothing'}")
    return Taken(wall, usage.ru_utime + usage.ru_stime, usage.ru_maxrss * 1024)


_HEAD = ("", "wall s", "CPU s", "M rows/s", "max RSS MB", "ratio")


def _of(taken: list[Taken], value: Callable[[Taken], float]) -> list[float]:
    return [value(one) for one in taken]


def _ratios(ours: list[Taken], theirs: list[Taken]) -> list[float]:
    return [a.wall_s / b.wall_s for a, b in zip(ours, theirs, strict=True)]


def _line(name: str, taken: list[Taken], found: dict[str, list[Taken]], rows: int) -> tuple[str, ...]:
    return (
        name,
        spread(_of(taken, lambda t: t.wall_s)).text(".2f"),
        spread(_of(taken, lambda t: t.cpu_s)).text(".2f"),
        spread(_of(taken, lambda t: rows / t.cpu_s)).text(".1f", 1e-6),
        spread(_of(taken, lambda t: t.rss_bytes)).text(".0f", 1e-6),
        spread(_ratios(taken, found[_BY_HAND])).text(".2f"),
    )


def _findings(what: str, found: dict[str, list[Taken]], rows: int) -> list[Finding]:
    ours = found[_REPORT]
    rate = spread(_of(ours, lambda t: rows / t.cpu_s))
    memory = spread(_of(ours, lambda t: t.rss_bytes))
    ratio = spread(_ratios(ours, found[_BY_HAND]))
    return [
        Finding(
            f"report {what}, M rows/s a core",
            rate.text(".1f", 1e-6),
            f">= {_GOAL_RATE / 1e6:.0f}",
            rate.median >= _GOAL_RATE,
        ),
        Finding(f"report {what}, max RSS MB", memory.text(".0f", 1e-6), "< 500", memory.high < _GOAL_RSS),
        Finding(
            f"report {what}, time to GROUP BY",
            ratio.text(".2f"),
            f"<= {_GOAL_RATIO}",
            ratio.median <= _GOAL_RATIO,
        ),
    ]


@click.command(help=__doc__)
@click.option("--rows", type=click.IntRange(1), default=50_000_000, show_default=True, help="In each run.")
@click.option("--repeats", type=click.IntRange(1), default=3, show_default=True, help="ABBA pairs.")
def main(rows: int, repeats: int) -> None:
    """The command line."""
    script(lambda: measure(rows, repeats))


if __name__ == "__main__":
    main()
