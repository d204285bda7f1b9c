# SPDX-License-Identifier: Apache-2.0
"""What the counter says was accepted around a stretch of time, held against the accepts seen.

The stretch is widened to the nearest two readings of Unaccepted around it (any snapshot:
at the start, at the end, as it changed).  A fall that lies outside of them says nothing of it.

fell
    What Unaccepted fell by from one reading to the other, summed over the nodes on which it
    fell (of the machine, where a reading has no counters by node or an accept has no node).
    Where it grew memory was added, and what was accepted there is not known.
seen
    Memory of the accepts there that began between them, as in progress.py.
missed
    What it fell by more than was seen, summed over the nodes.
room
    Memory of accepts within EDGE_NS of either reading, and no more than a block for each
    CPU: those may lie on either side of it, for a block leaves the counter as its
    accept begins, and counters are read one after the other.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from memtrace.analyzer.accept.readings import Unaccepted
from memtrace.analyzer.accept.rows import BLOCK_BYTES, UNKNOWN, Accepts, Spans
from memtrace.analyzer.render.units import written

if TYPE_CHECKING:
    from memtrace.traces.reader import Run

EDGE_NS = 10_000_000
_READ = ("before_load", "after_load", "start", "change", "end")
"""Snapshots that a recorder takes one after the other."""


@dataclass(frozen=True)
class Fall:
    """Unaccepted from one reading to another, in bytes."""

    begin_ns: int
    end_ns: int
    fell: int
    grew: int
    """By what it grew on other nodes."""
    seen: int | None
    """None, as ``missed``: the memory of some accept is unknown."""
    missed: int | None
    room: int


def fall(run: Run, accepts: Accepts, window: tuple[int, int]) -> Fall | None:
    """The fall around a window; ``accepts``: all of the run.  None without a reading on either side."""
    known = [u for u in accepts.readings if u.label in _READ and u.total is not None]
    before = [u for u in known if u.read_ns <= window[0]]
    after = [u for u in known if u.at_ns >= window[1]]
    if not before or not after:
        return None
    spans = accepts.queued
    begun = spans.where((spans.begin > before[-1].at_ns) & (spans.begin <= after[0].read_ns))
    return _compared(begun, before[-1], after[0], _room(run, spans, before[-1], after[0]))


def _compared(begun: Spans, before: Unaccepted, after: Unaccepted, room: int) -> Fall:
    by_node = bool(before.nodes) and before.nodes.keys() == after.nodes.keys()
    if by_node and not (begun.nid == UNKNOWN).any():
        falls = [
            (size - after.nodes[nid], begun.where(begun.nid == nid)) for nid, size in before.nodes.items()
        ]
    else:
        falls = [((before.total or 0) - (after.total or 0), begun)]
    fallen = [(size, part) for size, part in falls if size > 0]
    sized = all(bool((part.size != UNKNOWN).all()) for _, part in fallen)
    return Fall(
        begin_ns=before.at_ns,
        end_ns=after.at_ns,
        fell=sum(size for size, _ in fallen),
        grew=-sum(size for size, _ in falls if size < 0),
        seen=sum(int(part.size.sum()) for _, part in fallen) if sized else None,
        missed=sum(max(size - int(part.size.sum()), 0) for size, part in fallen) if sized else None,
        room=room,
    )


def _room(run: Run, spans: Spans, before: Unaccepted, after: Unaccepted) -> int:
    near = (spans.begin <= before.read_ns + EDGE_NS) & (spans.end >= before.at_ns - EDGE_NS)
    near |= (spans.begin <= after.read_ns + EDGE_NS) & (spans.end >= after.at_ns - EDGE_NS)
    return min(int(near.sum()), max(run.header.cpus, 1)) * BLOCK_BYTES


def doubt(run: Run, accepts: Accepts, window: tuple[int, int]) -> str | None:
    """Why the counter speaks for accepts in the window that no probe saw; None where it does not.

    Of a run that shows no accept at all the counter has to say that there was none.
    """
    if accepts.summed:
        return f"{accepts.summed} accepts were summed in the kernel, at times that are unknown"
    found = fall(run, accepts, window)
    silent = not accepts.any
    if found is None:
        return "no counter confirms that nothing was accepted" if silent else None
    fell = (
        f"Unaccepted fell by {written(found.fell, 'bytes')} from {found.begin_ns / 1e9:.3f} to"
        f" {found.end_ns / 1e9:.3f} s after boot"
    )
    if found.missed is None:
        return f"{fell}, and the memory of the accepts seen then is unknown"
    if found.missed > found.room:
        seen = f"accepts of {written(found.seen, 'bytes')} were" if found.seen else "no accept was"
        return f"{fell}, and {seen} seen then"
    if silent and found.grew:
        grown = written(found.grew, "bytes")
        return f"no counter confirms that nothing was accepted (Unaccepted grew by {grown}: memory was added)"
    return None
