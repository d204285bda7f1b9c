# SPDX-License-Identifier: Apache-2.0
"""What the kernel's counters say of each hot-add: per-node changes, the dip, add/remove cycles.

A hot-add is bracketed by the last snapshot before its start and the first after its end.
A bracket that also holds another hot-add, an onlining or a removal is not its own: the
changes are those of all of them, marked ``alone`` = False, and no rest is told.

nodes   change of MemTotal and MemFree of a node; explained: what came online there (pages
        given to the allocator), for MemFree less the struct pages allocated there; rest:
        change less explained, what else happened on the machine meanwhile included.
dip     MemFree of a node that gave struct pages: before, and the lowest of the snapshots
        from the request to the last onlining's start; struct pages allocated there; the
        low watermark, all zones.  Exact at each snapshot; between two, unknown: late_ns is
        how long after the request's end the first one was taken.
cycles  a range added and then removed: MemFree of all nodes before the hot-add, and after
        the removal; lost is what did not come back, whatever else the machine did included.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from memtrace.analyzer.hotplug.adds import HotAdd
from memtrace.analyzer.hotplug.rows import Occurrence, of
from memtrace.analyzer.tables import Column, Table

if TYPE_CHECKING:
    from memtrace.traces.reader import Run
    from memtrace.traces.run import Snapshot

_CHANGES = ("hot.request", "hot.add", "hot.block", "hot.online", "hot.offline", "hot.remove")


@dataclass(frozen=True)
class Bracket:
    """The snapshots round an interval, and whether nothing else lies between them."""

    before: Snapshot | None
    after: Snapshot | None
    alone: bool

    @property
    def both(self) -> tuple[Snapshot, Snapshot] | None:
        return (self.before, self.after) if self.before and self.after else None


def taken(run: Run) -> tuple[Snapshot, ...]:
    """All snapshots by time."""
    return tuple(sorted((*run.header.snapshots, *run.status.snapshots), key=lambda s: s.boottime_ns))


def bracket(add: HotAdd, snapshots: Sequence[Snapshot], rows: Sequence[Occurrence]) -> Bracket:
    """The snapshots round a hot-add and its blocks' onlining."""
    return _bracket(add.request.start, add.end, set(add.rows) | {add.request}, snapshots, rows)


def _bracket(
    start: int,
    end: int,
    own: set[Occurrence],
    snapshots: Sequence[Snapshot],
    rows: Sequence[Occurrence],
) -> Bracket:
    before = next((s for s in reversed(snapshots) if s.boottime_ns <= start), None)
    after = next((s for s in snapshots if s.boottime_ns >= end), None)
    low = before.boottime_ns if before else start
    high = after.boottime_ns if after else end
    others = (r for r in of(rows, *_CHANGES) if r not in own and r.end > low and r.start < high)
    return Bracket(before, after, next(others, None) is None)


def counted(brackets: dict[int, Bracket], page_size: int) -> dict[int, int | None]:
    """Bytes of struct pages by nr_memmap_pages, for each hot-add alone in its bracket."""
    out: dict[int, int | None] = {}
    for number, found in brackets.items():
        pair = found.both
        name = "nr_memmap_pages"
        if pair is None or not found.alone or name not in pair[0].vmstat or name not in pair[1].vmstat:
            out[number] = None
        else:
            out[number] = (pair[1].vmstat[name] - pair[0].vmstat[name]) * page_size
    return out


def nodes(adds: Sequence[HotAdd], brackets: dict[int, Bracket], page_size: int) -> Table:
    """One row for each hot-add, node and counter that changed or should have."""
    rows: list[dict[str, Any]] = []
    for add in adds:
        pair = brackets[add.number].both
        if pair is None:
            continue
        alone = brackets[add.number].alone
        for nid in sorted(pair[1].nodes, key=int):
            for counter in ("MemTotal", "MemFree", "Unaccepted"):
                old = pair[0].nodes.get(nid, {}).get(counter, 0 if counter != "Unaccepted" else None)
                new = pair[1].nodes[nid].get(counter)
                if old is None or new is None:
                    continue
                change = (new - old) * 1024
                explained = _explained(add, int(nid), counter) if alone else None
                if change or explained:
                    rows.append(
                        {
                            "add": add.number,
                            "nid": int(nid),
                            "counter": counter,
                            "change_bytes": change,
                            "explained_bytes": explained,
                            "rest_bytes": None if explained is None else change - explained,
                            "rest_pages": None if explained is None else (change - explained) // page_size,
                            "alone": alone,
                        }
                    )
    columns = (
        Column("add", "add", "number"),
        Column("nid", "node", "number"),
        Column("counter", "counter"),
        Column("change_bytes", "change", "signed"),
        Column("explained_bytes", "explained", "signed"),
        Column("rest_bytes", "unexplained", "signed"),
        Column("rest_pages", "pages", "signed"),
    )
    names = (*(column.name for column in columns), "alone")
    notes = [] if rows else ["no snapshots on both sides of a hot-add"]
    if any(not row["alone"] for row in rows):
        notes.append("- as explained: other hotplug lies between the same two snapshots")
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


