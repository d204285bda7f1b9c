# SPDX-License-Identifier: Apache-2.0
"""What the kernel's counters say of each hot-add: per-node changes, and the dip of free memory.

nodes   change of MemTotal and MemFree of a node over a bracket (brackets.py); explained: what
        came online there (pages given to the allocator), for MemFree less the struct pages
        allocated there, unknown if those were not seen; rest: change less explained.  Free
        pages on per-CPU lists are not in MemFree: they and what else happened on the machine
        meanwhile are the rest.
dip     MemFree of a node that gave struct pages: before, and the lowest of the snapshots
        from the request to the last onlining's start; struct pages allocated there; the
        low watermark, all zones.  Exact at each snapshot; between two, unknown: late_ns is
        how long after the request's end the first one was taken.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from memtrace.analyzer.hotplug.adds import HotAdd
from memtrace.analyzer.hotplug.brackets import Bracket, last_before, read_by
from memtrace.analyzer.hotplug.memmap import named, needed
from memtrace.analyzer.hotplug.rows import Occurrence, of
from memtrace.analyzer.tables import Column, Table

if TYPE_CHECKING:
    from memtrace.traces.run import Snapshot


def nodes(found: Mapping[int, Bracket], seen: frozenset[str], page_size: int) -> Table:
    """One row for each bracket, node and counter that changed or should have.

    ``seen``: events that would be in the run if they happened.
    """
    rows: list[dict[str, Any]] = []
    for number, bracket in found.items():
        pair = bracket.both
        if pair is None or bracket.adds[0].number != number:
            continue
        for nid in sorted(pair[1].nodes, key=int):
            for counter in ("MemTotal", "MemFree", "Unaccepted"):
                old = pair[0].nodes.get(nid, {}).get(counter, 0 if counter != "Unaccepted" else None)
                new = pair[1].nodes[nid].get(counter)
                if old is None or new is None:
                    continue
                change = (new - old) * 1024
                explained = _together_explained(bracket, int(nid), counter, seen, page_size)
                if change or explained:
                    rows.append(
                        {
                            "add": number,
                            "last_add": bracket.adds[-1].number,
                            "adds": named(bracket.adds),
                            "nid": int(nid),
                            "counter": counter,
                            "change_bytes": change,
                            "explained_bytes": explained,
                            "rest_bytes": None if explained is None else change - explained,
                            "rest_pages": None if explained is None else (change - explained) // page_size,
                            "alone": bracket.alone,
                        }
                    )
    columns = (
        Column("adds", "add", "text"),
        Column("nid", "node", "number"),
        Column("counter", "counter"),
        Column("change_bytes", "change", "signed"),
        Column("explained_bytes", "explained", "signed"),
        Column("rest_bytes", "unexplained", "signed"),
        Column("rest_pages", "pages", "signed"),
    )
    names = ("add", "last_add", *(column.name for column in columns), "alone")
    notes = [] if rows else ["no snapshots on both sides of a hot-add"]
    if any(row["add"] != row["last_add"] for row in rows):
        notes.append("A-B: hot-adds with no snapshot between them, all of them together")
    if any(not row["alone"] for row in rows):
        notes.append("- as explained: other hotplug lies between the same two snapshots")
    if any(row["alone"] and row["explained_bytes"] is None for row in rows if row["counter"] == "MemFree"):
        notes.append("- as explained of MemFree: the nodes that gave struct pages are not known")
    return Table(
        "nodes",
        "Per-node counters over each hot-add, bytes",
        names,
        tuple(rows),
        columns,
        keys=3,
        top=24,
        notes=tuple(notes),
    )


def _together_explained(
    bracket: Bracket, nid: int, counter: str, seen: frozenset[str], page_size: int
) -> int | None:
    each = [_explained(add, nid, counter, seen, page_size) for add in bracket.adds]
    return None if not bracket.alone or None in each else sum(size or 0 for size in each)


def _explained(add: HotAdd, nid: int, counter: str, seen: frozenset[str], page_size: int) -> int | None:
    """Bytes by which the hot-add itself changes the counter; None if that is not known."""
    if counter == "Unaccepted":
        return None
    mine = [block for block in add.blocks if _nid(add, block.outer) == nid]
    onlined = [block.onlined for block in mine]
    if None in onlined:
        return None
    total = sum(size or 0 for size in onlined)
    if counter == "MemTotal":
        return total
    memmaps = of(add.rows, "hot.memmap")
    if any(row.nid is None for row in memmaps):
        return None
    if "hot.memmap" not in seen and add.in_block < needed(add, page_size):
        return None
    return total - sum(row.bytes or 0 for row in memmaps if row.nid == nid)


def _nid(add: HotAdd, outer: Occurrence) -> int | None:
    return add.nid if outer.nid is None else outer.nid


def dip(adds: Sequence[HotAdd], snapshots: Sequence[Snapshot]) -> Table:
    """One row for each hot-add and node that gave struct pages."""
    rows: list[dict[str, Any]] = []
    for add in adds:
        given: dict[int, int] = {}
        for row in of(add.rows, "hot.memmap"):
            if row.nid is not None:
                given[row.nid] = given.get(row.nid, 0) + (row.bytes or 0)
        before = last_before(add.start, snapshots)
        if before is None:
            continue
        last = max((block.outer.start for block in add.outside), default=add.request_end)
        begun = bisect_left(snapshots, add.start, key=lambda s: s.boottime_ns)
        inside = [s for s in snapshots[begun:] if (read_by(s) or last + 1) <= last]
        for nid, size in sorted(given.items()):
            free = [s.nodes.get(str(nid), {}).get("MemFree") for s in inside]
            known = [value * 1024 for value in free if value is not None]
            start = before.nodes.get(str(nid), {})
            low = start.get("WatermarkLow")
            old = start.get("MemFree")
            after = [s.boottime_ns - add.request_end for s in inside if s.boottime_ns >= add.request_end]
            lowest = min(known, default=None)
            rows.append(
                {
                    "add": add.number,
                    "nid": nid,
                    "before_bytes": None if old is None else old * 1024,
                    "lowest_bytes": lowest,
                    "dip_bytes": None if lowest is None or old is None else old * 1024 - lowest,
                    "memmap_bytes": size,
                    "low_bytes": None if low is None else low * 1024,
                    "above_low_bytes": None if low is None or lowest is None else lowest - low * 1024,
                    "samples": len(known),
                    "late_ns": min(after, default=None),
                }
            )
    columns = (
        Column("add", "add", "number"),
        Column("nid", "node", "number"),
        Column("before_bytes", "free before", "bytes"),
        Column("lowest_bytes", "lowest", "bytes"),
        Column("dip_bytes", "dip", "bytes"),
        Column("memmap_bytes", "memmap", "bytes"),
        Column("low_bytes", "low wmark", "bytes"),
        Column("above_low_bytes", "above it", "bytes"),
        Column("samples", "samples", "number"),
        Column("late_ns", "late by", "ns"),
    )
    names = tuple(column.name for column in columns)
    title = "MemFree of the nodes that gave struct pages, until the last block went online"
    notes = (
        ("sampled: free memory between two snapshots is unknown; late by: first one after the request.",)
        if rows
        else ("no node is known to have given struct pages",)
    )
    return Table("dip", title, names, tuple(rows), columns, keys=2, top=20, notes=notes)
