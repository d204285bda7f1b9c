# SPDX-License-Identifier: Apache-2.0
"""Which snapshots lie round a hot-add, and what else lies between them.

A snapshot is read counter by counter, from its time on for so long as it took; where that
is not known, until the next one began at the latest.  A hot-add is bracketed by the last
snapshot read before its start and the first begun after its end.  Hot-adds whose brackets
overlap share one, from the first's start to the last's end: changes are told of all of them
together.  A bracket in which anything else was added, brought online, taken offline or
removed, or failed to be, is not ``alone``: no rest is told.
"""

from __future__ import annotations

import dataclasses
from bisect import bisect_left
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from memtrace.analyzer.hotplug.adds import HotAdd
from memtrace.analyzer.hotplug.rows import Occurrence

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
    found = sorted(run.snapshots, key=lambda s: s.boottime_ns)
    begun = [s.boottime_ns for s in found]
    started = run.status.started_ns
    return tuple(_bounded(s, [*begun[at + 1 : at + 2], started]) for at, s in enumerate(found))


def _bounded(snapshot: Snapshot, latest: Iterable[int]) -> Snapshot:
    """One recorder reads them one after the other, and those before recording before it starts."""
    ends = [t - snapshot.boottime_ns for t in latest if t > snapshot.boottime_ns]
    if snapshot.took_ns is not None or not ends:
        return snapshot
    return dataclasses.replace(snapshot, took_ns=min(ends))


def read_by(snapshot: Snapshot) -> int | None:
    """When its last counter had been read; None if not known."""
    return None if snapshot.took_ns is None else snapshot.boottime_ns + snapshot.took_ns


def last_before(start: int, snapshots: Sequence[Snapshot]) -> Snapshot | None:
    """The last one read before ``start``."""
    for at in range(bisect_left(snapshots, start, key=lambda s: s.boottime_ns) - 1, -1, -1):
        end = read_by(snapshots[at])
        if end is not None and end <= start:
            return snapshots[at]
    return None


def _after(end: int, snapshots: Sequence[Snapshot]) -> Snapshot | None:
    at = bisect_left(snapshots, end, key=lambda s: s.boottime_ns)
    return snapshots[at] if at < len(snapshots) else None


def bracket(
    start: int,
    end: int,
    own: Collection[Occurrence],
    snapshots: Sequence[Snapshot],
    changes: Sequence[Occurrence],
) -> Bracket:
    before, after = last_before(start, snapshots), _after(end, snapshots)
    low = before.boottime_ns if before else start
    # A last snapshot that took nobody knows how long is the run's end: nothing comes after it.
    high = (read_by(after) or max((r.end for r in changes), default=end)) if after else end
    others = (r for r in changes if r.end > low and r.start < high and r not in own)
    return Bracket(before, after, next(others, None) is None)


def changing(rows: Sequence[Occurrence]) -> tuple[Occurrence, ...]:
    """What moves memory or tries to: a failed hot-add keeps some, a refused offlining isolates some."""
    return tuple(row for row in rows if row.event in _CHANGES)


def brackets(
    adds: Sequence[HotAdd], snapshots: Sequence[Snapshot], rows: Sequence[Occurrence]
) -> dict[int, Bracket]:
    """The snapshots round each hot-add and its blocks' onlining, by its number."""
    changes = changing(rows)
    out: dict[int, Bracket] = {}
    for group in _together(adds, snapshots):
        start, end = group[0].start, max(add.end for add in group)
        own = {row for add in group for row in add.rows}
        found = dataclasses.replace(bracket(start, end, own, snapshots, changes), adds=tuple(group))
        out.update((add.number, found) for add in group)
    return out


def _together(adds: Sequence[HotAdd], snapshots: Sequence[Snapshot]) -> list[list[HotAdd]]:
    """Hot-adds, by their start, in groups that have a snapshot read between one and the next."""
    groups: list[list[HotAdd]] = []
    end = 0
    for add in adds:
        between = last_before(add.start, snapshots)
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
