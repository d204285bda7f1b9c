# SPDX-License-Identifier: Apache-2.0
"""The tables ``stacks`` and ``callsites``: from where memory was cleared.

stacks
    One row for each kernel stack, the most bytes first; ``caller`` as callers.py has it.
    The stack of what the allocator cleared is that of its allocation.
callsites
    Where no stacks were recorded: one row for each event, the site that saw it
    (`sites` of the summary says which kernel functions it stands for) and the innermost
    root around it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from memtrace.analyzer.callers import WRITTEN_OUT, caller_of, numbered, query, written_out
from memtrace.analyzer.tables import Column, Table
from memtrace.analyzer.zero.by.clears import SUMMED, SUMS, Clears, condition, largest_first
from memtrace.analyzer.zero.by.holds import Holds
from memtrace.analyzer.zero.by.who import SHOWN, TOP
from memtrace.analyzer.zero.kinds import ALLOCATOR, CLEARING, UNPLACED
from memtrace.analyzer.zero.totals import totals_of

if TYPE_CHECKING:
    import duckdb

    from memtrace.traces.reader import Run

_MEASURED = ("clears", "bytes", "derived_bytes", "share", "total_ns", "untimed_bytes", "ns_per_4kib")


def stacks(run: Run, connection: duckdb.DuckDBPyConnection, holds: Holds) -> Table:
    """One row for each stack; none where none were recorded."""
    found = _by_stack(run, connection, holds) if holds.stacks else []
    whole = sum(one.bytes for one in found)
    rows = []
    for place, one in enumerate(found, start=1):
        event, stack = one.key
        caller = None if stack is None else caller_of(stack)
        rows.append(
            {"rank": place, "caller": caller, "event": event} | one.measured(whole) | {"stack": stack}
        )
    notes = written_out(rows[:WRITTEN_OUT])
    if any(one.key[1] is None for one in found):
        notes.append("stack: unknown where the kernel could not keep one.")
    if rows:
        notes += holds.notes
    else:
        notes.append("stacks: unknown; `memtrace record -e alloc,zero,root --stacks` keeps them.")
    columns = (
        Column("rank", "#", "number"),
        Column("caller", "caller", "stack"),
        Column("event", "event"),
        *SHOWN,
    )
    names = ("rank", "caller", "event", *_MEASURED, "stack")
    return Table(
        "stacks", "Clearing by stack", names, tuple(rows), columns, keys=3, top=TOP, notes=tuple(notes)
    )


def _by_stack(run: Run, connection: duckdb.DuckDBPyConnection, holds: Holds) -> list[Clears]:
    rows = run.relation(connection, [*SUMMED, "stack"]).filter(condition(holds.derive))
    joined, known = numbered(rows, connection)
    question = f"SELECT event::VARCHAR, stack_number, {SUMS} FROM rows_ GROUP BY event, stack_number"
    found = []
    for event, number, *sums in query(joined, question).fetchall():
        stack = None if number is None else known.stack[number]
        found.append(Clears((ALLOCATOR if event == "alloc" else event, stack), *sums))
    return largest_first(found)


def callsites(run: Run, connection: duckdb.DuckDBPyConnection, holds: Holds) -> Table:
    """One row for each event, site and innermost root."""
    sites = {site.event: site.site for site in run.header.manifest}
    found: dict[tuple[Any, ...], Clears] = {}
    for total in totals_of(run, connection):
        derived = holds.derive and total.event == "alloc" and total.zeroed
        if not (derived or total.event in CLEARING):
            continue
        within = total.within.removeprefix("root.") if total.within else "none" if holds.roots else None
        within = None if total.within == UNPLACED else within
        event = ALLOCATOR if derived else total.event
        held = found.setdefault((event, sites.get(event), within), Clears((event, sites.get(event), within)))
        held.clears += total.count
        held.bytes += total.bytes
        held.derived += total.bytes if derived else 0
        if total.total_ns is not None and not derived:
            held.ns += total.total_ns
            held.timed += total.bytes
    ordered = largest_first(list(found.values()))
    whole = sum(one.bytes for one in ordered)
    names = ("event", "site", "within")
    rows = tuple(dict(zip(names, one.key, strict=True)) | one.measured(whole) for one in ordered)
    notes = ["within: the innermost root.", *holds.notes] if rows else [holds.nothing]
    if rows and not holds.roots:
        notes[0] = "within: unknown; `record -e alloc,zero,root` has it where functions can be hooked."
    columns = (
        Column("event", "event"),
        Column("site", "site", "stack"),
        Column("within", "within"),
        *SHOWN,
    )
    return Table(
        "callsites",
        "Clearing by call site",
        (*names, *_MEASURED),
        rows,
        columns,
        keys=3,
        top=TOP,
        notes=tuple(notes),
    )
