# SPDX-License-Identifier: Apache-2.0
"""Memory of guests in 2 MiB pages: how much, for how long, and what ended it.

A 2 MiB range of a guest is *covered* from a preparation at 2 MiB or above (levels.py) to the
first of (a second such preparation before that changes nothing):

split           gmem.split of its frames: the RMP entry became 512.
part punched    a hole that covers a part of it.
punched         a hole that covers all of it.
part shared     a conversion to shared of a part of it.
shared          a conversion to shared of all of it.
4 KiB again     a preparation at 4 KiB inside it.
freed           its memory given back without a hole, as at the end of a VM.

median_ns       how long ranges with this end had been covered.

Over time (``timeline``), at the end of each of 60 equal stretches between a VM's first and last
event: memory prepared and not given back (see ``life``; unknown without gmem.free), and how much
of it is covered.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from memtrace.analyzer.gmem.levels import PREPARED
from memtrace.analyzer.gmem.life import follows, prepares
from memtrace.analyzer.gmem.rows import FAILED, HUGE, NOOP, PRIVATE, ask, of
from memtrace.analyzer.tables import Column, Table

if TYPE_CHECKING:
    import duckdb

    from memtrace.traces.reader import Run

STEPS = 60


def _ranges(event: str, condition: str, all_: str, part: str) -> str:
    """SQL: the 2 MiB ranges that a range of guest memory touches, and which cause that makes."""
    cause = f"CASE WHEN gfn <= r * 512 AND gfn + asked >= (r + 1) * 512 THEN '{all_}' ELSE '{part}' END"
    return (
        f"SELECT vm, r AS range, ts_ns, {cause} AS cause FROM (SELECT vm, ts_ns, gfn, asked, "
        "unnest(range(gfn // 512, (gfn + asked - 1) // 512 + 1)) AS r "
        f"FROM {of(event, f'NOT {FAILED} AND gfn IS NOT NULL AND asked > 0 AND {condition}')})"
    )


def prepare(connection: duckdb.DuckDBPyConnection) -> None:
    """Makes the table ``covered``: vm, range, ts_ns, end_ns, cause."""
    parts = 'unnest(range(1::BIGINT << ("order" - 9))) AS part'
    huge = (
        "SELECT vm, range + part AS range, ts_ns, pfn // 512 + part AS frame FROM "
        f'(SELECT *, {parts} FROM {PREPARED} WHERE "order" >= 9 AND gfn IS NOT NULL)'
    )
    split = (
        "SELECT coalesce(s.vm, h.vm) AS vm, coalesce(s.range, h.range) AS range, s.ts_ns, 'split' AS cause "
        f"FROM (SELECT *, pfn // 512 AS frame FROM {of('gmem.split', f'NOT ({FAILED} OR {NOOP})')}) s "
        "ASOF LEFT JOIN huge h ON s.frame = h.frame AND s.ts_ns >= h.ts_ns"
    )
    small = f"SELECT vm, range, ts_ns, '4 KiB again' AS cause FROM {PREPARED} WHERE \"order\" < 9"
    freed = (
        "SELECT vm, unnest(range(range, (gfn + pages - 1) // 512 + 1)) AS range, ts_ns, 'freed' AS cause "
        f"FROM {of('gmem.free', 'parent IS NULL AND gfn IS NOT NULL')}"
    )
    connection.execute(
        f"CREATE OR REPLACE TEMP TABLE covered AS WITH huge AS ({huge}), ends AS ({split} "
        f"UNION ALL {_ranges('gmem.punch', 'true', 'punched', 'part punched')} "
        f"UNION ALL {_ranges('gmem.convert', f'NOT ({PRIVATE} OR {NOOP})', 'shared', 'part shared')} "
        f"UNION ALL {small} UNION ALL {freed}) "
        "SELECT h.vm, h.range, min(h.ts_ns) AS ts_ns, e.ts_ns AS end_ns, any_value(e.cause) AS cause "
        "FROM huge h ASOF LEFT JOIN ends e "
        "ON h.vm = e.vm AND h.range = e.range AND h.ts_ns < e.ts_ns GROUP BY h.vm, h.range, e.ts_ns"
    )


def coverage(run: Run, connection: duckdb.DuckDBPyConnection) -> Table:
    """One row for each VM and end; call prepare() before."""
    bytes_of = HUGE * run.header.page_size
    found = ask(
        connection,
        "SELECT vm, coalesce(cause, 'still covered') AS ended, count(*) AS ranges, "
        "median(end_ns - ts_ns)::BIGINT AS median FROM covered GROUP BY ALL ORDER BY vm, ranges DESC, ended",
    )
    whole = {vm: sum(r["ranges"] for r in found if r["vm"] == vm) for vm in {r["vm"] for r in found}}
    rows = tuple(
        {
            "vm": row["vm"],
            "ended_by": row["ended"],
            "ranges": row["ranges"],
            "bytes": row["ranges"] * bytes_of,
            "share": row["ranges"] / whole[row["vm"]],
            "median_ns": row["median"],
        }
        for row in found
    )
    columns = (
        Column("vm", "vm", "number"),
        Column("ended_by", "ended by"),
        Column("ranges", "2M ranges", "count"),
        Column("bytes", "memory", "bytes"),
        Column("share", "share", "share"),
        Column("median_ns", "covered for", "ns"),
    )
    notes: tuple[str, ...] = ()
    if not prepares(run):
        notes = ("Not known: neither gmem.prepare nor gmem.assign was seen in this run.",)
    elif not rows:
        notes = ("No memory of a guest was prepared at 2 MiB.",)
    return Table("coverage", "2 MiB coverage", tuple(c.name for c in columns), rows, columns, 2, notes=notes)


def timeline(run: Run, connection: duckdb.DuckDBPyConnection) -> Table:
    """One row for each VM and stretch of time."""
    size, start = run.header.page_size, run.status.started_ns
    changes = (
        "SELECT vm, ts_ns, CASE WHEN made THEN pages ELSE -pages END AS prepared, 0 AS covered FROM life "
        "WHERE made != held "
        f"UNION ALL SELECT vm, ts_ns, 0, {HUGE} FROM covered "
        f"UNION ALL SELECT vm, end_ns, 0, -{HUGE} FROM covered WHERE end_ns IS NOT NULL"
    )
    found = ask(
        connection,
        "WITH span AS (SELECT vm, min(ts_ns - coalesce(dur_ns, 0)) AS first, "
        f"greatest((max(ts_ns) - min(ts_ns)) // {STEPS}, 1) AS step FROM g GROUP BY vm) "
        f"SELECT vm, any_value(first) - {start} AS first, any_value(step) AS length, "
        f"least(greatest(ts_ns - first, 0) // step, {STEPS - 1})::INT AS place, "
        "sum(prepared)::BIGINT AS prepared, sum(covered)::BIGINT AS covered "
        f"FROM ({changes}) JOIN span USING (vm) GROUP BY vm, place ORDER BY vm, place",
    )
    known = follows(run)
    rows: list[dict[str, Any]] = []
    for vm in sorted({row["vm"] for row in found if row["vm"] is not None}):
        by_step = {row["place"]: row for row in found if row["vm"] == vm}
        first, length = next((row["first"], row["length"]) for row in by_step.values())
        prepared = covered = 0
        for at in range(STEPS):
            change = by_step.get(at)
            prepared += change["prepared"] if change else 0
            covered += change["covered"] if change else 0
            rows.append(
                {
                    "vm": vm,
                    "at_ns": first + (at + 1) * length,
                    "prepared_bytes": prepared * size if known else None,
                    "covered_bytes": covered * size,
                    "covered_share": covered / prepared if prepared and known else None,
                }
            )
    names = ("vm", "at_ns", "prepared_bytes", "covered_bytes", "covered_share")
    # For a page there is the figure.
    return Table(
        "timeline", "Coverage over time", names, tuple(rows), (Column("vm", "vm", "number"),), shown=()
    )