def _explained(add: HotAdd, nid: int, counter: str) -> int | None:
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
    return total - sum(row.bytes or 0 for row in memmaps if row.nid == nid)


def _nid(add: HotAdd, outer: Occurrence) -> int | None:
    return add.nid if outer.nid is None else outer.nid


def dip(adds: Sequence[HotAdd], brackets: dict[int, Bracket], snapshots: Sequence[Snapshot]) -> Table:
    """One row for each hot-add and node that gave struct pages."""
    rows: list[dict[str, Any]] = []
    for add in adds:
        given: dict[int, int] = {}
        for row in of(add.rows, "hot.memmap"):
            if row.nid is not None:
                given[row.nid] = given.get(row.nid, 0) + (row.bytes or 0)
        before = brackets[add.number].before
        if before is None:
            continue
        last = max((block.outer.start for block in add.outside), default=add.request.end)
        inside = [s for s in snapshots if add.request.start <= s.boottime_ns <= last]
        for nid, size in sorted(given.items()):
            free = [s.nodes.get(str(nid), {}).get("MemFree") for s in inside]
            known = [value * 1024 for value in free if value is not None]
            start = before.nodes.get(str(nid), {})
            low = start.get("WatermarkLow")
            old = start.get("MemFree")
            after = [s.boottime_ns - add.request.end for s in inside if s.boottime_ns >= add.request.end]
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


def cycles(adds: Sequence[HotAdd], snapshots: Sequence[Snapshot], rows: Sequence[Occurrence]) -> Table:
    """One row for each range that was added and then removed."""
    out: list[dict[str, Any]] = []
    seen: dict[tuple[int, int], int] = {}
    for add in adds:
        if add.removed is None:
            continue
        seen[add.pfns] = seen.get(add.pfns, 0) + 1
        low, high = add.pfns
        own = {row for row in rows if add.request.start <= row.start and _meets(row, low, high)}
        found = _bracket(add.request.start, add.removed.end, own | set(add.rows), snapshots, rows)
        pair = found.both
        free = [_free(s) for s in pair] if pair else [None, None]
        memmap = [s.vmstat.get("nr_memmap_pages") for s in pair] if pair else [None, None]
        out.append(
            {
                "add": add.number,
                "cycle": seen[add.pfns],
                "pfn": low,
                "bytes": add.bytes,
                "before_bytes": free[0],
                "after_bytes": free[1],
                "lost_bytes": None if free[0] is None or free[1] is None else free[0] - free[1],
                "memmap_pages": None if None in memmap else memmap[1] - memmap[0],  # type: ignore[operator]
                "alone": found.alone,
            }
        )
    columns = (
        Column("cycle", "cycle", "number"),
        Column("add", "add", "number"),
        Column("pfn", "pfn", "number"),
        Column("bytes", "memory", "bytes"),
        Column("before_bytes", "free before", "number"),
        Column("after_bytes", "after", "number"),
        Column("lost_bytes", "lost", "signed"),
        Column("memmap_pages", "memmap pages", "signed"),
    )
    names = (*(column.name for column in columns), "alone")
    notes = _net(out) if out else ()
    title = "Added and removed again: bytes that did not come back"
    return Table("cycles", title, names, tuple(out), columns, keys=2, top=24, notes=notes)


def _meets(row: Occurrence, low: int, high: int) -> bool:
    """Whether a row's range lies in ``[low, high)``; page sizes cancel out only for whole pages."""
    return row.pfn is not None and low <= row.pfn < high


def _free(snapshot: Snapshot) -> int | None:
    known = [node["MemFree"] for node in snapshot.nodes.values() if "MemFree" in node]
    return sum(known) * 1024 if known else None


def _net(rows: Sequence[dict[str, Any]]) -> tuple[str, ...]:
    known = [row for row in rows if row["before_bytes"] is not None and row["after_bytes"] is not None]
    if not known:
        return ("no snapshots on both sides of a cycle: lost bytes are unknown",)
    net = known[0]["before_bytes"] - known[-1]["after_bytes"]
    each = net / len(known)
    text = f"net over {len(known)} cycles: {net:+d} bytes, {each:+.0f} a cycle, other use included"
    # The first cycle pays for what stays (page tables, sysfs caches): the rest alone says what leaks.
    later = known[0]["after_bytes"] - known[-1]["after_bytes"]
    if len(known) > 1:
        text += f"; after the first: {later:+d}, {later / (len(known) - 1):+.0f} a cycle"
    return (text,)
