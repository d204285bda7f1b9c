# SPDX-License-Identifier: Apache-2.0
"""How fast intervals are nested into exclusive time, beside the same in SQL (DuckDB windows).

Synthetic faults on eight CPUs: each contains an allocation, that a clear, and that an
interrupt's allocation; tasks change every 64 faults.  Both give the same self times.
"""

from __future__ import annotations

import resource
import statistics
import time
from collections.abc import Iterator
from typing import Any

import click
import numpy as np

from memtrace.analyzer.ledger import CHUNK, Intervals, Ledger
from memtrace.benchmarks.findings import Finding, say, script, table
from memtrace.benchmarks.spread import spread
from memtrace.benchmarks.surroundings import Surroundings

_GOAL = 5e6
_CPUS = 8
_SQL = """
WITH edges AS (
    SELECT context, start_ns AS moment, 1 AS step, id FROM intervals
    UNION ALL SELECT context, end_ns, -1, id FROM intervals),
deep AS (
    SELECT step, id, context, moment, sum(step) OVER w AS depth, lead(moment) OVER w - moment AS length
    FROM edges WINDOW w AS (PARTITION BY context ORDER BY moment, step)),
owned AS (
    SELECT length, last_value(CASE WHEN step = 1 THEN id END IGNORE NULLS)
        OVER (PARTITION BY context, depth ORDER BY moment) AS owner
    FROM deep WHERE depth > 0)
SELECT owner, sum(length)::BIGINT AS self_ns FROM owned GROUP BY owner ORDER BY owner
"""


def measure(rows: int = 10_000_000, sql_rows: int = 1_000_000, repeats: int = 3) -> list[Finding]:
    """Print the table; the finding is the ledger's speed on one core."""
    surroundings = Surroundings()
    many, few = make(rows), make(sql_rows)
    ours = [_ledger(many) for _ in range(repeats)]
    theirs = [_sql(few) for _ in range(repeats)]
    same = bool((_ledger_self(few) == theirs[0][1]).all())
    rate = spread([rows / seconds for seconds, _ in ours])
    sql = statistics.median(sql_rows / seconds for seconds, _ in theirs)
    rss = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    click.echo(
        table(
            ("nesting", "intervals", "M/s of CPU"),
            [
                ("ledger (numpy)", f"{rows:,}", f"{rate.median / 1e6:.2f}"),
                ("window functions (DuckDB)", f"{sql_rows:,}", f"{sql / 1e6:.2f}"),
            ],
        )
    )
    say(
        f"CPU time of one process, {repeats} runs each, in stretches of {CHUNK:,}; beyond the stretch the"
        f" ledger keeps {max(kept for _, kept in ours):,} open intervals. Self times"
        f" {'are the same' if same else 'DIFFER'}. The process, with all {rows:,} intervals in it, took"
        f" {rss:,.0f} MiB at most. {surroundings.sentence()}"
    )
    return [
        Finding(
            "intervals nested a second of CPU", rate.text(",.0f"), f">= {_GOAL:,.0f}", rate.median >= _GOAL
        ),
        Finding("ledger/DuckDB windows", f"{rate.median / sql:.1f}", "same self times", same),
    ]


def make(rows: int) -> Intervals:
    """About ``rows`` intervals, each CPU's in the order in which they end."""
    rng = np.random.default_rng(1)
    parts = []
    faults = rows // _CPUS // 4
    for cpu in range(_CPUS):
        before, fault, clear, after = (rng.integers(50, most, faults) for most in (2000, 200, 300, 200))
        end = np.cumsum(before + fault + clear + after + 40)
        start = end - fault - clear - after - 40
        alloc, alloc_end = start + fault, end - 20
        zero, zero_end = alloc + 10, alloc_end - after + 30
        starts = np.stack([zero + 5, zero, alloc, start], 1).ravel()
        ends = np.stack([zero + 25, zero_end, alloc_end, end], 1).ravel()
        tasks = np.repeat(rng.integers(100, 400, faults // 64 + 1) * _CPUS + cpu, 64)[:faults]
        parts.append((starts, ends, np.repeat(tasks, 4), np.tile([1, 2, 1, 0], faults)))
    start, end, context, event = (np.concatenate(column) for column in zip(*parts, strict=True))
    return Intervals(start, end, context, event, {"id": np.arange(len(start))})


def _stretches(given: Intervals) -> Iterator[tuple[Intervals, int | None]]:
    """The intervals in stretches of time, the last first, and what each begins after."""
    pieces = max(len(given) // CHUNK, 1)
    bounds = np.quantile(given.end, np.linspace(0, 1, pieces + 1)[1:-1]).astype(np.int64)
    where = np.searchsorted(bounds, given.end)
    for piece in range(pieces - 1, -1, -1):
        of = where == piece
        columns = {name: values[of] for name, values in given.columns.items()}
        stretch = Intervals(given.start[of], given.end[of], given.context[of], given.event[of], columns)
        yield stretch, int(bounds[piece - 1]) if piece else None


def _ledger(given: Intervals) -> tuple[float, int]:
    """Seconds of CPU to settle all, cutting them into stretches left out; and the most that was kept open."""
    ledger, seconds, most = Ledger([0]), 0.0, 0
    for stretch, since in _stretches(given):
        began = time.process_time()
        settled = ledger.settle(stretch, since)
        seconds += time.process_time() - began
        most = max(most, abs(len(stretch) - len(settled.event)))
    return seconds, most


def _ledger_self(given: Intervals) -> Any:
    """Self times in the order of the intervals."""
    ledger = Ledger([0])
    out = np.zeros(len(given), dtype=np.int64)
    for stretch, since in _stretches(given):
        settled = ledger.settle(stretch, since)
        out[settled.columns["id"]] = settled.self_ns
    return out


def _sql(given: Intervals) -> tuple[float, Any]:
    """Seconds of CPU on one thread, and the self times."""
    import duckdb
    import pyarrow as pa

    with duckdb.connect(config={"threads": 1}) as connection:
        columns = {"context": given.context, "start_ns": given.start, "end_ns": given.end, **given.columns}
        connection.register("given", pa.table(columns))
        connection.execute("CREATE TABLE intervals AS SELECT * FROM given")
        began = time.process_time()
        found = connection.sql(_SQL).fetchnumpy()
        return time.process_time() - began, found["self_ns"]


@click.command(help=__doc__)
@click.option("--rows", type=click.IntRange(10_000), default=10_000_000, show_default=True, help="Intervals.")
@click.option("--repeats", type=click.IntRange(1), default=3, show_default=True, help="Runs of each.")
def main(rows: int, repeats: int) -> None:
    """The command line."""
    script(lambda: measure(rows, min(rows, 1_000_000), repeats))


if __name__ == "__main__":
    main()
