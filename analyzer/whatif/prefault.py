# SPDX-License-Identifier: Apache-2.0
"""What a run would have been, had each conversion to private prefaulted its range.

Such a prefault makes each page of the range that was not made since the last hole over it, and maps
all of them.  The next fault of a page does not happen, unless a hole or a conversion to shared took
the page, or its mapping, in between.  A page that the run made too, before or after, in the same
stretch between two holes, is made once; the others nobody had asked for.

The 2 MiB ranges are cut where conversions and holes begin and end, so that each covers a piece
wholly or not at all.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from memtrace.analyzer.gmem.rows import FAILED, NOOP, PRIVATE
from memtrace.analyzer.whatif.replay import Counts

if TYPE_CHECKING:
    import duckdb


def prefault(connection: duckdb.DuckDBPyConnection, vm: int, now: Counts) -> Counts:
    """The run with prefaults; ``now``: as recorded.  replay.load() must have been called."""
    _cut(connection, vm)
    fewer = _fewer(connection, vm)
    unasked, extra = _unasked(connection, vm)
    return replace(
        now,
        faults=None if now.faults is None else now.faults - fewer,
        preparations=None if now.preparations is None else now.preparations + unasked,
        cleared=None if now.cleared is None else now.cleared + unasked,
        extra=extra,
    )


def _cut(connection: duckdb.DuckDBPyConnection, vm: int) -> None:
    """Makes ``cut``: what (private, shared, hole) happened when to each piece [lo, hi) of a range."""
    connection.execute(
        "CREATE OR REPLACE TEMP TABLE changes AS SELECT range, ts_ns, kind, "
        "greatest(gfn, range * 512) AS lo, least(gfn + asked, (range + 1) * 512) AS hi FROM "
        f"(SELECT ts_ns, gfn, asked, CASE WHEN event = 'gmem.punch' THEN 'hole' WHEN {PRIVATE} "
        "THEN 'private' ELSE 'shared' END AS kind, "
        "unnest(range(gfn // 512, (gfn + asked - 1) // 512 + 1)) AS range FROM g "
        f"WHERE event IN ('gmem.punch', 'gmem.convert') AND NOT ({FAILED} OR {NOOP}) AND vm = {vm} "
        "AND gfn IS NOT NULL AND asked > 0)"
    )
    # A range that was never made private has nothing to prefault.
    connection.execute(
        "CREATE OR REPLACE TEMP TABLE cut AS WITH t AS (SELECT * FROM changes SEMI JOIN "
        "(SELECT range FROM changes WHERE kind = 'private') USING (range)), "
        "p AS (SELECT range, lo, coalesce(lead(lo) OVER (PARTITION BY range ORDER BY lo), (range + 1) * 512) "
        "AS hi FROM (SELECT range, lo FROM t UNION SELECT range, hi FROM t WHERE hi < (range + 1) * 512 "
        "UNION SELECT range, range * 512 FROM t)) "
        "SELECT p.range, p.lo, p.hi, t.ts_ns, t.kind FROM p JOIN t "
        "ON p.range = t.range AND t.lo <= p.lo AND t.hi >= p.hi"
    )
    connection.execute("CREATE OR REPLACE TEMP TABLE piece AS SELECT DISTINCT range, lo, hi FROM cut")


def _fewer(connection: duckdb.DuckDBPyConnection, vm: int) -> int:
    """Faults that do not happen."""
    faults = (
        "SELECT f.range, p.lo, f.ts_ns, 'fault' AS kind, f.before FROM (SELECT range, gfn, ts_ns, "
        f"lag(ts_ns) OVER (PARTITION BY gfn ORDER BY ts_ns) AS before FROM wf WHERE vm = {vm}) f "
        "ASOF JOIN piece p ON f.range = p.range AND f.gfn >= p.lo WHERE f.gfn < p.hi"
    )
    ((fewer,),) = connection.execute(
        "SELECT count(*) FILTER (kind = 'fault' AND made > coalesce(taken, 0) "
        "AND made > coalesce(before, 0)) FROM (SELECT *, "
        "max(ts_ns) FILTER (kind = 'private') OVER w AS made, "
        "max(ts_ns) FILTER (kind IN ('shared', 'hole')) OVER w AS taken "
        f"FROM (SELECT range, lo, ts_ns, kind, NULL::BIGINT AS before FROM cut UNION ALL {faults}) "
        "WINDOW w AS (PARTITION BY range, lo ORDER BY ts_ns ROWS UNBOUNDED PRECEDING))"
    ).fetchall()
    return int(fewer)


def _unasked(connection: duckdb.DuckDBPyConnection, vm: int) -> tuple[int, int]:
    """Pages that nobody had asked for: made in all, and those of them in use at the end."""
    made = (
        "SELECT p.range, p.lo, p.hi, l.ts_ns, 'made' AS kind, NULL::BIGINT AS gfn FROM "
        f"(SELECT * FROM life WHERE vm = {vm} AND made AND pages > 1) l JOIN piece p ON l.range = p.range "
        "UNION ALL SELECT p.range, p.lo, p.hi, l.ts_ns, 'made', l.gfn FROM "
        f"(SELECT * FROM life WHERE vm = {vm} AND made AND pages = 1) l "
        "ASOF JOIN piece p ON l.range = p.range AND l.gfn >= p.lo WHERE l.gfn < p.hi"
    )
    ((unasked, extra),) = connection.execute(
        "WITH s AS (SELECT *, count(*) FILTER (kind = 'hole') OVER "
        "(PARTITION BY range, lo ORDER BY ts_ns ROWS UNBOUNDED PRECEDING) AS holes FROM "
        f"(SELECT range, lo, hi, ts_ns, kind, NULL::BIGINT AS gfn FROM cut UNION ALL {made})), "
        "e AS (SELECT range, lo, holes, CASE WHEN NOT bool_or(kind = 'private') "
        "OR bool_or(kind = 'made' AND gfn IS NULL) THEN 0 "
        "ELSE any_value(hi) - lo - count(DISTINCT gfn) END AS pages FROM s GROUP BY range, lo, holes) "
        "SELECT coalesce(sum(pages), 0)::BIGINT, (SELECT coalesce(sum(pages), 0)::BIGINT FROM "
        "(SELECT arg_max(pages, holes) AS pages FROM e GROUP BY range, lo)) FROM e"
    ).fetchall()
    return int(unasked), int(extra)
