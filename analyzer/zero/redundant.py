# SPDX-License-Identifier: Apache-2.0
"""Redundant clearing: bytes cleared that nobody can have read before they were written again.

again by the caller
    The allocator cleared what it was not asked to clear (init_on_alloc), and the
    caller then cleared the same memory itself: huge pages, larger folios, hugetlb,
    shmem.  Bytes: the smaller of the two, by kind, order and node.  hugetlb: all
    that the pool's allocations cleared, because a hugetlb page is always cleared
    at its fault, be it later than the run.
copied or read over
    The allocator cleared, unasked, what the caller then filled from elsewhere: a copy
    on write, a file's data, a huge page made of small ones, a migrated page.
not asked for
    The rest of what the allocator cleared unasked: kernel memory, for which that is
    the purpose of init_on_alloc.  Whether it was read is unknown; not redundant.
unknown if again
    What the allocator cleared, unasked, of huge pages and larger folios in a run that did
    not count the clears of their callers.
unknown if asked for
    What the allocator cleared for allocations whose gfp flags were not seen: any of the
    above, or asked for.  With init_on_alloc off all that it clears was asked for.
after acceptance
    Memory accepted in the run whose first allocation since was zeroed by the allocator, as
    ``report --view accept`` has it (accept/redundant.py).  Only where accepting clears
    memory: elsewhere no redundancy, and no row.

Time: that of the redundant clears, at the ns per byte of their cell; after
acceptance, of all that the allocator cleared.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from memtrace.analyzer.accept.platform import platform
from memtrace.analyzer.accept.redundant import zeroed_again
from memtrace.analyzer.accept.rows import load
from memtrace.analyzer.facts import fact
from memtrace.analyzer.model.staged import Model
from memtrace.analyzer.tables import Column, Table
from memtrace.analyzer.zero import kinds
from memtrace.analyzer.zero.kinds import Cell, Counted

if TYPE_CHECKING:
    import duckdb

    from memtrace.traces.reader import Run
    from memtrace.traces.run import RunHeader
    from memtrace.traces.totals import RootTotal

AGAIN, OVER, UNASKED, UNSEEN, UNSURE, ACCEPTED = (
    "again by the caller",
    "copied or read over",
    "not asked for",
    "unknown if again",
    "unknown if asked for",
    "after acceptance",
)
_REDUNDANT: dict[str, bool | None] = {AGAIN: True, OVER: True, UNASKED: False, UNSEEN: None, UNSURE: None}
_CALLER_CLEARS = (kinds.FOLIO, kinds.SHMEM, kinds.HUGETLB)
_WRITTEN_OVER = (kinds.COPIED, kinds.CACHE, kinds.KHUGEPAGED, "compaction")


def redundant(
    totals: Sequence[RootTotal], derive: bool, counted: Counted = kinds.ALL
) -> list[dict[str, Any]]:
    """Rows of why, kind, bytes, ns and whether they are redundant (None: unknown)."""
    found: dict[tuple[str, str], list[Any]] = {}
    for key, cell in kinds.cells(totals, ("kind", "order", "nid"), derive).items():
        kind = str(key[0])
        for why, size in _parts(kind, cell, counted):
            if not size:
                continue
            whole, whole_ns = (
                (cell.unsure, cell.unsure_ns) if why == UNSURE else (cell.unasked, cell.unasked_ns)
            )
            ns = None if cell.derived or not cell.timed else whole_ns * size / whole
            held = found.setdefault((why, kind), [0, 0.0])
            held[0] += size
            held[1] = None if ns is None or held[1] is None else held[1] + ns
    return [
        {
            "why": why,
            "kind": kind,
            "bytes": size,
            "total_ns": None if ns is None else round(ns),
            "redundant": _REDUNDANT[why],
        }
        for (why, kind), (size, ns) in sorted(found.items())
    ]


def _parts(kind: str, cell: Cell, counted: Counted) -> tuple[tuple[str, int], ...]:
    unsure = (UNSURE, cell.unsure)
    if kind == kinds.HUGETLB:
        return (AGAIN, cell.unasked), unsure
    if kind == kinds.FOLIO and not counted.callers(kind):
        return (UNSEEN, cell.unasked), unsure
    if kind in _CALLER_CLEARS:
        again = min(cell.unasked, cell.by_caller)
        return (AGAIN, again), (OVER if kind == kinds.SHMEM else UNASKED, cell.unasked - again), unsure
    return (OVER if kind in _WRITTEN_OVER else UNASKED, cell.unasked), unsure


def after_acceptance(run: Run, connection: duckdb.DuckDBPyConnection) -> list[dict[str, Any]]:
    """A row for memory accepted and then cleared, where accepting had cleared it."""
    if not platform(run.header).cleared:
        return []
    model = Model(run, connection)
    found, ns = zeroed_again(model, load(model))
    if not found.zeroed_bytes:
        return []
    kind = "any" if found.bound == "exact" else f"any, {found.bound}"
    return [{"why": ACCEPTED, "kind": kind, "bytes": found.zeroed_bytes, "total_ns": ns, "redundant": True}]


def asked_for(totals: Sequence[RootTotal], derive: bool, counted: Counted, header: RunHeader) -> str:
    """What to say of the allocator where none of its clears was one that nobody asked for."""
    if not counted.allocator:
        off = fact(header, "init_on_alloc") == "no"
        rest = "; init_on_alloc is off, and then it clears what it is asked to" if off else ""
        return f"unknown: clears by the allocator were not counted{rest}"
    if derive and not counted.allocations:
        return "unknown: clears by the allocator follow from allocations, which were not recorded"
    if not any(cell.by_allocator for cell in kinds.cells(totals, ("kind",), derive).values()):
        if derive:
            return "unknown: no site sees a clear here, and none follows from the gfp flags of allocations"
        return "no clear by the allocator was seen"
    return "of what was seen, the allocator cleared nothing that it was not asked to clear"


def table(rows: Sequence[dict[str, Any]], cleared_ns: int | None, asked: str) -> Table:
    """The table of redundant rows; ``cleared_ns``: all clearing in the run.

    ``asked`` is what to say where the allocator has none of them (asked_for()).
    """
    shown = tuple(
        row | {"share": row["total_ns"] / cleared_ns if cleared_ns and row["total_ns"] is not None else None}
        for row in rows
    )
    columns = (
        Column("why", "cleared by the allocator, then"),
        Column("kind", "for"),
        Column("bytes", "bytes", "bytes"),
        Column("total_ns", "time", "ns"),
        Column("share", "of clearing", "share"),
    )
    names = ("why", "kind", "bytes", "total_ns", "redundant", "share")
    whys = {row["why"] for row in rows}
    notes: tuple[str, ...] = () if whys - {ACCEPTED} else (asked,)
    reasons = {UNSEEN: "clears by callers were not counted", UNSURE: "gfp flags were not seen"}
    notes += tuple(f"{why}: {reason}; redundant or not." for why, reason in reasons.items() if why in whys)
    return Table("redundant", "Redundant clearing", names, shown, columns, keys=2, notes=notes)
