# SPDX-License-Identifier: Apache-2.0
"""Entries and returns made into occurrences, nested as they ran.

Each task has a stack of the functions that are open on it (CPU 0's idle task is
not CPU 1's; a trace without task names has one stack a CPU).  A return closes
the innermost open entry of its function.  Entries that it finds above that, or
that are open at the end of the file, never returned there: they are counted,
make occurrences without a time, and contain nothing.

A function of which a file has entries alone makes occurrences whose time is
unknown: the next line of the same CPU is no end.  The exception is a function
whose next call is known (``Topic.ended_by``): what accept_memory() accepts for
the page allocator is freed next, and the time between is given as an estimate
(it includes the way from the one to the other).

``self_ns``: total less that of the occurrences directly inside; unknown if the
time of one of these is.  Where a tracer printed durations but no entries
(tracing_thresh), intervals nest by time instead.

The *victim* (flag VICTIM) of an acceptance is what waited for it: the alloc or
hot.online around it, or else its own outermost interval.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field

from memtrace.traces.importers.fields import words
from memtrace.traces.importers.matching import Key, match, task_of
from memtrace.traces.importers.names import function_of
from memtrace.traces.importers.occurrence import Occurrence, Paired, occurrence
from memtrace.traces.importers.parsed import ENTRY, LOSS, RETURN, Stamp
from memtrace.traces.importers.topics import SITES, Topic
from memtrace.traces.schema import Flag

_STAMP_NS = 1000
"""Stamps are cut to microseconds, printed durations are not."""
_WAITING = ("alloc", "hot.online")
_RECENT = 16
"""Occurrences that an interval without an entry may turn out to contain."""


@dataclass(slots=True)
class _Frame:
    topic: Topic
    stamp: Stamp
    children_ns: int = 0
    unknown_child: bool = False
    accepting: bool = False
    inside: list[Occurrence] = field(default_factory=list)
    first_ns: int | None = None
    """When the first of what is inside began, and the last ended."""
    last_ns: int = 0

    def hold(self, made: Occurrence, accepting: bool = False) -> None:
        """Takes in what ran inside; ``accepting``: memory was accepted in that."""
        if made.dur_ns is None:
            self.unknown_child = True
        else:
            begun = made.ts_ns - made.dur_ns
            self.children_ns += made.dur_ns
            self.first_ns = begun if self.first_ns is None else min(self.first_ns, begun)
            self.last_ns = max(self.last_ns, made.ts_ns)
        if made.topic.event in self.topic.collects:
            self.inside.append(made)
        self.accepting |= accepting or _accepts(made)


def pair(stamps: list[Stamp], chosen: dict[str, str]) -> Paired:
    """The occurrences in one file's stamps, which are in the order of the file."""
    paired = Paired()
    matched, with_returns = match(stamps)
    tasks: dict[Key, _Task] = {}
    # The tracepoint at the end of an allocation belongs to the interval before it.
    both = chosen.get("alloc") == "get_page_from_freelist"
    for index, stamp in enumerate(stamps):
        found = SITES.get(stamp.what)
        if stamp.kind == LOSS:
            for each in tasks.values():
                each.lost(stamp.cpu)
            continue
        if found is None:
            paired.marks.append(stamp)
            continue
        topic = found[0]
        key = task_of(stamp)
        task = tasks.get(key)
        if task is None:
            task = tasks[key] = _Task(paired)
        if not topic.event:
            paired.dropped += not task.told(topic, stamp)
        elif both and stamp.what == "mm_page_alloc":
            task.allocated(topic, stamp)
        elif chosen[topic.event] != stamp.what:
            paired.dropped += 1
        elif stamp.kind == ENTRY and index in matched:
            task.frames.append(_Frame(topic, stamp))
        elif stamp.kind == RETURN:
            task.returned(topic, stamp)
        else:
            if stamp.kind == ENTRY and stamp.what in with_returns:
                paired.unreturned += 1
            task.point(topic, stamp)
    for task in tasks.values():
        task.settle()
    paired.occurrences.sort(key=lambda o: o.ts_ns)
    return paired


