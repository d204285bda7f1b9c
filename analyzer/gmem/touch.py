# SPDX-License-Identifier: Apache-2.0
"""Where the time of a first touch goes.

A *first touch* is a gmem.fault that was resolved and made a page private: a gmem.prepare or
gmem.zero lies in it.  Faults again after a conversion, and prefaults, are none.  Its parts
are exclusive and add up to it:

allocation    alloc inside, where allocations were recorded (`-e gmem,alloc`); unknown else,
              and then in ``lookup``.
zeroing       gmem.zero.
preparation   gmem.prepare.
lookup        gmem.get less these: page cache, locks, allocator's callers.
rest          the fault less gmem.get: walking and filling the page tables, and the exit.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from memtrace.analyzer.gmem.rows import FAILED, RETRIED, ask, inside, of
from memtrace.analyzer.tables import Column, Table

if TYPE_CHECKING:
    import duckdb

    from memtrace.traces.reader import Run

PARTS = ("allocation", "zeroing", "preparation", "lookup", "rest")


def first_touch(run: Run, connection: duckdb.DuckDBPyConnection) -> Table:
    """One row for each VM and part."""
    begun = (
        "(SELECT tid, ts_ns, dur_ns, event FROM g WHERE event IN ('gmem.zero', 'gmem.prepare', 'alloc') "
        "AND parent = 'gmem.get')"
    )
    columns = "i.event AS part, i.dur_ns AS ns, o.tid AS tid, o.ts_ns AS ts_ns, o.dur_ns AS dur_ns"
    connection.execute(
        f"CREATE OR REPLACE TEMP TABLE got AS WITH parts AS ({inside(begun, of('gmem.get'), columns)}) "
        "SELECT tid, ts_ns, any_value(dur_ns) AS dur_ns, "
        + ", ".join(
            f"coalesce(sum(ns) FILTER (part = '{event}'), 0)::BIGINT AS {name}"
            for name, event in (
                ("allocation", "alloc"),
                ("zeroing", "gmem.zero"),
                ("preparation", "gmem.prepare"),
            )
        )
        + " FROM parts GROUP BY tid, ts_ns HAVING bool_or(part != 'alloc')"
    )
    faults = of("gmem.fault", f"NOT ({FAILED} OR {RETRIED}) AND dur_ns IS NOT NULL")
    columns = "o.vm AS vm, o.dur_ns AS fault, i.dur_ns AS get, i.allocation, i.zeroing, i.preparation"
    found = ask(
        connection,
        "SELECT vm, count(*) AS faults, sum(fault)::BIGINT AS total, sum(allocation)::BIGINT AS allocation, "
        "sum(zeroing)::BIGINT AS zeroing, sum(preparation)::BIGINT AS preparation, "
        "sum(get - allocation - zeroing - preparation)::BIGINT AS lookup, sum(fault - get)::BIGINT AS rest "
        f"FROM ({inside('got', faults, columns)}) GROUP BY vm ORDER BY vm",
    )
    with_alloc = sees(run, "alloc")
    rows = []
    for row in found:
        for part in PARTS:
            unknown = part == "allocation" and not with_alloc
            ns = None if unknown else row[part]
            rows.append(
                {
                    "vm": row["vm"],
                    "part": part,
                    "faults": row["faults"],
                    "total_ns": ns,
                    "share": ns / row["total"] if ns is not None and row["total"] else None,
                    "ns_per_fault": ns / row["faults"] if ns is not None else None,
                }
            )
    notes = (
        () if with_alloc or not rows else ("Allocation was not recorded (-e gmem,alloc): it is in lookup.",)
    )
    return Table("first_touch", "A first touch, by part", _NAMES, tuple(rows), _COLUMNS, keys=2, notes=notes)


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
