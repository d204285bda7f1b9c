# SPDX-License-Identifier: Apache-2.0
"""What memory of a guest was prepared when, however often the trace says it: the table ``life``.

One row for each time that a unit of guest memory was prepared (``made``) or given back.  A unit is a
2 MiB range of the guest where everything that happened to it was of the whole range, else a page of
4 KiB: a folio of 2 MiB or 1 GiB and the small pages that a hole left of it are so told apart, and
none is counted twice.

Prepared is what gmem.prepare and gmem.populate made; of a VM without any gmem.prepare (TDX on a
kernel without that hook) what gmem.assign did.  Failed calls made nothing.

Columns: vm, range, gfn (first of the unit), pages (1 or 512), ts_ns, made, event, call (number of the
call, which may be of several units), dur_ns (the call's); ``held``: the unit was prepared just
before; ``earlier``: it had been prepared at some time before.  Of what a hole gave back: ``part``,
the hole covers its range in part, and ``small``, it covers no range as a whole; null if no hole.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from memtrace.analyzer.gmem.rows import FAILED, of, seen

if TYPE_CHECKING:
    import duckdb

    from memtrace.traces.reader import Run

MADE = (
    f"(SELECT * FROM g WHERE NOT {FAILED} AND (event = 'gmem.prepare' OR event = 'gmem.assign' "
    "AND parent IS DISTINCT FROM 'gmem.populate' "
    "AND vm NOT IN (SELECT vm FROM g WHERE event = 'gmem.prepare' AND vm IS NOT NULL)))"
)
"""SQL: the calls that make memory private, as a relation; those of populating aside."""

WHOLE = "CASE WHEN gfn + asked IS NOT NULL THEN greatest((gfn + asked) // 512 - (gfn + 511) // 512, 0) END"
"""SQL: the whole 2 MiB ranges of a range of guest memory; null if that is not known (greatest() is not)."""

END = "(SELECT vm, max(ts_ns) AS at FROM g WHERE event != 'gmem.free' OR parent = 'gmem.punch' GROUP BY vm)"
"""SQL: vm and the time of the last event before its memory was given back for good."""

HELD = (
    "SELECT vm, range, sum(pages)::BIGINT AS pages FROM (SELECT e.vm, e.range, "
    "any_value(e.pages) AS pages, arg_max(e.made, e.ts_ns) AS made "
    f"FROM life e JOIN {END} l ON e.vm = l.vm AND e.ts_ns <= l.at "
    "GROUP BY e.vm, e.range, e.gfn) WHERE made GROUP BY vm, range"
)
"""SQL: vm, range and pages of memory prepared and not given back, at that time."""


def follows(run: Run) -> bool:
    """Whether the run has sites for what prepares and for what gives back: else ``life`` tells half of it."""
    return prepares(run) and seen(run, "gmem.free")


def prepares(run: Run) -> bool:
    """Whether the run has a site for preparations."""
    return seen(run, "gmem.prepare") or seen(run, "gmem.assign")


def trace(connection: duckdb.DuckDBPyConnection) -> None:
    """Makes the table ``life``; rows.load() must have been called."""
    connection.execute(f"CREATE OR REPLACE TEMP TABLE pieces AS {_PIECES.format(calls=_calls())}")
    mixed = "SELECT vm, range FROM pieces GROUP BY vm, range HAVING min(pages) < 512"
    same = "vm, range, ts_ns, made, event, call, dur_ns, part, small"
    connection.execute(
        "CREATE OR REPLACE TEMP TABLE life AS SELECT *, coalesce(lag(made) OVER w, false) AS held, "
        "coalesce(bool_or(made) OVER (w ROWS BETWEEN UNBOUNDED PRECEDING AND 1 PRECEDING), false) AS earlier "
        f"FROM (SELECT {same}, gfn, pages FROM pieces ANTI JOIN ({mixed}) USING (vm, range) UNION ALL "
        f"SELECT {same}, gfn + unnest(range(pages)), 1 FROM pieces SEMI JOIN ({mixed}) USING (vm, range)) "
        "WINDOW w AS (PARTITION BY vm, gfn ORDER BY ts_ns)"
    )
    connection.execute("DROP TABLE pieces")


_PIECES = (
    "SELECT vm, range, ts_ns, made, event, call, dur_ns, greatest(gfn, range * 512) AS gfn, "
    "(least(gfn + pages, (range + 1) * 512) - greatest(gfn, range * 512))::BIGINT AS pages, "
    "hole > range * 512 OR hole_end < (range + 1) * 512 AS part, small FROM ("
    "SELECT *, unnest(range(gfn // 512, (gfn + pages - 1) // 512 + 1)) AS range FROM "
    "(SELECT *, row_number() OVER () AS call FROM ({calls})))"
)
"""SQL: what each call made or gave back of each 2 MiB range."""


def _calls() -> str:
    """SQL: the calls that prepared or gave back, with the hole that each of the latter was in."""
    known = "vm IS NOT NULL AND gfn IS NOT NULL AND pages > 0"
    # A preparation may name any page of its folio (6.11): the pfn tells where that begins.
    begin = "vm, gfn - coalesce(pfn % pages, 0) AS gfn, pages, ts_ns, dur_ns, event"
    none = "NULL::BIGINT AS hole, NULL::BIGINT AS hole_end, NULL::BOOLEAN AS small"
    holes = of("gmem.punch", f"NOT {FAILED} AND gfn IS NOT NULL AND asked > 0 AND dur_ns IS NOT NULL")
    within = "f.parent = 'gmem.punch' AND h.ts_ns - h.dur_ns <= f.ts_ns"
    return (
        f"SELECT {begin}, true AS made, {none} FROM {MADE} WHERE {known} "
        "UNION ALL SELECT vm, gfn, pages, ts_ns, dur_ns, event, true, NULL, NULL, NULL "
        f"FROM {of('gmem.populate', known)} "
        "UNION ALL SELECT f.vm, f.gfn, f.pages, f.ts_ns, f.dur_ns, f.event, false, "
        f"CASE WHEN {within} THEN h.gfn END, CASE WHEN {within} THEN h.gfn + h.asked END, "
        f"CASE WHEN {within} THEN h.whole = 0 END FROM {of('gmem.free', known)} f "
        f"ASOF LEFT JOIN (SELECT *, {WHOLE} AS whole FROM {holes}) h ON f.tid = h.tid AND f.ts_ns <= h.ts_ns"
    )
