# SPDX-License-Identifier: Apache-2.0
"""What adding and removing a range again and again costs in free memory.

cycles  a range added and then removed: MemFree of all nodes in the last snapshot before the
        hot-add, and in the first after the removal; lost is what did not come back, whatever
        else the machine did included.  Unknown where other hotplug lies between these two.
        net: from before the first cycle to after the last; the median of the cycles beside
        it, and the range that they are in, say how much of it is noise.
"""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from memtrace.analyzer.hotplug.adds import HotAdd
from memtrace.analyzer.hotplug.brackets import Bracket, bracket, changing
from memtrace.analyzer.hotplug.rows import Occurrence
from memtrace.analyzer.tables import Column, Table
from memtrace.analyzer.unknown import less

if TYPE_CHECKING:
    from memtrace.traces.run import Snapshot


def cycles(adds: Sequence[HotAdd], snapshots: Sequence[Snapshot], rows: Sequence[Occurrence]) -> Table:
    """One row for each range that was added and then removed."""
    out: list[dict[str, Any]] = []
    seen: dict[tuple[int, int], int] = {}
    changes = changing(rows)
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
        own.update((*add.rows, add.removed))
        low, high = add.pfns
        start, end = add.start, add.removed.end
        own.update(r for r in changes if start <= r.start and r.end <= end and _meets(r, low, high))
    ends = [add.removed.end for add in cycle if add.removed is not None]
    return bracket(cycle[0].start, max(ends), own, snapshots, changes)


def _meets(row: Occurrence, low: int, high: int) -> bool:
    """Whether a row's range lies in ``[low, high)``; page sizes cancel out only for whole pages."""
    return row.pfn is not None and low <= row.pfn < high


def _free(snapshot: Snapshot) -> int | None:
    known = [node["MemFree"] for node in snapshot.nodes.values() if "MemFree" in node]
    return sum(known) * 1024 if known else None


def _lost(found: Bracket) -> int | None:
    """Bytes of MemFree that did not come back; None if other hotplug lies between, or it is not known."""
    free = [_free(s) for s in found.both] if found.both and found.alone else [None, None]
    return less(free[0], free[1])


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
