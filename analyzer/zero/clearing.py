# SPDX-License-Identifier: Apache-2.0
"""The main tables: clearing by what it was for, by the root that paid, and how fast it went."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from memtrace.analyzer.cells import GIB, PAGE
from memtrace.analyzer.tables import Column, Row, Table
from memtrace.analyzer.zero.kinds import ALL, CLEARING, UNPLACED, Cell, Counted, cells

if TYPE_CHECKING:
    from memtrace.traces.totals import RootTotal

Totals = Sequence["RootTotal"]


def _derived(row: Row) -> str:
    return "~" if row["derived"] else ""


def _bounded(row: Row) -> str:
    return ">" if row["clears_is"] == "at least" else ""


def _untimed(row: Row) -> str:
    return ">" if row["time"] == "part" else ""


def kinds(totals: Totals, derive: bool, counted: Counted, none: str) -> Table:
    """One row for each kind, order and node; ``none`` is what to say where there is none."""
    keys = ("kind", "order", "nid")
    rows = tuple(
        dict(zip(keys, key, strict=True)) | _measured(cell, counted, counted.callers(str(key[0])))
        for key, cell in cells(totals, keys, derive).items()
    )
    names = (*keys, *_MEASURED)
    columns = (
        Column("kind", "for"),
        Column("order", "order", "number"),
        Column("nid", "node", "number"),
        Column("pages", "pages", "count"),
        Column("by_allocator", "allocator", "count", _derived),
        Column("by_caller", "caller", "count"),
        Column("on_free", "at free", "count", if_any=True),
        Column("clears_per_page", "clears", "rate", _bounded),
        Column("total_ns", "time", "ns", _untimed),
        Column("ns_per_4kib", "ns/4K", "rate"),
        Column("gib_per_s", "GiB/s", "rate"),
        Column("remote_share", "remote", "share", if_any=True),
    )
    notes = ["pages: allocated, of 4 KiB; allocator, caller: 4 KiB pages cleared by each; clears: per page."]
    if any(row["derived"] for row in rows):
        notes.append("~ allocator: derived from gfp flags and init_on_alloc; no clear was seen.")
    if not rows:
        notes = [none if counted.allocations else f"allocations were not recorded; clearing: {none}"]
    notes += _why_at_least(rows)
    return Table("main", "Clearing", names, rows, columns, keys=3, section=True, notes=tuple(notes))


def _why_at_least(rows: Sequence[Row]) -> list[str]:
    bounded = [row for row in rows if row["clears_is"] == "at least"]
    reasons = {
        "allocations were not recorded": any(row["pages"] is None for row in bounded),
        "some pages were allocated before the run": None not in [row["by_caller"] for row in bounded]
        and None not in [row["by_allocator"] for row in bounded],
        "clears by callers were not counted": any(row["by_caller"] is None for row in bounded),
        "clears by the allocator were not counted": any(row["by_allocator"] is None for row in bounded),
    }
    return [f"> clears: {why}." for why, so in reasons.items() if so and bounded]


_MEASURED = (
    "pages",
    "by_allocator",
    "by_caller",
    "on_free",
    "derived",
    "asked",
    "clears_per_page",
    "clears_is",
    "bytes",
    "total_ns",
    "time",
    "ns_per_4kib",
    "gib_per_s",
    "remote_share",
    "remote_ns_per_4kib",
)


def _measured(cell: Cell, counted: Counted = ALL, by_caller: bool = True) -> dict[str, Any]:
    """``by_caller``: whether clears by callers were counted."""
    by_allocator = counted.allocator
    caller, allocator = cell.by_caller // PAGE, cell.by_allocator // PAGE
    # The bulk allocator's pages are in no alloc, but each that it clears was allocated.
    pages = max(cell.allocated // PAGE, allocator) if counted.allocations else None
    timed = cell.time_ns if cell.timed and cell.cleared else None
    # Of a pool's pages that were faulted, those allocated before the run are in no alloc.
    over = max(pages or 0, caller) if cell.pooled else pages
    clears, clears_is = None, None
    if over and (by_allocator or by_caller):
        clears = (allocator + caller) / over
        clears_is = "exact" if by_allocator and by_caller and over == pages else "at least"
    return {
        "pages": pages,
        "by_allocator": allocator if by_allocator else None,
        "by_caller": caller if by_caller else None,
        "on_free": cell.on_free // PAGE if counted.free else None,
        "derived": cell.derived,
        "asked": cell.asked // PAGE if by_allocator and not cell.unsure else None,
        "clears_per_page": clears,
        "clears_is": clears_is,
        "bytes": cell.cleared if cell.cleared or (by_allocator and by_caller and counted.free) else None,
        "total_ns": timed,
        "time": "exact" if timed is not None else "unknown",
        "ns_per_4kib": timed * PAGE / cell.cleared if timed and cell.cleared else None,
        "gib_per_s": cell.cleared / GIB / (timed / 1e9) if timed else None,
        "remote_share": cell.remote / cell.placed if cell.placed and not cell.derived else None,
        "remote_ns_per_4kib": cell.remote_ns * PAGE / cell.remote if cell.remote and cell.timed else None,
    }


def roots(totals: Totals, asked_for: bool, derive: bool, counted: Counted) -> Table:
    """One row for each outermost root: its wall time, and the clearing inside."""
    inside: dict[str | None, list[RootTotal]] = {}
    for total in totals if asked_for else ():
        inside.setdefault(total.root, []).append(total)
    whole = UNPLACED not in inside
    found = [(root, Inside(same, derive, counted)) for root, same in inside.items()]
    found.sort(key=lambda item: -item[1].ns)
    rows = tuple(_root(root, clears, whole) for root, clears in found)

    def streamed(row: Row) -> str:
        return "" if whole else ">"

    columns = (
        Column("root", "root"),
        Column("calls", "calls", "count", streamed),
        Column("wall_ns", "wall time", "ns", streamed),
        Column("clearing_ns", "clearing", "ns", _untimed),
        Column("share", "share", "share", _untimed),
        Column("pages", "4 KiB cleared", "count", lambda row: _PAGES[row["pages_are"]]),
    )
    notes = [
        "outermost roots; what lies inside others (a fault of a populate) is in the outer one's time."
        if asked_for
        else "unknown; `memtrace record -e alloc,zero,root` has them where functions can be hooked."
    ]
    if not whole:
        notes.append("> of what the kernel summed no root is known: a root has what was streamed alone.")
    elif any(row["time"] == "part" for row in rows):
        notes.append("> clearing, share: of some clears no time is known.")
    if any(row["pages_are"] == "derived" for row in rows):
        notes.append("~ 4 KiB cleared: the allocator's are derived from gfp flags and init_on_alloc.")
    if whole and any(row["pages_are"] == "part" for row in rows):
        notes.append("> 4 KiB cleared: not every way of clearing was counted.")
    names = ("root", "calls", "wall_ns", "clearing_ns", "time", "share", "pages", "pages_are")
    return Table("roots", "Roots", names, rows, columns, notes=tuple(notes))


_PAGES = {"exact": "", "derived": "~", "part": ">"}


class Inside:
    """The clearing in what some sums are of."""

    def __init__(self, totals: Totals, derive: bool, counted: Counted) -> None:
        clears = [total for total in totals if total.event in CLEARING]
        times = [total.total_ns for total in clears]
        derived = [total for total in totals if derive and total.event == "alloc" and total.zeroed]
        self.totals = totals
        self.ns = sum(ns or 0 for ns in times)
        """Time of the clears, as far as it is known."""
        self.pages = sum(total.bytes for total in (*clears, *derived)) // PAGE
        self.derived = bool(derived)
        """Some follow from gfp flags: they have no time."""
        self.counted = counted.whole(totals)
        """Whether every way of clearing was counted."""
        self.timed = self.counted and not derived and None not in times
        """Whether the time of every clear is known."""


def _root(root: str | None, clears: Inside, whole: bool) -> dict[str, Any]:
    """``whole``: whether the root of everything is known."""
    walls = [total for total in clears.totals if total.outermost and total.total_ns is not None]
    wall = sum(total.total_ns or 0 for total in walls) if walls else None
    exact = clears.timed and (whole or root == UNPLACED)
    pages_are = "part" if not clears.counted else "derived" if clears.derived else "exact"
    if not whole and root != UNPLACED:
        pages_are = "part"
    clearing = clears.ns if clears.ns or exact else None
    return {
        "root": root.removeprefix("root.") if root else "no root",
        "calls": sum(total.count for total in walls) if walls else None,
        "wall_ns": wall,
        "clearing_ns": clearing,
        "time": "exact" if exact else "unknown" if clearing is None else "part",
        "share": clearing / wall if whole and wall and clearing is not None else None,
        "pages": clears.pages if clears.pages or pages_are != "part" else None,
        "pages_are": pages_are,
    }


def bandwidth(totals: Totals, none: str) -> Table:
    """How fast clearing went: one row for each clearer, order, node, and whether that was the CPU's own.

    ``none`` is what to say where no clear was seen.
    """
    found: dict[tuple[str, int | None, int | None, bool | None], Cell] = {}
    for total in totals:
        if total.event in CLEARING:
            key = (total.event, total.order, total.nid, total.remote)
            found.setdefault(key, Cell()).add(total, derive=False)
    rows = []
    for key in sorted(found, key=lambda k: tuple((v is None, v) for v in k)):
        event, order, nid, remote = key
        measured = _measured(found[key])
        rows.append(
            {
                "event": event,
                "order": order,
                "nid": nid,
                "cpu": {True: "remote", False: "local", None: None}[remote],
                **{name: measured[name] for name in ("bytes", "total_ns", "ns_per_4kib", "gib_per_s")},
            }
        )
    columns = (
        Column("event", "event"),
        Column("order", "order", "number"),
        Column("nid", "node", "number"),
        Column("cpu", "CPU"),
        Column("bytes", "cleared", "bytes"),
        Column("total_ns", "time", "ns"),
        Column("ns_per_4kib", "ns/4K", "rate"),
        Column("gib_per_s", "GiB/s", "rate"),
    )
    names = ("event", "order", "nid", "cpu", "bytes", "total_ns", "ns_per_4kib", "gib_per_s")
    notes = ("CPU: local if it was on the node of the memory.",) if rows else (none,)
    return Table("bandwidth", "Bandwidth", names, tuple(rows), columns, keys=4, section=True, notes=notes)
