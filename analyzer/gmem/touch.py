# SPDX-License-Identifier: Apache-2.0
"""Where the time of a first touch goes.

A *first touch* is a gmem.fault that was resolved and made a page private: a gmem.prepare or
gmem.zero lies in it.  Faults again after a conversion, and prefaults, are none.  One with a
part whose time is unknown is left out and counted in a note.  Parts are exclusive and add up:

allocation    alloc inside, where allocations were recorded (`-e gmem,alloc`).
zeroing       gmem.zero.
preparation   gmem.prepare.
lookup        gmem.get less these: page cache, locks, allocator's callers.  A part that was not
              recorded is unknown, and in here.
rest          the fault less gmem.get: walking and filling the page tables, and the exit.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from memtrace.analyzer.gmem.rows import FAILED, RETRIED, ask, inside, of
from memtrace.analyzer.tables import Column, Table

if TYPE_CHECKING:
    import duckdb

    from memtrace.traces.reader import Run

_EVENTS = {"allocation": "alloc", "zeroing": "gmem.zero", "preparation": "gmem.prepare"}
PARTS = (*_EVENTS, "lookup", "rest")


def first_touch(run: Run, connection: duckdb.DuckDBPyConnection) -> Table:
    """One row for each VM and part."""
    found = ask(
        connection,
        "SELECT vm, count(*) FILTER (timed) AS faults, count(*) FILTER (NOT timed) AS untimed, "
        + ", ".join(f"sum({name}) FILTER (timed)::BIGINT AS {name}" for name in ("fault", *PARTS))
        + f" FROM ({_touches()}) GROUP BY vm ORDER BY vm",
    )
    unseen = {part: event for part, event in _EVENTS.items() if not sees(run, event)}
    rows = []
    for row in (row for row in found if row["faults"]):
        for part in PARTS:
            ns = None if part in unseen else row[part]
            rows.append(
                {
                    "vm": row["vm"],
                    "part": part,
                    "faults": row["faults"],
                    "total_ns": ns,
                    "share": ns / row["fault"] if ns is not None and row["fault"] else None,
                    "ns_per_fault": ns / row["faults"] if ns is not None else None,
                }
            )
    notes = []
    notes = [
        f"{part.capitalize()} was not recorded (-e gmem,alloc): it is in lookup." for part in unseen if rows
    ]
    if untimed := sum(row["untimed"] for row in found):
        notes.append(f"Left out: {untimed} of which some part's time is unknown.")
    title = "A first touch, by part"
    return Table("first_touch", title, _NAMES, tuple(rows), _COLUMNS, keys=2, notes=tuple(notes))


def _touches() -> str:
    """SQL: vm, the time of the fault and of each part, and whether all is ``timed``, of each first touch."""
    made = (
        "(SELECT tid, ts_ns, dur_ns, event FROM g WHERE event IN ('gmem.zero', 'gmem.prepare', 'alloc') "
        "AND parent = 'gmem.get')"
    )
    parts = inside(made, of("gmem.get"), "o.tid AS tid, o.ts_ns AS ts_ns, i.event AS part, i.dur_ns AS ns")
    sums = ", ".join(f"coalesce(sum(ns) FILTER (part = '{e}'), 0) AS {part}" for part, e in _EVENTS.items())
    got = (
        "(SELECT g.tid, g.ts_ns, g.dur_ns, p.* EXCLUDE (tid, ts_ns) FROM "
        f"{of('gmem.get', 'dur_ns IS NOT NULL')} g LEFT JOIN (SELECT tid, ts_ns, {sums}, "
        "bool_or(part != 'alloc') AS first, bool_and(ns IS NOT NULL) AS timed "
        f"FROM ({parts}) GROUP BY tid, ts_ns) p USING (tid, ts_ns))"
    )
    faults = of("gmem.fault", f"NOT ({FAILED} OR {RETRIED}) AND dur_ns IS NOT NULL")
    columns = "o.vm AS vm, o.tid AS tid, o.ts_ns AS ts_ns, o.dur_ns AS fault, i.* EXCLUDE (tid, ts_ns)"
    return (
        "SELECT *, fault - get AS rest, get - allocation - zeroing - preparation AS lookup FROM ("
        "SELECT any_value(vm) AS vm, any_value(fault) AS fault, sum(dur_ns) AS get, "
        + ", ".join(f"coalesce(sum({part}), 0) AS {part}" for part in _EVENTS)
        + ", coalesce(bool_and(timed), true) AS timed "
        f"FROM ({inside(got, faults, columns)}) GROUP BY tid, ts_ns HAVING bool_or(first))"
    )


def sees(run: Run, event: str) -> bool:
    """Whether the run has intervals of this event."""
    asked = event in run.header.events
    return asked and any(s.event == event and s.site and s.time == "exact" for s in run.header.manifest)


_NAMES = ("vm", "part", "faults", "total_ns", "share", "ns_per_fault")
_COLUMNS = (
    Column("vm", "vm", "number"),
    Column("part", "part"),
    Column("faults", "faults", "count"),
    Column("total_ns", "time", "ns"),
    Column("share", "share", "share"),
    Column("ns_per_fault", "a fault", "ns"),
)
