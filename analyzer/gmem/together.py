# SPDX-License-Identifier: Apache-2.0
"""A host's run and a run of one of its guests on one clock: what the host did under each accept.

Both stamp with their own CLOCK_BOOTTIME; ``offset`` is the host's less the guest's.

By memory.  A guest touches memory that it must accept for the first time inside the accept: so the
first private fault that the host ever sees for a range lies inside the guest's accept.call of that
range.  Each such pair bounds the offset from both sides; offset is the middle of what most pairs
agree on, ``uncertainty_ns`` half of its width: about half of the shortest accept.  Pairs that do
not agree are counted.  Under ``FEWEST`` agreeing pairs, or under half of them, the runs are taken to be of
different VMs or boots.

By the wall clock, where the guest accepted nothing while both were recorded: the CLOCK_REALTIME
anchors of both runs.  ``uncertainty_ns`` then holds the reading of the clocks only: how far apart
the two wall clocks were is not known.

Per accept (``accepts``):

guest_ns       the accept.call, waiting included.
host_faults, host_fault_ns
               private faults of its range that overlap it on the common clock, and their time.
host_converts, host_convert_ns
               conversions to private that touch its range and overlap it.
host_share     (host_fault_ns + host_convert_ns) over guest_ns; above 1 where vCPUs worked side by side.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from memtrace.analyzer.callers import query
from memtrace.analyzer.gmem.rows import FAILED, NOOP, PRIVATE, ask, of
from memtrace.analyzer.render.units import written
from memtrace.analyzer.tables import Column, Table
from memtrace.errors import MemtraceError

if TYPE_CHECKING:
    from pathlib import Path

    import duckdb

    from memtrace.traces.reader import Run
    from memtrace.traces.run import ClockAnchor

FEWEST = 3
TOP = 10


@dataclass(frozen=True)
class Alignment:
    """The host's CLOCK_BOOTTIME is the guest's plus ``offset_ns``."""

    vm: int
    offset_ns: int
    uncertainty_ns: int
    method: str
    """memory or wall clock."""
    pairs: int
    agreeing: int


def together(run: Run, guest: Path, connection: duckdb.DuckDBPyConnection) -> tuple[Table, Table]:
    """The alignment, and the guest's longest accepts; rows.load() must have been called.

    Raises MemtraceError where the guest's run has no accepts, or is not of a VM of the host's run.
    """
    from memtrace.traces.reader import open_run

    with open_run(guest) as other:
        _load(other, guest, connection)
        found = _align(run, other, connection)
        return _clock_table(found), _accepts(run, found, connection)


def _load(guest: Run, path: Path, connection: duckdb.DuckDBPyConnection) -> None:
    """Makes the table ``a``: the guest's accepts."""
    size = guest.header.page_size
    rows = guest.relation(connection, ("event", "ts_ns", "dur_ns", "pfn", "bytes", "bytes_requested", "comm"))
    query(
        rows,
        "SELECT row_number() OVER (ORDER BY ts_ns) AS id, ts_ns - dur_ns AS begun, ts_ns "
        "AS ended, dur_ns, pfn, "
        f"coalesce(bytes_requested, bytes) // {size} AS pages, comm::VARCHAR AS comm FROM rows_ "
        "WHERE event = 'accept.call' AND dur_ns IS NOT NULL AND pfn IS NOT NULL",
    ).create("a")
    ((count,),) = connection.execute("SELECT count(*) FROM a WHERE pages > 0").fetchall()
    if not count:
        raise MemtraceError(
            f"{path} has no accept.call: record `-e accept` in the guest, while it has memory to accept"
        )


def _align(host: Run, guest: Run, connection: duckdb.DuckDBPyConnection) -> Alignment:
    faults = of("gmem.fault", f"{PRIVATE} AND NOT {FAILED} AND dur_ns IS NOT NULL AND gfn IS NOT NULL")
    pairs = connection.execute(
        "WITH f AS (SELECT vm, gfn, min(ts_ns) AS ended, arg_min(ts_ns - dur_ns, ts_ns) AS begun "
        f"FROM {faults} GROUP BY vm, gfn), "
        "p AS (SELECT f.vm, a.id, arg_min(f.begun, f.ended) AS h0, min(f.ended) AS h1, "
        "any_value(a.begun) AS g0, "
        "any_value(a.ended) AS g1 FROM a JOIN f ON f.gfn >= a.pfn AND f.gfn < a.pfn + "
        "a.pages GROUP BY f.vm, a.id) "
        "SELECT vm, h1 - g1, h0 - g0 FROM p WHERE h0 - g0 >= h1 - g1"
    ).fetchall()
    found = [_most([(lo, hi) for v, lo, hi in pairs if v == vm], vm) for vm in sorted({p[0] for p in pairs})]
    if found:
        best = max(found, key=lambda alignment: alignment.agreeing)
        if best.agreeing >= FEWEST and best.agreeing * 2 >= best.pairs:
            return best
        raise MemtraceError(
            f"{guest.path} is not of a VM in {host.path}, or of another boot: of {best.pairs} accepts whose "
            f"memory the host touched only {best.agreeing} could have been at the same time"
        )
    return _by_wall_clock(host, guest, connection)


