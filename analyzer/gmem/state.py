# SPDX-License-Identifier: Apache-2.0
"""The guest's physical memory by state, at the last event before its memory was given back for good.

States of a 2 MiB range, the first that holds:

2 MiB         covered by a 2 MiB preparation.
shared        the last conversion made all of it shared.
4 KiB         all of it prepared or populated, by 4 KiB.
in part       some of it prepared.
empty         private, or never converted, and nothing of it prepared.

Runs of equal ranges are one row; ranges before the first and after the last event are left out.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from memtrace.analyzer.gmem.life import END, HELD, follows
from memtrace.analyzer.gmem.rows import FAILED, HUGE, NOOP, PRIVATE, ask, of
from memtrace.analyzer.tables import Column, Table

if TYPE_CHECKING:
    import duckdb

    from memtrace.traces.reader import Run

STATES = ("2 MiB", "4 KiB", "in part", "empty", "shared")
TOP = 10


def state(run: Run, connection: duckdb.DuckDBPyConnection) -> Table:
    """One row for each stretch of equal ranges; life.trace() and coverage.prepare() must have been called."""
    size = run.header.page_size
    notes = () if follows(run) else ("Not known: needs gmem.free, and gmem.prepare or gmem.assign.",)
    turned = (
        "SELECT vm, r AS range, arg_max(private, ts_ns) AS private FROM (SELECT vm, ts_ns, gfn, asked, "
        f"{PRIVATE} AS private, unnest(range(gfn // 512, (gfn + asked - 1) // 512 + 1)) AS r FROM "
        f"{of('gmem.convert', f'NOT ({FAILED} OR {NOOP}) AND gfn IS NOT NULL AND asked > 0')}) "
        "WHERE private OR (gfn <= r * 512 AND gfn + asked >= (r + 1) * 512) GROUP BY vm, r"
    )
    held = (
        f"SELECT c.vm, c.range FROM covered c JOIN {END} l ON c.vm = l.vm "
        "WHERE c.end_ns IS NULL OR c.cause = 'freed' AND c.end_ns > l.at"
    )
    found = ask(
        connection,
        f"WITH p AS ({HELD}), t AS ({turned}), h AS ({held}), s AS (SELECT coalesce(p.vm, t.vm) AS vm, "
        "coalesce(p.range, t.range) AS range, coalesce(p.pages, 0) AS pages, CASE WHEN "
        "h.vm IS NOT NULL THEN '2 MiB' "
        f"WHEN NOT t.private THEN 'shared' WHEN p.pages >= {HUGE} THEN '4 KiB' "
        "WHEN p.pages > 0 THEN 'in part' ELSE 'empty' END AS state FROM p FULL JOIN t ON p.vm = t.vm "
        "AND p.range = t.range LEFT JOIN (SELECT DISTINCT * FROM h) h ON h.vm = coalesce(p.vm, t.vm) "
        "AND h.range = coalesce(p.range, t.range)), "
        "k AS (SELECT *, range - row_number() OVER (PARTITION BY vm, state ORDER BY range) "
        "AS stretch FROM s) "
        "SELECT vm, min(range) AS first, count(*) AS ranges, state, sum(pages)::BIGINT AS pages FROM k "
        "WHERE vm IS NOT NULL GROUP BY vm, state, stretch ORDER BY vm, first",
    )
    rows = tuple(
        {
            "vm": row["vm"],
            "start": f"{row['first'] * HUGE * size:#x}",
            "gfn": row["first"] * HUGE,
            "bytes": row["ranges"] * HUGE * size,
            "state": row["state"],
            "prepared_bytes": row["pages"] * size,
        }
        for row in found
        if not notes
    )
    columns = (
        Column("vm", "vm", "number"),
        Column("start", "guest address"),
        Column("bytes", "length", "bytes"),
        Column("state", "state"),
        Column("prepared_bytes", "prepared", "bytes"),
    )
    names = ("vm", "start", "gfn", "bytes", "state", "prepared_bytes")
    return Table("map", "The guest's memory before it ended", names, rows, columns, 2, top=TOP, notes=notes)
