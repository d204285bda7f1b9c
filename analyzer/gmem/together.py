# SPDX-License-Identifier: Apache-2.0
"""A host's run and a run of one of its guests on one clock: what the host did under each accept.

Per accept (``accepts``):

guest_ns       the accept.call, waiting included.
host_faults, host_fault_ns
               private faults of what it accepted that overlap it on the common clock, and their
               time.  What it accepted: its accept.arch's range, or, where the guest's run has
               none, its own and a unit of 2 MiB behind it, less the first unit if a call before
               ended there (see ``clock``).
host_converts, host_convert_ns
               conversions to private that touch the same memory and overlap it.
host_share     (host_fault_ns + host_convert_ns) over guest_ns; above 1 where vCPUs worked side by side.
Unknown where the host's run has no site for gmem.fault or gmem.convert; the share is then of the other.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from memtrace.analyzer.callers import query
from memtrace.analyzer.gmem.clock import Alignment, align, clock_table
from memtrace.analyzer.gmem.rows import FAILED, HUGE, NOOP, PRIVATE, PRIVATE_FAULTS, ask, inside, of, seen
from memtrace.analyzer.render.units import written
from memtrace.analyzer.tables import Column, Table
from memtrace.errors import MemtraceError

if TYPE_CHECKING:
    import duckdb

    from memtrace.traces.reader import Run

TOP = 10


def together(run: Run, guest: Run, connection: duckdb.DuckDBPyConnection) -> tuple[Table, Table]:
    """The alignment, and the guest's longest accepts; rows.load() must have been called.

    Raises MemtraceError where the guest's run has no accepts, or is not of a VM of the host's run.
    """
    _load(guest, connection)
    found = align(run, guest, connection)
    return clock_table(found), _accepts(run, found, connection)


def _load(guest: Run, connection: duckdb.DuckDBPyConnection) -> None:
    """Makes the tables ``a``: the guest's accept.calls, and ``t``: when it accepted which gfns."""
    size = guest.header.page_size
    columns = ("event", "ts_ns", "dur_ns", "tid", "pfn", "bytes", "bytes_requested", "comm")
    query(
        guest.relation(connection, columns),
        "SELECT row_number() OVER (ORDER BY ts_ns) AS id, event::VARCHAR AS event, tid, "
        "ts_ns - dur_ns AS begun, ts_ns AS ended, ts_ns, dur_ns, pfn, comm::VARCHAR AS comm, "
        "CASE event WHEN 'accept.call' THEN coalesce(bytes_requested, bytes) ELSE bytes END "
        f"// {size} AS pages "
        "FROM rows_ WHERE event IN ('accept.call', 'accept.arch') AND dur_ns IS NOT NULL AND pfn IS NOT NULL",
    ).create("accepted")
    ((calls, exact),) = connection.execute(
        "SELECT count(*) FILTER (event = 'accept.call'), count(*) FILTER (event = 'accept.arch') "
        "FROM accepted WHERE pages > 0"
    ).fetchall()
    if not calls:
        raise MemtraceError(
            f"{guest.path} has no accept.call: record `-e accept` in the guest, while it has memory to accept"
        )
    call, arch = (
        f"(SELECT * FROM accepted WHERE event = 'accept.{e}' AND pages > 0)" for e in ("call", "arch")
    )
    if exact:
        connection.execute(
            f"CREATE TABLE t AS SELECT id, begun, ended, pfn AS lo, pfn + pages AS hi FROM {arch}"
        )
        within = inside(arch, call, "o.id AS id, i.pfn AS lo, i.pfn + i.pages AS hi")
        spans = f"SELECT id, min(lo) AS lo, max(hi) AS hi FROM ({within}) GROUP BY id"
        connection.execute(
            "CREATE TABLE a AS SELECT c.*, coalesce(s.lo, c.pfn) AS lo, "
            f"coalesce(s.hi, c.pfn + c.pages) AS hi FROM {call} c LEFT JOIN ({spans}) s USING (id)"
        )
    else:
        connection.execute(
            f"CREATE TABLE t AS SELECT id, begun, ended, pfn + {HUGE} AS lo, pfn + pages AS hi FROM {call}"
        )
        before = f"SELECT 1 FROM {call} p WHERE p.pfn + p.pages = c.pfn AND p.begun < c.begun"
        connection.execute(
            f"CREATE TABLE a AS SELECT *, pfn + CASE WHEN EXISTS ({before}) THEN {HUGE} ELSE 0 END AS lo, "
            f"pfn + pages + {HUGE} AS hi FROM {call} c"
        )


