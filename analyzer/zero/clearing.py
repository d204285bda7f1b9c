# SPDX-License-Identifier: Apache-2.0
"""The main tables: clearing by what it was for, by the root that paid, and how fast it went."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from memtrace.analyzer.cells import GIB, PAGE
from memtrace.analyzer.tables import Column, Row, Table
from memtrace.analyzer.zero.kinds import CLEARING, Cell, cells

if TYPE_CHECKING:
    from memtrace.traces.run import RootTotal

Totals = Sequence["RootTotal"]


def _derived(row: Row) -> str:
    return "~" if row["derived"] else ""


def _bounded(row: Row) -> str:
    return ">" if row["clears_is"] == "at least" else ""


def _untimed(row: Row) -> str:
    return ">" if row["time"] == "part" else ""


def kinds(totals: Totals, derive: bool, callers: bool) -> Table:
    """One row for each kind, order and node; ``callers``: whether their clears were counted."""
    keys = ("kind", "order", "nid")
    rows = tuple(
        dict(zip(keys, key, strict=True)) | _measured(cell, callers)
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
    if any(row["clears_is"] == "at least" for row in rows):
        why = "the pages were allocated before the run" if callers else "clears by callers were not counted"
        notes.append(f"> clears: {why}.")
    return Table("main", "Clearing", names, rows, columns, keys=3, section=True, notes=tuple(notes))


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


def _measured(cell: Cell, callers: bool = True) -> dict[str, Any]:
    caller, allocator = cell.by_caller // PAGE, cell.by_allocator // PAGE
    # The bulk allocator's pages are in no alloc, but each that it clears was allocated.
    pages = max(cell.allocated // PAGE, allocator)
    timed = cell.time_ns if cell.timed and cell.cleared else None
    clears, clears_is = None, None
    if pages:
        clears, clears_is = (allocator + caller) / pages, "exact" if callers else "at least"
    elif caller and cell.pooled:
        clears, clears_is = 1.0, "at least"
    return {
        "pages": pages,
        "by_allocator": allocator,
        "by_caller": caller if callers else None,
        "on_free": cell.on_free // PAGE,
        "derived": cell.derived,
        "asked": cell.asked // PAGE,
        "clears_per_page": clears,
        "clears_is": clears_is,
        "bytes": cell.cleared,
        "total_ns": timed,
        "time": "exact" if timed is not None else "unknown",
        "ns_per_4kib": timed * PAGE / cell.cleared if timed and cell.cleared else None,
        "gib_per_s": cell.cleared / GIB / (timed / 1e9) if timed else None,
        "remote_share": cell.remote / cell.cleared if cell.cleared and not cell.derived else None,
        "remote_ns_per_4kib": cell.remote_ns * PAGE / cell.remote if cell.remote and cell.timed else None,
    }


def roots(totals: Totals, asked_for: bool) -> Table:
    """One row for each outermost root: its wall time, and the clearing inside."""
    found: dict[str | None, dict[str, Any]] = {}
    for total in totals if asked_for else ():
        row = found.setdefault(total.root, {"calls": 0, "wall": 0, "known": False, "ns": 0, "timed": True})
        if total.outermost and total.total_ns is not None:
            row["calls"] += total.count
            row["wall"] += total.total_ns
            row["known"] = True
        if total.event in CLEARING:
            row["pages"] = row.get("pages", 0) + total.bytes // PAGE
            row["timed"] = row["timed"] and total.total_ns is not None
            row["ns"] += total.total_ns or 0
    rows = []
    for root, row in sorted(found.items(), key=lambda item: -item[1]["ns"]):
        wall, clearing = row["wall"] if row["known"] else None, row["ns"] if row["timed"] else None
        rows.append(
            {
                "root": root.removeprefix("root.") if root else "no root",
                "calls": row["calls"] if row["known"] else None,
                "wall_ns": wall,
                "clearing_ns": clearing if row.get("pages") else 0,
                "share": clearing / wall if wall and clearing is not None else None,
                "pages": row.get("pages", 0),
            }
        )
    columns = (
        Column("root", "root"),
        Column("calls", "calls", "count"),
        Column("wall_ns", "wall time", "ns"),
        Column("clearing_ns", "clearing", "ns"),
        Column("share", "share", "share"),
        Column("pages", "4 KiB cleared", "count"),
    )
    note = (
        "outermost roots; what lies inside others (a fault of a populate) is in the outer one's time."
        if asked_for
        else "roots were not recorded: `memtrace record -e alloc,zero,root` has them."
    )
    names = ("root", "calls", "wall_ns", "clearing_ns", "share", "pages")
    return Table("roots", "Roots", names, tuple(rows), columns, notes=(note,))


def bandwidth(totals: Totals) -> Table:
    """How fast clearing went: one row for each clearer, order, node, and whether that was the CPU's own."""
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
    notes = ("CPU: local if it was on the node of the memory.",) if rows else ("no clear was seen",)
    return Table("bandwidth", "Bandwidth", names, tuple(rows), columns, keys=4, section=True, notes=notes)