def _most(bounds: list[tuple[int, int]], vm: int) -> Alignment:
    """The stretch that most of the closed intervals share."""
    import numpy as np

    lows, highs = np.array([b[0] for b in bounds]), np.array([b[1] for b in bounds])
    edges = np.concatenate([lows, highs])
    kinds = np.concatenate([np.zeros(len(lows), np.int8), np.ones(len(highs), np.int8)])
    order = np.lexsort((kinds, edges))
    depth = np.cumsum(np.where(kinds[order] == 0, 1, -1))
    at = int(np.argmax(depth))
    low, high = int(edges[order][at]), int(edges[order][at + 1])
    half = (high - low + 1) // 2
    return Alignment(vm, low + (high - low) // 2, half, "memory", len(bounds), int(depth[at]))


def _by_wall_clock(host: Run, guest: Run, connection: duckdb.DuckDBPyConnection) -> Alignment:
    vms = [vm.number for vm in host.status.vms if vm.private is not False]
    here, there = _anchor(host), _anchor(guest)
    if here is None or there is None or len(vms) != 1:
        raise MemtraceError(
            f"{guest.path} cannot be put on the clock of {host.path}: no memory was accepted while both "
            "were recorded, and wall clocks do not tell which VM it was"
        )
    offset = (here.boottime_ns - here.realtime_ns) - (there.boottime_ns - there.realtime_ns)
    begun, ended = guest.status.started_ns + offset, guest.status.ended_ns + offset
    if ended < host.status.started_ns or begun > host.status.ended_ns:
        raise MemtraceError(
            f"{guest.path} and {host.path} were not recorded at the same time, say their wall clocks: "
            "give the guest's run of the same boot"
        )
    return Alignment(vms[0], offset, here.uncertainty_ns + there.uncertainty_ns, "wall clock", 0, 0)


def _anchor(run: Run) -> ClockAnchor | None:
    return next(iter((*run.header.anchors, *run.status.anchors)), None)


def _clock_table(found: Alignment) -> Table:
    row = {
        "vm": found.vm,
        "method": found.method,
        "offset_ns": found.offset_ns,
        "uncertainty_ns": found.uncertainty_ns,
        "pairs": found.pairs,
        "agreeing": found.agreeing,
    }
    columns = (
        Column("vm", "vm", "number"),
        Column("method", "aligned by"),
        Column("offset_ns", "host less guest, ns", "number"),
        Column("uncertainty_ns", "+/-", "ns"),
        Column("pairs", "pairs", "count"),
        Column("agreeing", "agree", "count"),
    )
    note = f"Moments of host and guest are comparable to within {written(found.uncertainty_ns, 'ns')}."
    if found.method == "wall clock":
        note = "By the wall clocks of both, whose difference is not known: no accept's host time is certain."
    return Table(
        "clock", "Host and guest on one clock", tuple(c.name for c in columns), (row,), columns, notes=(note,)
    )


def _accepts(run: Run, found: Alignment, connection: duckdb.DuckDBPyConnection) -> Table:
    size, offset, slack = run.header.page_size, found.offset_ns, found.uncertainty_ns
    touching = (
        f"e.vm = {found.vm} AND e.gfn < a.pfn + a.pages AND e.gfn + coalesce(e.asked, 1) > a.pfn "
        f"AND e.ts_ns - e.dur_ns <= a.ended + {offset + slack} AND e.ts_ns >= a.begun + {offset - slack}"
    )
    faults = of("gmem.fault", f"{PRIVATE} AND dur_ns IS NOT NULL")
    turns = of("gmem.convert", f"{PRIVATE} AND NOT ({FAILED} OR {NOOP}) AND dur_ns IS NOT NULL")
    rows: list[dict[str, Any]] = [
        {
            "guest_at_ns": row["begun"],
            "host_at_ns": row["begun"] + offset,
            "start": f"{row['pfn'] * size:#x}",
            "bytes": row["pages"] * size,
            "comm": row["comm"],
            "guest_ns": row["dur_ns"],
            "host_faults": row["faults"],
            "host_fault_ns": row["fault_ns"],
            "host_converts": row["converts"],
            "host_convert_ns": row["convert_ns"],
            "host_share": (row["fault_ns"] + row["convert_ns"]) / row["dur_ns"] if row["dur_ns"] else None,
        }
        for row in ask(
            connection,
            "SELECT a.*, coalesce(f.n, 0) AS faults, coalesce(f.ns, 0)::BIGINT AS "
            "fault_ns, coalesce(t.n, 0) AS converts, "
            "coalesce(t.ns, 0)::BIGINT AS convert_ns FROM a "
            "LEFT JOIN (SELECT a.id, count(*) AS n, sum(e.dur_ns) AS ns FROM a JOIN "
            f"{faults} e ON {touching} "
            "GROUP BY a.id) f USING (id) "
            f"LEFT JOIN (SELECT a.id, count(*) AS n, sum(e.dur_ns) AS ns FROM a JOIN {turns} e ON {touching} "
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
        Column("host_share", "host", "share"),
    )
    names = ("guest_at_ns", "host_at_ns", *(c.name for c in columns))
    total = sum(row["guest_ns"] for row in rows)
    host = sum(row["host_fault_ns"] + row["host_convert_ns"] for row in rows)
    notes = (
        f"All {len(rows)} accepts: {written(total, 'ns')} in the guest, "
        f"{written(host, 'ns')} of host faults and conversions under them.",
    )
    return Table(
        "accepts",
        "The guest's longest accepts, and the host under them",
        names,
        tuple(rows),
        columns,
        top=TOP,
        notes=notes,
    )
