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
from memtrace.analyzer.tables import Column, Table
from memtrace.analyzer.zero import kinds
from memtrace.analyzer.zero.kinds import Cell

if TYPE_CHECKING:
    import duckdb

    from memtrace.traces.reader import Run
    from memtrace.traces.run import RootTotal

AGAIN, OVER, UNASKED, ACCEPTED = (
    "again by the caller",
    "copied or read over",
    "not asked for",
    "after acceptance",
)
_CALLER_CLEARS = (kinds.FOLIO, kinds.SHMEM, kinds.HUGETLB)
_WRITTEN_OVER = (kinds.COPIED, kinds.CACHE, kinds.KHUGEPAGED, "compaction")


def redundant(totals: Sequence[RootTotal], derive: bool) -> list[dict[str, Any]]:
    """Rows of why, kind, bytes and ns (None: unknown)."""
    found: dict[tuple[str, str], list[Any]] = {}
    for key, cell in kinds.cells(totals, ("kind", "order", "nid"), derive).items():
        kind = str(key[0])
        for why, size in _parts(kind, cell):
            if not size:
                continue
            unasked = cell.by_allocator - cell.asked
            ns = None if cell.derived or not cell.timed else cell.unasked_ns * size / unasked
            held = found.setdefault((why, kind), [0, 0.0])
            held[0] += size
            held[1] = None if ns is None or held[1] is None else held[1] + ns
    return [
        {
            "why": why,
            "kind": kind,
            "bytes": size,
            "total_ns": None if ns is None else round(ns),
            "redundant": why != UNASKED,
        }
        for (why, kind), (size, ns) in sorted(found.items())
    ]


def _parts(kind: str, cell: Cell) -> tuple[tuple[str, int], ...]:
    unasked = cell.by_allocator - cell.asked
    if kind == kinds.HUGETLB:
        return ((AGAIN, unasked),)
    if kind in _CALLER_CLEARS:
        again = min(unasked, cell.by_caller)
        return ((AGAIN, again), (OVER if kind == kinds.SHMEM else UNASKED, unasked - again))
    return ((OVER if kind in _WRITTEN_OVER else UNASKED, unasked),)


def after_acceptance(run: Run, connection: duckdb.DuckDBPyConnection) -> list[dict[str, Any]]:
    """A row for memory accepted and then cleared, where accepting had cleared it."""
    if not platform(run.header).cleared:
        return []
    found, ns = zeroed_again(run, load(run, connection), connection)
    if not found.zeroed_bytes:
        return []
    kind = "any" if found.bound == "exact" else f"any, {found.bound}"
    return [
        {"why": ACCEPTED, "kind": kind, "bytes": found.zeroed_bytes, "total_ns": ns, "redundant": True}
    ]


def table(rows: Sequence[dict[str, Any]], cleared_ns: int | None) -> Table:
    """The table of redundant rows; ``cleared_ns``: all clearing in the run."""
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
    notes = () if rows else ("the allocator cleared nothing that it was not asked to clear",)
    return Table("redundant", "Redundant clearing", names, shown, columns, keys=2, notes=notes)
