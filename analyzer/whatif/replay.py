# SPDX-License-Identifier: Apache-2.0
"""A run's private faults and preparations, counted anew for other sizes of pages and for refused holes.

``wf``: resolved private faults, ``wp``: preparations (life.MADE), each with what had happened to its
2 MiB range before: ``emptied``, holes that covered all of it; ``parts``, holes and conversions to
shared of a part of it since the last of these; ``turned``, conversions to shared of any of it.
``latest``: no hole has covered all of the range after it.

The end, for memory in use, is the last event before a VM's memory was given back for good.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from memtrace.analyzer.gmem.life import HELD, MADE, WHOLE
from memtrace.analyzer.gmem.rows import FAILED, HUGE, NOOP, PRIVATE, PRIVATE_FAULTS, UNRESOLVED, of

if TYPE_CHECKING:
    import duckdb


@dataclass(frozen=True)
class Counts:
    """What a policy makes of a run; None: unknown."""

    faults: int | None = None
    preparations: int | None = None
    """Calls, of any size."""
    huge: int | None = None
    """Those of them at 2 MiB or above."""
    cleared: int | None = None
    """Pages that guest_memfd clears."""
    extra: int | None = None
    """Pages in use at the end beyond the recorded ones."""
    refused: int | None = None
    """Holes."""


def load(connection: duckdb.DuckDBPyConnection) -> None:
    """Makes ``wf`` and ``wp``; life.trace() must have been called.  Most ranges need no counting."""
    touched = "unnest(range(gfn // 512, (gfn + asked - 1) // 512 + 1)) AS range"
    whole = "gfn <= range * 512 AND gfn + asked >= (range + 1) * 512"
    change = f"NOT ({FAILED} OR {NOOP}) AND gfn IS NOT NULL AND asked > 0"
    connection.execute(
        f"CREATE OR REPLACE TEMP TABLE breaks AS SELECT vm, range, ts_ns, event, ({whole}) AS whole "
        f"FROM (SELECT vm, ts_ns, event, gfn, asked, {touched} "
        f"FROM g WHERE (event = 'gmem.punch' OR event = 'gmem.convert' AND NOT {PRIVATE}) AND {change})"
    )
    columns = "vm, range, gfn, tid, ts_ns, dur_ns, pages, level"
    nothing = "vm, range, NULL, NULL, ts_ns, NULL, NULL, NULL"
    counted = (
        "SELECT *, count(*) FILTER (kind = 'part') OVER (PARTITION BY vm, range, emptied ORDER BY ts_ns "
        "ROWS UNBOUNDED PRECEDING) AS parts, emptied = max(emptied) OVER (PARTITION BY vm, range) AS latest "
        "FROM (SELECT *, count(*) FILTER (kind = 'emptied') OVER w AS emptied, "
        "count(*) FILTER (kind IN ('part_turned', 'turned')) OVER w AS turned FROM ("
        f"SELECT {columns}, 'x' AS kind FROM {{rows}} SEMI JOIN breaks USING (vm, range) UNION ALL "
        f"SELECT {nothing}, kind FROM breaks, LATERAL (SELECT unnest(CASE "
        "WHEN event = 'gmem.punch' AND whole THEN ['emptied'] WHEN event = 'gmem.punch' THEN ['part'] "
        "WHEN whole THEN ['turned'] ELSE ['part', 'part_turned'] END) AS kind)) "
        "WINDOW w AS (PARTITION BY vm, range ORDER BY ts_ns ROWS UNBOUNDED PRECEDING))"
    )
    faults = f"(SELECT * FROM {PRIVATE_FAULTS} WHERE NOT {UNRESOLVED} AND gfn IS NOT NULL)"
    prepared = f"(SELECT * FROM {MADE} WHERE gfn IS NOT NULL)"
    for name, rows in (("wf", faults), ("wp", prepared)):
        connection.execute(
            f"CREATE OR REPLACE TEMP TABLE {name} AS SELECT {columns}, emptied, turned, parts, latest FROM "
            f"({counted.format(rows=rows)}) WHERE kind = 'x' UNION ALL "
            f"SELECT {columns}, 0, 0, 0, true FROM {rows} ANTI JOIN breaks USING (vm, range)"
        )


def recorded(connection: duckdb.DuckDBPyConnection, vm: int) -> Counts:
    """The counts of the trace."""
    faults = _one(connection, f"SELECT count(*) FROM wf WHERE vm = {vm}")
    cleared = _one(connection, f"SELECT sum(pages) FROM {of('gmem.zero', f'vm = {vm}')}")
    prepared, huge = _prepared(connection, f"vm = {vm}")
    return Counts(faults, prepared, huge, cleared, 0, 0)


def with_fallback(connection: duckdb.DuckDBPyConnection, vm: int) -> Counts:
    """2 MiB pages; a range broken in part goes on as recorded until a hole covers all of it."""
    fresh, broken = f"vm = {vm} AND parts = 0", f"vm = {vm} AND parts > 0"
    faults, made, cleared = _by_range(connection, fresh)
    small, huge = _prepared(connection, broken)
    return Counts(
        faults=faults + _one(connection, f"SELECT count(*) FROM wf WHERE {broken}"),
        preparations=made + small,
        huge=made + huge,
        cleared=cleared + _one(connection, f"SELECT sum(pages) FROM wp WHERE {broken}"),
        extra=_extra(connection, vm, fresh),
        refused=0,
    )


def huge_only(connection: duckdb.DuckDBPyConnection, vm: int) -> Counts:
    """2 MiB pages and nothing else; holes in part are refused."""
    faults, made, cleared = _by_range(connection, f"vm = {vm}")
    extra = _extra(connection, vm, f"vm = {vm}")
    return Counts(faults, made, made, cleared, extra, refused(connection, vm))


def no_small_holes(connection: duckdb.DuckDBPyConnection, vm: int, now: Counts) -> Counts:
    """As recorded, but what a hole without any whole range had given back stays prepared.

    Until a hole that is not refused covers it.
    """
    big = f"(SELECT * FROM {of('gmem.punch', f'vm = {vm} AND NOT {FAILED} AND asked > 0')} WHERE {WHOLE} > 0)"
    gone = (
        "SELECT DISTINCT f.gfn, b.ts_ns, 'gone' AS kind, NULL::BIGINT AS call, f.pages FROM "
        f"(SELECT * FROM life WHERE vm = {vm} AND NOT made AND small) f JOIN (SELECT ts_ns, gfn, gfn + asked "
        f"AS ends, unnest(range(gfn // 512, (gfn + asked - 1) // 512 + 1)) AS range FROM {big}) b "
        "ON f.range = b.range AND f.gfn >= b.gfn AND f.gfn < b.ends AND f.ts_ns < b.ts_ns"
    )
    steps = (
        "SELECT gfn, ts_ns, CASE WHEN made THEN 'made' WHEN small THEN 'kept' ELSE 'gone' END AS kind, call, "
        f"pages FROM life WHERE vm = {vm} UNION ALL {gone}"
    )
    ((calls, huge, pages, extra),) = connection.execute(
        "WITH s AS (SELECT *, coalesce(lag(kind) OVER w = 'kept', false) AS kept, lead(kind) OVER w AS next "
        f"FROM ({steps}) WINDOW w AS (PARTITION BY gfn ORDER BY ts_ns)), "
        "c AS (SELECT call, bool_and(kept) AS saved, sum(pages) AS pages, "
        "sum(pages) FILTER (kept) AS kept FROM s WHERE kind = 'made' GROUP BY call) "
        f"SELECT count(*) FILTER (saved), count(*) FILTER (saved AND pages >= {HUGE}), "
        "coalesce(sum(kept), 0)::BIGINT, "
        "(SELECT coalesce(sum(pages), 0)::BIGINT FROM s WHERE kind = 'kept' AND next IS NULL) FROM c"
    ).fetchall()
    return Counts(
        faults=now.faults,
        preparations=None if now.preparations is None else now.preparations - calls,
        huge=None if now.huge is None else now.huge - huge,
        cleared=None if now.cleared is None else max(now.cleared - pages, 0),
        extra=extra,
        refused=refused(connection, vm),
    )


def refused(connection: duckdb.DuckDBPyConnection, vm: int) -> int | None:
    """Holes without any whole 2 MiB range; None where that is not known of some."""
    ((count, unknown),) = connection.execute(
        f"SELECT count(*) FILTER ({WHOLE} = 0 OR asked < {HUGE}), count(*) FILTER (gfn IS NULL "
        f"AND coalesce(asked >= {HUGE}, true)) FROM {of('gmem.punch', f'vm = {vm} AND NOT {FAILED}')}"
    ).fetchall()
    return None if unknown else int(count)


def _one(connection: duckdb.DuckDBPyConnection, sql: str) -> int:
    ((value,),) = connection.execute(sql).fetchall()
    return int(value or 0)


def _prepared(connection: duckdb.DuckDBPyConnection, which: str) -> tuple[int, int]:
    """Preparations in ``wp``, all and those at 2 MiB or above."""
    ((count, huge),) = connection.execute(
        f"SELECT count(*), count(*) FILTER (level >= 9) FROM wp WHERE {which}"
    ).fetchall()
    return count, huge


def _by_range(connection: duckdb.DuckDBPyConnection, which: str) -> tuple[int, int, int]:
    """Faults, preparations and pages cleared, if each range gets 2 MiB at once; 1 GiB stays as recorded."""
    faults = _one(
        connection, f"SELECT count(*) FROM (SELECT DISTINCT range, emptied, turned FROM wf WHERE {which})"
    )
    ((made, cleared),) = connection.execute(
        "SELECT count(*), coalesce(sum(pages), 0)::BIGINT FROM "
        f"(SELECT greatest(max(pages), {HUGE}) AS pages FROM wp WHERE {which} GROUP BY range, emptied)"
    ).fetchall()
    return faults, made, cleared


def _extra(connection: duckdb.DuckDBPyConnection, vm: int, which: str) -> int:
    """Pages beyond the recorded at the end: of ranges that have got 2 MiB since they were last emptied."""
    ranges = "unnest(range(range, range + greatest(pages // 512, 1)))"
    return _one(
        connection,
        f"SELECT sum({HUGE} - least(coalesce(h.pages, 0), {HUGE})) FROM "
        f"(SELECT DISTINCT {ranges} AS range FROM wp WHERE {which} AND latest) w "
        f"LEFT JOIN (SELECT * FROM ({HELD}) WHERE vm = {vm}) h USING (range)",
    )
