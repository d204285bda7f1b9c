# SPDX-License-Identifier: Apache-2.0
"""How often a page is cleared on its way into a guest.

All in 4 KiB pages, whatever the size of the folios:

pages                 of folios that gmem.prepare or gmem.zero saw for the first use.
by_gmem               of these cleared by guest_memfd (gmem.zero); null where that has no site.
by_allocator          of these whose last allocation before cleared them (flag ZEROED of the alloc
                      with that pfn and order); null where allocations were not recorded, or not for all.
expected_allocator    what init_on_alloc and init_on_free of the host say instead: all or none; null
                      if unknown.
per_page              (by_gmem + by_allocator) over pages; with the expectation where the other is null
                      (``is_expected``).
What the guest adds is not here: its allocator clears a page once more with init_on_alloc, and a
TDX module when the guest accepts it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from memtrace.analyzer.facts import init_on
from memtrace.analyzer.gmem.rows import seen
from memtrace.analyzer.tables import Column, Row, Table
from memtrace.traces.derived import allocator_zeroes, tells_zeroing

if TYPE_CHECKING:
    from memtrace.analyzer.model.staged import Model
    from memtrace.traces.reader import Run


def clears(model: Model) -> Table:
    """One row for each VM."""
    found = model.page("memtrace.analyzer.gmem", "cleared").rows
    rows = [_row(model.run, row) for row in found]
    notes: tuple[str, ...] = ()
    if any(row["is_expected"] for row in rows):
        notes = (
            "Allocations were not all recorded (-e gmem,alloc): the allocator's part is "
            "what init_on_alloc says.",
        )
    if rows:
        notes += (
            "The guest adds its own: one more with init_on_alloc there, one more when a TDX guest accepts.",
        )
    return Table("clears", "Clears of a page on its way in", _NAMES, tuple(rows), _COLUMNS, notes=notes)


def _row(run: Run, row: Row) -> Row:
    pages = max(row["prepared"], row["zeroed"])
    by_gmem = row["zeroed"] if seen(run, "gmem.zero") else None
    cleared = _cleared_by_allocator(run)
    expected = None if cleared is None else pages * int(cleared)
    complete = row["sized"] and row["allocated"] == row["sized"]
    by_allocator = row["allocated_zeroed"] if complete else None
    if by_allocator != row["sized"] and not tells_zeroing(*init_on(run.header)):
        by_allocator = None
    counted = by_allocator if by_allocator is not None else expected
    per_page = None
    if by_gmem is not None and counted is not None and pages:
        per_page = (by_gmem + counted) / pages
    return {
        "vm": row["vm"],
        "pages": pages,
        "by_gmem": by_gmem,
        "by_allocator": by_allocator,
        "expected_allocator": expected,
        "per_page": per_page,
        "is_expected": by_allocator is None and expected is not None,
    }


def _cleared_by_allocator(run: Run) -> bool | None:
    """Whether the host's allocator clears what it gives out unasked."""
    return allocator_zeroes(False, *init_on(run.header))


_NAMES = ("vm", "pages", "by_gmem", "by_allocator", "expected_allocator", "per_page", "is_expected")
_COLUMNS = (
    Column("vm", "vm", "number"),
    Column("pages", "first used", "count"),
    Column("by_gmem", "by guest_memfd", "count"),
    Column("by_allocator", "by allocator", "count"),
    Column("per_page", "clears a page", "rate", lambda row: "~" if row["is_expected"] else ""),
)