def _accepts(run: Run, found: Alignment, connection: duckdb.DuckDBPyConnection) -> Table:
    size, slack = run.header.page_size, found.uncertainty_ns
    touching = (
        f"e.vm = {found.vm} AND e.gfn < a.hi AND e.gfn + coalesce(e.asked, 1) > a.lo "
        f"AND e.ts_ns - e.dur_ns <= a.h1 + {slack} AND e.ts_ns >= a.h0 - {slack}"
    )
    faults = f"(SELECT *, 1 AS asked FROM {PRIVATE_FAULTS} WHERE dur_ns IS NOT NULL)"
    turns = of("gmem.convert", f"{PRIVATE} AND NOT ({FAILED} OR {NOOP}) AND dur_ns IS NOT NULL")
    connection.execute(
        f"CREATE TABLE b AS SELECT *, {found.host_ns('begun')} AS h0, {found.host_ns('ended')} AS h1 FROM a"
    )
    faulted, turned = seen(run, "gmem.fault"), seen(run, "gmem.convert")
    rows: list[dict[str, Any]] = [
        {
            "guest_at_ns": row["begun"],
            "host_at_ns": row["h0"],
            "start": f"{row['pfn'] * size:#x}",
            "bytes": row["pages"] * size,
            "comm": row["comm"],
            "guest_ns": row["dur_ns"],
            "host_faults": row["faults"] if faulted else None,
            "host_fault_ns": row["fault_ns"] if faulted else None,
            "host_converts": row["converts"] if turned else None,
            "host_convert_ns": row["convert_ns"] if turned else None,
            "host_share": (row["fault_ns"] + row["convert_ns"]) / row["dur_ns"]
            if row["dur_ns"] and (faulted or turned)
            else None,
        }
        for row in ask(
            connection,
            "SELECT a.*, coalesce(f.n, 0) AS faults, coalesce(f.ns, 0)::BIGINT AS "
            "fault_ns, coalesce(t.n, 0) AS converts, "
            "coalesce(t.ns, 0)::BIGINT AS convert_ns FROM b a "
            "LEFT JOIN (SELECT a.id, count(*) AS n, sum(e.dur_ns) AS ns FROM b a JOIN "
            f"{faults} e ON {touching} "
            "GROUP BY a.id) f USING (id) "
            "LEFT JOIN (SELECT a.id, count(*) AS n, sum(e.dur_ns) AS ns FROM b a JOIN "
            f"{turns} e ON {touching} "
            "GROUP BY a.id) t USING (id) ORDER BY a.dur_ns DESC, a.id",
        )
    ]
    columns = (
        Column("start", "guest address"),
        Column("bytes", "range", "bytes"),
        Column("comm", "waited"),
        Column("guest_ns", "accept", "ns"),
        Column("host_faults", "faults", "count"),
        Column("host_fault_ns", "in them", "ns"),
        Column("host_converts", "conv.", "count"),
        Column("host_convert_ns", "in them", "ns"),
        Column("host_share", "host", "share", lambda _: "" if faulted and turned else ">"),
    )
    names = ("guest_at_ns", "host_at_ns", *(c.name for c in columns))
    total = sum(row["guest_ns"] for row in rows)
    host = sum((row["host_fault_ns"] or 0) + (row["host_convert_ns"] or 0) for row in rows)
    under = " and ".join(what for what, known in (("faults", faulted), ("conversions", turned)) if known)
    below = "the host's run has neither faults nor conversions"
    if under:
        below = f"{written(host, 'ns')} of host {under} under them"
    notes = [f"All {len(rows)} accepts: {written(total, 'ns')} in the guest, {below}."]
    ((unknown,),) = connection.execute(
        "SELECT count(*) FROM accepted WHERE event = 'accept.call' AND pages IS NULL"
    ).fetchall()
    if unknown:
        notes.append(f"Left out, as their length is not known: accepts {unknown}.")
    return Table(
        "accepts",
        "The guest's longest accepts, and the host under them",
        names,
        tuple(rows),
        columns,
        top=TOP,
        notes=tuple(notes),
    )
