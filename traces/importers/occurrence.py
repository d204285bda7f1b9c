# SPDX-License-Identifier: Apache-2.0
"""An occurrence as a file tells it, before it has a place on CLOCK_BOOTTIME."""

from __future__ import annotations

from dataclasses import dataclass, field

from memtrace.traces.importers.parsed import RETURN, Stamp
from memtrace.traces.importers.topics import Topic


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
    flags: int = 0
    asked: str = ""
    """Of an acceptance: the entry of the alloc around it."""
    inside: list[Occurrence] | None = None
    """What ``topic.collects`` names of it."""


@dataclass
class Paired:
    """What became of a file's stamps."""

    occurrences: list[Occurrence] = field(default_factory=list)
    unreturned: int = 0
    """Entries whose return was not seen, of functions that return elsewhere in the file."""
    dropped: int = 0
    """Stamps that make no occurrence: a better site serves the event, nothing was done, or it failed
    and is tried again."""
    marks: list[Stamp] = field(default_factory=list)


def occurrence(topic: Topic, stamp: Stamp, entry: str, dur: int | None, own: int | None) -> Occurrence:
    """What ends at (or, where only that was seen, begins with) a stamp."""
    return Occurrence(
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
        stack=stamp.stack,
    )
