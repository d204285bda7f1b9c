# SPDX-License-Identifier: Apache-2.0
"""Entries and returns made into occurrences, nested as they ran.

Each task has a stack of the functions that are open on it (CPU 0's idle task is
not CPU 1's; a trace without task names has one stack a CPU).  A return closes
the innermost open entry of its function; entries above it never returned, and
are counted.  A function of which a file has entries alone makes occurrences
whose time is unknown: nothing says when it ended, and the next line of the same
CPU is no answer.

``self_ns``: total less that of the occurrences directly inside; unknown if the
time of one of these is.  Where a tracer printed durations but no entries
(tracing_thresh), intervals nest by time instead.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

from memtrace.traces.importers.parsed import ENTRY, POINT, RETURN, Stamp
from memtrace.traces.importers.topics import SITES, Topic

_STAMP_NS = 1000
"""Stamps are cut to microseconds, printed durations are not."""


@dataclass(slots=True)
class Occurrence:
    """One serving of an event, on the file's own clock."""

    topic: Topic
    site: str
    how: str
    ts_ns: int
    """The end; the start where only that was seen."""
    dur_ns: int | None
    self_ns: int | None
    cpu: int | None
    tid: int | None
    pid: int | None
    comm: str | None
    entry: str
    back: str
    parent: str | None = None
    stack: str | None = None


@dataclass
class Paired:
    """What became of a file's stamps."""

    occurrences: list[Occurrence] = field(default_factory=list)
    unreturned: int = 0
    """Entries whose return was not seen, of functions that return elsewhere in the file."""
    other_sites: int = 0
    """Stamps of functions that serve an event for which a better one was in the files."""
    marks: list[Stamp] = field(default_factory=list)


@dataclass(slots=True)
class _Frame:
    topic: Topic
    stamp: Stamp
    children_ns: int = 0
    unknown_child: bool = False


def sites_in(files: Iterable[list[Stamp]]) -> dict[str, str]:
    """For each event the best site that any file has."""
    present = {stamp.what for stamps in files for stamp in stamps} & SITES.keys()
    best: dict[str, str] = {}
    for site in present:
        topic, rank = SITES[site]
        if topic.event not in best or rank < SITES[best[topic.event]][1]:
            best[topic.event] = site
    return best


def pair(stamps: list[Stamp], chosen: dict[str, str]) -> Paired:
    """The occurrences in one file's stamps, which are in the order of the file."""
    paired = Paired()
    with_returns = {s.what for s in stamps if s.kind == RETURN}
    tasks: dict[tuple[int, int | None], _Task] = {}
    # The tracepoint at the end of an allocation belongs to the interval before it.
    both = chosen.get("alloc") == "get_page_from_freelist"
    for stamp in stamps:
        found = SITES.get(stamp.what)
        if found is None:
            paired.marks.append(stamp)
            continue
        topic = found[0]
        key = (-1, stamp.tid) if stamp.tid else (stamp.cpu if stamp.cpu is not None else -2, stamp.tid)
        task = tasks.get(key)
        if task is None:
            task = tasks[key] = _Task(paired)
        if both and stamp.what == "mm_page_alloc":
            task.allocated(topic, stamp)
        elif chosen[topic.event] != stamp.what:
            paired.other_sites += 1
        elif stamp.kind == ENTRY and stamp.what in with_returns:
            task.frames.append(_Frame(topic, stamp))
        elif stamp.kind == RETURN:
            task.returned(topic, stamp)
        else:
            task.point(topic, stamp)
    for task in tasks.values():
        task.unwind(0)
    paired.occurrences.sort(key=lambda o: o.ts_ns)
    return paired


class _Task:
    """What is open on one task."""

    def __init__(self, paired: Paired) -> None:
        self._paired = paired
        self.frames: list[_Frame] = []
        self._roots: list[Occurrence] = []
        self._unclaimed: Occurrence | None = None

    def returned(self, topic: Topic, stamp: Stamp) -> None:
        """Closes the innermost open entry of the function."""
        frames = self.frames
        for depth in range(len(frames) - 1, -1, -1):
            if frames[depth].stamp.what == stamp.what:
                break
        else:
            self._return_alone(topic, stamp)
            return
        self.unwind(depth + 1)
        frame = frames.pop()
        entry = frame.stamp
        dur = stamp.dur_ns if stamp.dur_ns is not None else max(stamp.ts_ns - entry.ts_ns, 0)
        own = None if frame.unknown_child else max(dur - frame.children_ns, 0)
        self._emit(topic, stamp, entry.args, dur, own, entry.stack or stamp.stack)

    def point(self, topic: Topic, stamp: Stamp) -> None:
        """An event, or an entry of whose function no return is in the file."""
        self._emit(topic, stamp, stamp.args, None, None, stamp.stack)

    def allocated(self, topic: Topic, stamp: Stamp) -> None:
        """kmem:mm_page_alloc, beside get_page_from_freelist(): of the interval that ended last."""
        last = self._unclaimed
        order = f" {stamp.args} ".partition(" order=")[2].partition(" ")[0]
        if last is not None and (not last.entry or f"order={order} " in f"{last.entry} "):
            last.entry = f"{stamp.args} {last.entry}" if last.entry else stamp.args
            self._unclaimed = None
        else:
            self.point(topic, stamp)

    def unwind(self, depth: int) -> None:
        """Gives up the frames from ``depth`` on: their returns were not seen."""
        while len(self.frames) > depth:
            frame = self.frames.pop()
            self._paired.unreturned += 1
            self._emit(frame.topic, frame.stamp, frame.stamp.args, None, None, frame.stamp.stack)

    def _return_alone(self, topic: Topic, stamp: Stamp) -> None:
        """A return without an entry: with a printed duration an interval all the same."""
        dur, own = stamp.dur_ns, stamp.dur_ns
        if dur is not None and not self.frames:
            start = stamp.ts_ns - dur - _STAMP_NS
            while self._roots and self._roots[-1].ts_ns - (self._roots[-1].dur_ns or 0) >= start:
                child = self._roots.pop()
                child.parent = topic.event
                own = None if own is None or child.dur_ns is None else max(own - child.dur_ns, 0)
        self._emit(topic, stamp, "", dur, own, stamp.stack)

    def _emit(
        self, topic: Topic, stamp: Stamp, entry: str, dur: int | None, own: int | None, stack: str | None
    ) -> None:
        parent = self.frames[-1] if self.frames else None
        if parent is not None:
            if dur is None:
                parent.unknown_child = True
            else:
                parent.children_ns += dur
        occurrence = Occurrence(
            topic,
            stamp.what,
            stamp.how,
            stamp.ts_ns,
            dur,
            own,
            stamp.cpu,
            stamp.tid,
            stamp.pid,
            stamp.comm,
            entry,
            stamp.args if stamp.kind == RETURN else "",
            parent.topic.event if parent else None,
            stack,
        )
        self._paired.occurrences.append(occurrence)
        if parent is None:
            self._roots = [*self._roots[-15:], occurrence]
        if topic.event == "alloc" and stamp.kind != POINT:
            self._unclaimed = occurrence
