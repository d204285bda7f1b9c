# SPDX-License-Identifier: Apache-2.0
"""What other policies would have made of the same run: predictions, never measurements.

Each replays the run's private faults, preparations, holes and conversions per 2 MiB range of the
guest and counts anew.  ``faults``: resolved private faults; ``preparations``: calls that make
memory private; ``cleared``: memory that guest_memfd clears; ``time``: see below; ``extra``:
memory in use beyond the recorded, at the last event before the VM's memory was given back;
``holes_refused``.  What follows from events without a site in this run is unknown.

as recorded     the counts of the trace.
huge+fallback   guest_memfd gives 2 MiB pages (larger ones stay); a range that is punched or converted
                in part goes on as recorded, until a hole covers all of it.
huge only       2 MiB pages (or larger) without small ones, holes in part refused: a range is faulted
                in once, and once more after each conversion that touches it.
no small holes  pages as recorded, holes without any whole 2 MiB range refused: what such a hole had
                given back stays prepared, and is not prepared again, until a larger hole covers it.
preallocated    all memory allocated before: faults do not allocate.  Counts are as recorded, time is
                unknown where allocations were not recorded, extra where the VM's size is not.
prefault        each conversion to private prefaults its range, by 4 KiB: the next fault of each page
                in it does not happen, unless a hole or a conversion to shared comes between, and
                pages that nobody asked for are made too.

Time is that of the recorded faults, and what the counts differ by: each fault at the mean cost of
one less the clearing and preparation inside, each 4 KiB cleared and each preparation at its mean
cost; one at 2 MiB or above at the mean measured there, else at that of 4 KiB.  Costs are this run's;
where one is needed and unknown, or a fault's time is, so is the time.  The clearing and preparing of
a prefault is in it, outside faults.  What a huge page saves in the guest's page walks is not, nor
what finding one costs.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from memtrace.analyzer.gmem.life import MADE, prepares
from memtrace.analyzer.gmem.rows import FAILED, inside, of, seen
from memtrace.analyzer.gmem.touch import sees
from memtrace.analyzer.tables import Column, Table
from memtrace.analyzer.whatif import replay
from memtrace.analyzer.whatif.prefault import prefault
from memtrace.analyzer.whatif.replay import Counts

if TYPE_CHECKING:
    import duckdb

    from memtrace.traces.reader import Run

ASSUMPTIONS = {
    "as recorded": "the trace",
    "huge+fallback": "every range gets a 2 MiB page at first; broken in part: as recorded",
    "huge only": "always 2 MiB; holes in part refused; a conversion in part costs one fault",
    "no small holes": "holes without a whole 2 MiB range refused, their pages stay prepared",
    "preallocated": "as recorded less the allocation inside faults",
    "prefault": "a conversion to private makes all its pages, and saves the next fault of each",
}


@dataclass(frozen=True)
class Costs:
    """Means of this run, ns; None where nothing was timed."""

    fault: float | None
    """Of a resolved private fault, without clearing and preparation inside."""
    clear_page: float | None
    """Of clearing 4 KiB."""
    prepare: float | None
    """Of one preparation below 2 MiB."""
    prepare_huge: float | None
    """At 2 MiB or above; that at 4 KiB where none was seen."""
    alloc: float | None
    """Allocation in all resolved private faults; None where it was not recorded."""
    recorded: float | None
    """All resolved private faults together; None where the time of one is unknown."""


def what_if(run: Run, connection: duckdb.DuckDBPyConnection) -> Table:
    """One row for each VM and policy; life.trace() must have been called."""
    size = run.header.page_size
    replay.load(connection)
    rows: list[dict[str, Any]] = []
    for (vm,) in connection.execute("SELECT DISTINCT vm FROM wf WHERE vm IS NOT NULL ORDER BY vm").fetchall():
        costs = _costs(connection, vm, sees(run, "alloc"))
        counts = _counts(run, connection, vm)
        recorded = counts["as recorded"]
        for policy, found in counts.items():
            time = _time(policy, found, recorded, costs)
            share = None
            if found.faults is not None and recorded.faults:
                share = found.faults / recorded.faults
            rows.append(
                {
                    "vm": vm,
                    "policy": policy,
                    "faults": found.faults,
                    "preparations": found.preparations,
                    "cleared_bytes": None if found.cleared is None else found.cleared * size,
                    "time_ns": None if time is None else round(max(time, 0)),
                    "faults_share": share,
                    "extra_bytes": None if found.extra is None else found.extra * size,
                    "holes_refused": found.refused,
                    "assumption": ASSUMPTIONS[policy],
                }
            )
    columns = (
        Column("vm", "vm", "number"),
        Column("policy", "policy"),
        Column("faults", "faults", "count"),
        Column("faults_share", "of now", "share"),
        Column("preparations", "prepared", "count"),
        Column("cleared_bytes", "cleared", "bytes"),
        Column("time_ns", "time", "ns", lambda row: "" if row["policy"] == "as recorded" else "~"),
        Column("extra_bytes", "extra", "bytes"),
        Column("holes_refused", "refused", "count"),
    )
    names = ("vm", *(c.name for c in columns[1:]), "assumption")
    notes = [f"{policy}: {text}." for policy, text in ASSUMPTIONS.items() if policy != "as recorded"]
    notes.append("Times are this run's mean costs times the counts; see analyzer/gmem/whatif.py.")
    notes += _displaced(connection)
    return Table("whatif", "What if", names, tuple(rows), columns, keys=2, notes=tuple(notes) if rows else ())


def _displaced(connection: duckdb.DuckDBPyConnection) -> list[str]:
    """What cannot be replayed, for nobody knows where it was."""
    ((holes, conversions),) = connection.execute(
        "SELECT count(*) FILTER (event = 'gmem.punch'), count(*) FILTER (event = 'gmem.convert') FROM g "
        f"WHERE gfn IS NULL AND NOT {FAILED}"
    ).fetchall()
    found = {"holes": holes, "conversions": conversions}
    unknown = ", ".join(f"{what} {n}" for what, n in found.items() if n)
    return [f"Left out, as their place is not known: {unknown}."] if unknown else []


def _counts(run: Run, connection: duckdb.DuckDBPyConnection, vm: int) -> dict[str, Counts]:
    """By policy; what rests on events that have no site is unknown."""
    now = replay.recorded(connection, vm)
    prepared = prepares(run)
    cleared = seen(run, "gmem.zero")
    if not prepared:
        now = replace(now, preparations=None, huge=None)
    if not cleared:
        now = replace(now, cleared=None)
    found = dict.fromkeys(ASSUMPTIONS, Counts())
    found["as recorded"], found["preallocated"] = now, replace(now, extra=None)
    if prepared and seen(run, "gmem.punch", "gmem.convert"):
        found["huge+fallback"] = replay.with_fallback(connection, vm)
        found["huge only"] = replay.huge_only(connection, vm)
        found["prefault"] = prefault(connection, vm, now)
        for policy in ("huge+fallback", "huge only"):
            if not cleared:
                found[policy] = replace(found[policy], cleared=None)
            if not seen(run, "gmem.free"):
                found[policy] = replace(found[policy], extra=None)
    if prepared and seen(run, "gmem.punch", "gmem.free"):
        found["no small holes"] = replay.no_small_holes(connection, vm, now)
    return found


def _costs(connection: duckdb.DuckDBPyConnection, vm: int, with_alloc: bool) -> Costs:
    def mean(what: str) -> float | None:
        ((value,),) = connection.execute(f"SELECT {what}").fetchall()
        return None if value is None else float(value)

    cleared = of("gmem.zero", f"vm = {vm}")
    clear = mean(f"(SELECT sum(dur_ns) / sum(pages) FROM {cleared} WHERE dur_ns IS NOT NULL)")
    level = "(SELECT avg(dur_ns) FROM wp WHERE vm = {} AND level {} 9)"
    small, huge = mean(level.format(vm, "<")), mean(level.format(vm, ">="))
    faults = f"(SELECT * FROM wf WHERE vm = {vm})"
    parts = f"(SELECT * FROM {cleared} UNION ALL SELECT * FROM {MADE} WHERE vm = {vm})"
    # Unknown as soon as one of them is.
    all_of = "CASE WHEN count(*) = count(ns) THEN coalesce(sum(ns), 0) END"
    within = inside(parts, faults, "i.dur_ns AS ns")
    nested = mean(f"(SELECT {all_of} FROM ({within}))")
    total = mean(f"(SELECT {all_of} FROM (SELECT dur_ns AS ns FROM {faults}))")
    count = mean(f"(SELECT count(*) FROM {faults})")
    own = (total - nested) / count if total is not None and nested is not None and count else None
    allocations = inside(of("alloc", "parent = 'gmem.get'"), faults, "i.dur_ns AS ns")
    alloc = mean(f"(SELECT {all_of} FROM ({allocations}))") if with_alloc else None
    return Costs(own, clear, small, small if huge is None else huge, alloc, total)


def _time(policy: str, found: Counts, recorded: Counts, costs: Costs) -> float | None:
    """The recorded time and what the counts differ by, ns; None where a part of it is unknown."""
    time = costs.recorded
    if policy == "as recorded" or time is None:
        return time
    if policy == "preallocated":
        return None if costs.alloc is None else time - costs.alloc
    small, small_now = _less(found.preparations, found.huge), _less(recorded.preparations, recorded.huge)
    for count, now, cost in (
        (found.faults, recorded.faults, costs.fault),
        (found.cleared, recorded.cleared, costs.clear_page),
        (small, small_now, costs.prepare),
        (found.huge, recorded.huge, costs.prepare_huge),
    ):
        if count is None or now is None or (count != now and cost is None):
            return None
        time += (count - now) * (cost or 0)
    return time


def _less(all_: int | None, some: int | None) -> int | None:
    return None if all_ is None or some is None else all_ - some
