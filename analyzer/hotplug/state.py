# SPDX-License-Identifier: Apache-2.0
"""What the kernel's counters say of each hot-add: per-node changes, the dip, add/remove cycles.

A snapshot is read counter by counter, from its time on for so long as it took; where that
is not known, until the next one began at the latest.  A hot-add is bracketed by the last
snapshot read before its start and the first begun after its end.  Hot-adds whose brackets
overlap share one, from the first's start to the last's end: changes are told of all of them
together.  A bracket in which anything else was added, brought online, taken offline or
removed, or failed to be, is not ``alone``: no rest is told.

nodes   change of MemTotal and MemFree of a node; explained: what came online there (pages
        given to the allocator), for MemFree less the struct pages allocated there; rest:
        change less explained.  Free pages on per-CPU lists are not in MemFree: they and what
        else happened on the machine meanwhile are the rest.
dip     MemFree of a node that gave struct pages: before, and the lowest of the snapshots
        from the request to the last onlining's start; struct pages allocated there; the
        low watermark, all zones.  Exact at each snapshot; between two, unknown: late_ns is
        how long after the request's end the first one was taken.
cycles  a range added and then removed: MemFree of all nodes in the last snapshot before the
        hot-add, and in the first after the removal; lost is what did not come back, whatever
        else the machine did included.  Unknown where other hotplug lies between these two.
        net: from before the first cycle to after the last; the median of the cycles beside
        it, and the range that they are in, say how much of it is noise.
"""

from __future__ import annotations

import dataclasses
import statistics
from bisect import bisect_left
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from memtrace.analyzer.hotplug.adds import HotAdd
from memtrace.analyzer.hotplug.memmap import named
from memtrace.analyzer.hotplug.rows import Occurrence, of
from memtrace.analyzer.tables import Column, Table

if TYPE_CHECKING:
    from memtrace.traces.reader import Run
    from memtrace.traces.run import Snapshot

_CHANGES = ("hot.request", "hot.add", "hot.block", "hot.online", "hot.offline", "hot.remove")


@dataclass(frozen=True)
class Bracket:
    """The snapshots round an interval, and whether nothing but its own lies between them."""

    before: Snapshot | None
    after: Snapshot | None
    alone: bool
    adds: tuple[HotAdd, ...] = ()

    @property
    def both(self) -> tuple[Snapshot, Snapshot] | None:
        return (self.before, self.after) if self.before and self.after else None


def taken(run: Run) -> tuple[Snapshot, ...]:
    """All snapshots by time, each with the longest that it can have taken."""
    found = sorted((*run.header.snapshots, *run.status.snapshots), key=lambda s: s.boottime_ns)
    begun = [s.boottime_ns for s in found]
    started = run.status.started_ns
    return tuple(_bounded(s, [*begun[at + 1 : at + 2], started]) for at, s in enumerate(found))


def _bounded(snapshot: Snapshot, latest: Iterable[int]) -> Snapshot:
    """One recorder reads them one after the other, and those before recording before it starts."""
    ends = [t - snapshot.boottime_ns for t in latest if t > snapshot.boottime_ns]
    if snapshot.took_ns is not None or not ends:
        return snapshot
    return dataclasses.replace(snapshot, took_ns=min(ends))


def _read_by(snapshot: Snapshot) -> int | None:
    """When its last counter had been read; None if not known."""
    return None if snapshot.took_ns is None else snapshot.boottime_ns + snapshot.took_ns


def _before(start: int, snapshots: Sequence[Snapshot]) -> Snapshot | None:
    """The last one read before ``start``."""
    for at in range(bisect_left(snapshots, start, key=lambda s: s.boottime_ns) - 1, -1, -1):
        end = _read_by(snapshots[at])
        if end is not None and end <= start:
            return snapshots[at]
    return None


def _after(end: int, snapshots: Sequence[Snapshot]) -> Snapshot | None:
    at = bisect_left(snapshots, end, key=lambda s: s.boottime_ns)
    return snapshots[at] if at < len(snapshots) else None


def _bracket(
    start: int,
    end: int,
    own: Collection[Occurrence],
    snapshots: Sequence[Snapshot],
    changes: Sequence[Occurrence],
) -> Bracket:
    before, after = _before(start, snapshots), _after(end, snapshots)
    low = before.boottime_ns if before else start
    # A last snapshot that took nobody knows how long is the run's end: nothing comes after it.
    high = (_read_by(after) or max((r.end for r in changes), default=end)) if after else end
    others = (r for r in changes if r.end > low and r.start < high and r not in own)
    return Bracket(before, after, next(others, None) is None)


def _changing(rows: Sequence[Occurrence]) -> tuple[Occurrence, ...]:
    """What moves memory or tries to: a failed hot-add keeps some, a refused offlining isolates some."""
    return tuple(row for row in rows if row.event in _CHANGES)


def brackets(
    adds: Sequence[HotAdd], snapshots: Sequence[Snapshot], rows: Sequence[Occurrence]
) -> dict[int, Bracket]:
    """The snapshots round each hot-add and its blocks' onlining, by its number."""
    changes = _changing(rows)
    out: dict[int, Bracket] = {}
    for group in _together(adds, snapshots):
        start, end = group[0].request.start, max(add.end for add in group)
        own = {row for add in group for row in (*add.rows, add.request)}
        found = dataclasses.replace(_bracket(start, end, own, snapshots, changes), adds=tuple(group))
        out.update((add.number, found) for add in group)
    return out


