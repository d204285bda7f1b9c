# SPDX-License-Identifier: Apache-2.0
"""Ranges that change between private and shared, and pages that are prepared again.

Conversions (``pingpong``): gmem.convert that changed something, by their exact range.

round_trips     the smaller of the changes to private and to shared.
median_ns       between two changes of the range, the median.
Only ranges that went there and back are listed; the table ``vms`` has all changes.

Again (``again``): preparations of a guest page that had been prepared in this run.

distinct_gfns   guest frames at which a preparation began, of whatever size.
after_free      all of it that had been prepared was given back since: the price of a hole.
redundant       some of it had not been: nothing was gained there.  A fault after a conversion that only looks
                the page up again is no preparation and is not here.
bytes           of the memory that had been prepared; total_ns: of the calls, null if that of
                one of them is unknown.
Which of the two it was is unknown where gmem.free has no site.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from memtrace.analyzer.gmem.life import follows
from memtrace.analyzer.gmem.rows import FAILED, NOOP, PRIVATE, ask, of, whole_sum
from memtrace.analyzer.tables import Column, Table

if TYPE_CHECKING:
    import duckdb

    from memtrace.traces.reader import Run

TOP = 10


def pingpong(run: Run, connection: duckdb.DuckDBPyConnection) -> Table:
    """One row for each VM and range that was converted to and fro, the busiest first."""
    size = run.header.page_size
    changes = of("gmem.convert", f"NOT ({FAILED} OR {NOOP}) AND gfn IS NOT NULL AND asked IS NOT NULL")
    found = ask(
        connection,
        "WITH c AS (SELECT *, ts_ns - lag(ts_ns) OVER (PARTITION BY vm, gfn, asked ORDER BY ts_ns) AS since "
        f"FROM {changes}) SELECT vm, gfn, asked, count(*) FILTER ({PRIVATE}) AS to_private, "
        f"count(*) FILTER (NOT {PRIVATE}) AS to_shared, {whole_sum('dur_ns')} AS total, "
        "median(since)::BIGINT AS median FROM c GROUP BY vm, gfn, asked "
        "HAVING to_private > 0 AND to_shared > 0 ORDER BY to_private + to_shared DESC, vm, gfn",
    )
    rows = tuple(
        {
            "vm": row["vm"],
            "gfn": row["gfn"],
            "start_bytes": row["gfn"] * size,
            "bytes": row["asked"] * size,
            "to_private": row["to_private"],
            "to_shared": row["to_shared"],
            "round_trips": min(row["to_private"], row["to_shared"]),
            "total_ns": row["total"],
            "median_ns": row["median"],
            "start": f"{row['gfn'] * size:#x}",
        }
        for row in found
    )
    columns = (
        Column("vm", "vm", "number"),
        Column("start", "guest address"),
        Column("bytes", "range", "bytes"),
        Column("round_trips", "round trips", "count"),
        Column("to_private", "->private", "count"),
        Column("to_shared", "->shared", "count"),
        Column("total_ns", "in the calls", "ns"),
        Column("median_ns", "between", "ns"),
    )
    names = ("vm", "gfn", *(c.name for c in columns[1:]), "start_bytes")
    return Table("pingpong", "Converted to and fro", names, rows, columns, 3, top=TOP)


def again(run: Run, connection: duckdb.DuckDBPyConnection) -> Table:
    """One row for each VM."""
    size = run.header.page_size
    found = ask(
        connection,
        "WITH c AS (SELECT vm, call, any_value(dur_ns) AS dur_ns, min(gfn) AS gfn, bool_or(held) AS held, "
        "bool_or(earlier) AS again, coalesce(sum(pages) FILTER (earlier), 0) AS pages FROM life "
        "WHERE event = 'gmem.prepare' GROUP BY vm, call) "
        "SELECT vm, count(*) AS preparations, count(DISTINCT gfn) AS distinct_gfns, "
        "count(*) FILTER (again AND NOT held) AS after_free, count(*) FILTER (held) AS redundant, "
        "sum(pages)::BIGINT AS pages, CASE WHEN count(*) FILTER (again AND dur_ns IS NULL) = 0 "
        "THEN coalesce(sum(dur_ns) FILTER (again), 0)::BIGINT END AS total "
        "FROM c GROUP BY vm ORDER BY vm",
    )
    known = follows(run)
    rows = tuple(
        {
            "vm": row["vm"],
            "preparations": row["preparations"],
            "distinct_gfns": row["distinct_gfns"],
            "after_free": row["after_free"] if known else None,
            "redundant": row["redundant"] if known else None,
            "bytes": row["pages"] * size,
            "total_ns": row["total"],
        }
        for row in found
    )
    columns = (
        Column("vm", "vm", "number"),
        Column("preparations", "prepared", "count"),
        Column("distinct_gfns", "guest frames", "count"),
        Column("after_free", "after a hole", "count"),
        Column("redundant", "without", "count"),
        Column("bytes", "memory", "bytes"),
        Column("total_ns", "time", "ns"),
    )
    names = tuple(c.name for c in columns)
    note = "after a hole, without, memory, time: of the preparations of a page that had been prepared."
    return Table("again", "Prepared more than once", names, rows, columns, notes=(note,) if rows else ())