class _Task:
    """What is open on one task."""

    def __init__(self, paired: Paired) -> None:
        self._paired = paired
        self.frames: list[_Frame] = []
        self._recent: deque[Occurrence] = deque(maxlen=_RECENT)
        self._unclaimed: Occurrence | None = None
        self._unended: list[Occurrence] = []

    def returned(self, topic: Topic, stamp: Stamp) -> None:
        """Closes the innermost open entry of the function."""
        if not self.frames or self.frames[-1].stamp.what != stamp.what:
            self._return_alone(topic, stamp)
            return
        frame = self.frames.pop()
        entry = frame.stamp
        dur = stamp.dur_ns if stamp.dur_ns is not None else max(stamp.ts_ns - entry.ts_ns, 0)
        self._close(frame, stamp, dur, entry.args, entry.stack or stamp.stack)

    def point(self, topic: Topic, stamp: Stamp) -> None:
        """An event, or an entry of whose function the return is not seen."""
        made = occurrence(topic, stamp, stamp.args, None, None)
        if not topic.ended_by or stamp.kind != ENTRY:
            self._emit(made)
            return
        caller = function_of(words(stamp.args).get("caller", ""))
        if self._unended and self._unended[-1].site != caller:
            self.settle()
        if caller in topic.callers and (self._unended or caller not in SITES or topic.event == "accept.call"):
            self._unended.append(made)
        else:
            self._emit(made)

    def told(self, topic: Topic, stamp: Stamp) -> bool:
        """What makes no row, but may tell of what is around it, or end what is before it."""
        if stamp.kind == RETURN:
            return False
        for frame in reversed(self.frames):
            if stamp.what in frame.topic.collects:
                frame.inside.append(occurrence(topic, stamp, stamp.args, None, None))
                return True
        return self._end(stamp)

    def allocated(self, topic: Topic, stamp: Stamp) -> None:
        """kmem:mm_page_alloc, beside get_page_from_freelist(): of the interval that ended last."""
        last = self._unclaimed
        order = f" {stamp.args} ".partition(" order=")[2].partition(" ")[0]
        if last is not None and (not last.entry or f"order={order} " in f"{last.entry} "):
            last.entry = f"{stamp.args} {last.entry}" if last.entry else stamp.args
            self._unclaimed = None
        else:
            self.point(topic, stamp)

    def lost(self, cpu: int | None) -> None:
        """Events of that CPU are missing here: what they would have ended is not ended by later ones."""
        if self._unclaimed is not None and self._unclaimed.cpu == cpu:
            self._unclaimed = None
        if any(waiting.cpu == cpu for waiting in self._unended):
            self.settle()

    def settle(self) -> None:
        """Gives up waiting for the ends of what has none of its own."""
        for waiting in self._unended:
            self._emit(waiting)
        self._unended = []

    def _end(self, stamp: Stamp) -> bool:
        """Ends what is ended by this call: the outer of them contain the inner."""
        ended = [o for o in self._unended if o.topic.ended_by == stamp.what]
        self._unended = [o for o in self._unended if o not in ended]
        inner: Occurrence | None = None
        for waiting in reversed(ended):
            dur = max(stamp.ts_ns - waiting.ts_ns, 0)
            waiting.ts_ns, waiting.dur_ns = stamp.ts_ns, dur
            waiting.self_ns = dur - (inner.dur_ns or 0) if inner else dur
            waiting.flags |= Flag.ESTIMATED
            if inner is not None:
                inner.parent = waiting.topic.event
                waiting.inside = [inner]
            inner = waiting
        if inner is not None:
            self._paired.occurrences += ended[1:]
            self._emit(inner)
        return inner is not None

    def _return_alone(self, topic: Topic, stamp: Stamp) -> None:
        """A return without an entry: with a printed duration an interval all the same."""
        dur = stamp.dur_ns
        if dur is None:
            made = occurrence(topic, stamp, "", None, None)
            made.stack = stamp.stack
            self._emit(made)
            return
        frame = _Frame(topic, stamp)
        start = stamp.ts_ns - dur - _STAMP_NS
        while self._recent and self._recent[-1].ts_ns - (self._recent[-1].dur_ns or 0) >= start:
            child = self._recent.pop()
            child.parent = topic.event
            if topic.event in _WAITING or topic.event.startswith("accept."):
                child.flags &= ~Flag.VICTIM
            frame.hold(child)
        self._close(frame, stamp, dur, "", stamp.stack)

    def _close(self, frame: _Frame, stamp: Stamp, dur: int, entry: str, stack: str | None) -> None:
        """The interval of a frame, which ended at a stamp."""
        topic = frame.topic
        own = None if frame.unknown_child else max(dur - frame.children_ns, 0)
        made = occurrence(topic, stamp, entry, dur, own)
        made.stack = stack
        made.inside = frame.inside if topic.collects else None
        if frame.first_ns is not None:
            _around(made, dur, frame.first_ns, frame.last_ns)
        self._emit(made, frame.accepting)

    def _emit(self, made: Occurrence, accepting: bool = False) -> None:
        event = made.topic.event
        nothing = event == "accept.burst" and not made.inside and not _accepted(made)
        failed = event == "alloc" and not accepting and _failed(made)
        if nothing or failed:
            self._paired.dropped += 1
            return
        if event.startswith("accept."):
            asked = next((f for f in reversed(self.frames) if f.topic.event == "alloc"), None)
            made.asked = asked.stamp.args if asked else ""
        parent = self.frames[-1] if self.frames else None
        if parent is not None:
            made.parent = parent.topic.event
            parent.hold(made, accepting)
        elif made.dur_ns is not None:
            self._recent.append(made)
        if made.dur_ns is not None and self._waited(made, accepting):
            made.flags |= Flag.VICTIM
        self._paired.occurrences.append(made)
        if event == "alloc" and made.dur_ns is not None:
            self._unclaimed = made

    def _waited(self, made: Occurrence, accepting: bool) -> bool:
        """Whether this is what waited for an acceptance."""
        if made.topic.event in _WAITING:
            return accepting
        if not _accepts(made):
            return False
        around = (frame.topic.event for frame in self.frames)
        return not any(event in _WAITING or event.startswith("accept.") for event in around)


def _around(made: Occurrence, dur: int, first: int, last: int) -> None:
    """Moves an interval, by no more than its stamp was cut by, so that it holds what ran inside."""
    end = min(max(made.ts_ns, last), first + dur)
    if abs(end - made.ts_ns) <= _STAMP_NS:
        made.ts_ns = end


def _accepts(made: Occurrence) -> bool:
    return made.topic.event.startswith("accept.")


def _failed(made: Occurrence) -> bool:
    """Whether an allocation gave nothing; it is tried again, or somebody is told."""
    if not made.back and made.site != "mm_page_alloc":
        return False
    values = SITES[made.site][1].values(words(made.entry), words(made.back))
    return bool(values["flags"] & Flag.FAILED)


def _accepted(made: Occurrence) -> bool:
    """Whether a look at a watermark says itself that it accepted something."""
    return bool(SITES[made.site][1].values(words(made.entry), words(made.back)).get("accepted"))