def _together(adds: Sequence[HotAdd], snapshots: Sequence[Snapshot]) -> list[list[HotAdd]]:
    """Hot-adds, by their start, in groups that have a snapshot read between one and the next."""
    groups: list[list[HotAdd]] = []
    end = 0
    for add in adds:
        between = _before(add.request.start, snapshots)
        if groups and (between is None or between.boottime_ns < end):
            groups[-1].append(add)
            end = max(end, add.end)
        else:
            groups.append([add])
            end = add.end
    return groups


def counted(found: Bracket, page_size: int) -> int | None:
    """Bytes of struct pages by nr_memmap_pages of all hot-adds in a bracket of their own."""
    pair, name = found.both, "nr_memmap_pages"
    if pair is None or not found.alone or name not in pair[0].vmstat or name not in pair[1].vmstat:
        return None
    return (pair[1].vmstat[name] - pair[0].vmstat[name]) * page_size


def nodes(found: Mapping[int, Bracket], page_size: int) -> Table:
    """One row for each bracket, node and counter that changed or should have."""
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
                explained = _together_explained(bracket, int(nid), counter)
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


def _together_explained(bracket: Bracket, nid: int, counter: str) -> int | None:
    each = [_explained(add, nid, counter) for add in bracket.adds]
    return None if not bracket.alone or None in each else sum(size or 0 for size in each)


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


def dip(adds: Sequence[HotAdd], snapshots: Sequence[Snapshot]) -> Table:
    """One row for each hot-add and node that gave struct pages."""
    rows: list[dict[str, Any]] = []
    for add in adds:
        given: dict[int, int] = {}
        for row in of(add.rows, "hot.memmap"):
            if row.nid is not None:
                given[row.nid] = given.get(row.nid, 0) + (row.bytes or 0)
        before = _before(add.request.start, snapshots)
        if before is None:
            continue
        last = max((block.outer.start for block in add.outside), default=add.request.end)
        begun = bisect_left(snapshots, add.request.start, key=lambda s: s.boottime_ns)
        inside = [s for s in snapshots[begun:] if (_read_by(s) or last + 1) <= last]
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
    changes = _changing(rows)
    removed = [add for add in adds if add.removed is not None]
    for add in removed:
        seen[add.pfns] = seen.get(add.pfns, 0) + 1
        found = _round([add], snapshots, changes)
        pair = found.both
        free = [_free(s) for s in pair] if pair else [None, None]
        memmap = [s.vmstat.get("nr_memmap_pages") for s in pair] if pair and found.alone else [None, None]
        out.append(
            {
                "add": add.number,
                "cycle": seen[add.pfns],
                "pfn": add.pfns[0],
                "bytes": add.bytes,
                "before_bytes": free[0],
                "after_bytes": free[1],
                "lost_bytes": _lost(found),
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
    notes = _net(removed, snapshots, changes, [row["lost_bytes"] for row in out]) if out else ()
    title = "Added and removed again: bytes that did not come back"
    return Table("cycles", title, names, tuple(out), columns, keys=2, top=24, notes=notes)


def _round(cycle: Sequence[HotAdd], snapshots: Sequence[Snapshot], changes: Sequence[Occurrence]) -> Bracket:
    """From before the first of the hot-adds to after the last of their removals."""
    own: set[Occurrence] = set()
    for add in cycle:
        assert add.removed is not None
        own.update((*add.rows, add.request, add.removed))
        low, high = add.pfns
        start, end = add.request.start, add.removed.end
        own.update(r for r in changes if start <= r.start and r.end <= end and _meets(r, low, high))
    ends = [add.removed.end for add in cycle if add.removed is not None]
    return _bracket(cycle[0].request.start, max(ends), own, snapshots, changes)


def _meets(row: Occurrence, low: int, high: int) -> bool:
    """Whether a row's range lies in ``[low, high)``; page sizes cancel out only for whole pages."""
    return row.pfn is not None and low <= row.pfn < high


def _free(snapshot: Snapshot) -> int | None:
    known = [node["MemFree"] for node in snapshot.nodes.values() if "MemFree" in node]
    return sum(known) * 1024 if known else None


def _lost(found: Bracket) -> int | None:
    """Bytes of MemFree that did not come back; None if other hotplug lies between, or it is not known."""
    free = [_free(s) for s in found.both] if found.both and found.alone else [None, None]
    return None if free[0] is None or free[1] is None else free[0] - free[1]


def _net(
    removed: Sequence[HotAdd],
    snapshots: Sequence[Snapshot],
    changes: Sequence[Occurrence],
    lost: Sequence[int | None],
) -> tuple[str, ...]:
    notes = []
    # The first cycle pays for what stays (page tables, sysfs caches): the rest alone says what leaks.
    for cycle, when in ((removed, ""), (removed[1:], "after the first: ")):
        net = _lost(_round(cycle, snapshots, changes)) if cycle else None
        if net is not None:
            count = len(cycle)
            over = f"{count} cycle{'s' if count > 1 else ''}"
            notes.append(f"{when}net over {over}: {net:+d} bytes, {net / count:+.0f} a cycle")
    known = [size for size in lost if size is not None]
    if not notes:
        notes.append("net: unknown, no snapshots round all cycles or other hotplug between them")
    if len(known) > 1:
        middle = f"median {statistics.median(known):+.0f}, from {min(known):+d} to {max(known):+d}"
        notes.append(f"{len(known)} of {len(lost)} cycles are known alone: {middle}; other use included")
    if len(known) < len(lost):
        notes.append("- as lost: other hotplug lies between the same two snapshots")
    return tuple(notes)
