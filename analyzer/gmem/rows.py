# SPDX-License-Identifier: Apache-2.0
"""The gmem rows of a run as a table ``g`` in DuckDB, and how its times nest.

Columns of ``g``: event, ts_ns (end), dur_ns, pid, tid, comm, vm, vcpu, gfn, pages (bytes
over the page size), asked (bytes_requested, likewise), "order", pfn, flags, parent;
and ``range``: gfn over 512, the 2 MiB range of the guest that it begins in.  Rows that
the recorder caused are left out.

vm of gmem.free.  Outside a hole the kernel does not say whose the page was.  It is that
of the last gmem.get or gmem.prepare of its folio, if that was not given back since; for a
page no guest has touched, that of the one VM whose process freed it.  With neither it stays
unknown.  Its gfn likewise.

Which row lies in which.  A thread does one thing at a time, so that the row of an outer
event is the first of its kind that ends on the same thread at or after the inner one;
it must also begin no later, else an outer row was lost and the inner one is left out.
An inner row whose time is unknown lies where it ended.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from memtrace.analyzer.callers import query
from memtrace.traces.schema import Flag

if TYPE_CHECKING:
    import duckdb

    from memtrace.traces.reader import Run

HUGE = 512
"""4 KiB pages in a 2 MiB range."""

_COLUMNS = (
    "event",
    "ts_ns",
    "dur_ns",
    "pid",
    "tid",
    "comm",
    "vm",
    "vcpu",
    "gfn",
    "bytes",
    "bytes_requested",
    "order",
    "pfn",
    "flags",
    "parent",
)

FAILED, PRIVATE, RETRIED, NOOP, ZEROED = (
    f"flags & {int(flag)} != 0" for flag in (Flag.FAILED, Flag.PRIVATE, Flag.RETRIED, Flag.NOOP, Flag.ZEROED)
)
"""Conditions in SQL."""


def load(run: Run, connection: duckdb.DuckDBPyConnection) -> None:
    """Makes the table ``g``."""
    size = run.header.page_size
    rows = run.relation(connection, _COLUMNS)
    wanted = (
        "SELECT event::VARCHAR AS event, ts_ns, dur_ns, pid, tid, comm::VARCHAR AS comm, vm, vcpu, gfn, "
        f"bytes // {size} AS pages, bytes_requested // {size} AS asked, "
        '"order", pfn, flags, parent::VARCHAR AS parent, gfn // 512 AS range '
        "FROM rows_ WHERE (event LIKE 'gmem.%' OR parent LIKE 'gmem.%') "
        f"AND flags & {int(Flag.TRACER)} = 0"
    )
    ownerless = "event = 'gmem.free' AND (vm IS NULL OR gfn IS NULL)"
    query(rows, f"SELECT * FROM ({wanted}) WHERE NOT ({ownerless})").create("g")
    query(rows, f"SELECT * FROM ({wanted}) WHERE {ownerless}").create("freed")
    pids = [vm.pid for vm in run.status.vms]
    alone = [(vm.number, vm.pid) for vm in run.status.vms if vm.pid and pids.count(vm.pid) == 1]
    cases = "".join(f" WHEN {pid} THEN {number}" for number, pid in alone)
    by_pid = f"CASE f.pid{cases} END" if alone else "NULL"
    owners = (
        "SELECT pfn - pfn % pages AS pfn, ts_ns, vm, gfn - pfn % pages AS gfn FROM g "
        "WHERE event IN ('gmem.get', 'gmem.prepare') AND pages > 0 UNION ALL "
        "SELECT pfn, ts_ns, NULL, NULL FROM (SELECT * FROM freed UNION ALL FROM g) WHERE event = 'gmem.free'"
    )
    connection.execute(
        f"INSERT INTO g SELECT f.* REPLACE (coalesce(f.vm, o.vm, {by_pid}) AS vm, "
        "coalesce(f.gfn, o.gfn) AS gfn, coalesce(f.gfn, o.gfn) // 512 AS range) "
        f"FROM freed f ASOF LEFT JOIN (SELECT * FROM ({owners}) WHERE pfn IS NOT NULL) o "
        "ON f.pfn = o.pfn AND f.ts_ns > o.ts_ns"
    )
    connection.execute("DROP TABLE freed")


def ask(connection: duckdb.DuckDBPyConnection, sql: str) -> list[dict[str, Any]]:
    """The rows of a query, small enough for Python."""
    result = connection.execute(sql)
    names = [column[0] for column in result.description or ()]
    return [dict(zip(names, row, strict=True)) for row in result.fetchall()]


def whole_sum(value: str) -> str:
    """SQL: the sum of a column, null as soon as one value is unknown."""
    return f"CASE WHEN count(*) = count({value}) THEN sum({value})::BIGINT END"


def seen(run: Run, *events: str) -> bool:
    """Whether the run has a site for each of these events; where not, none of them says nothing."""
    sites = {site.event for site in run.header.manifest if site.site}
    return all(event in run.header.events and event in sites for event in events)


def inside(inner: str, outer: str, columns: str) -> str:
    """SQL: ``columns`` of rows ``i`` of relation ``inner``, each with the row ``o`` of ``outer`` it is in."""
    return (
        f"SELECT {columns} FROM {inner} i ASOF JOIN {outer} o ON i.tid = o.tid AND i.ts_ns <= o.ts_ns "
        "WHERE o.ts_ns - o.dur_ns <= i.ts_ns - coalesce(i.dur_ns, 0)"
    )


def of(event: str, condition: str = "true") -> str:
    """SQL: the rows of one event, as a relation."""
    return f"(SELECT * FROM g WHERE event = '{event}' AND {condition})"
