# SPDX-License-Identifier: Apache-2.0
"""The sums in a run's status: what was lost, and what each event, process and reason came to.

The rows are held against them, and they tell what was aggregated without a row of its own.
"""

from __future__ import annotations

from dataclasses import dataclass

from memtrace.traces.limits import Count, Nid, Order, Pid, Sum64


@dataclass(frozen=True)
class Losses:
    """Events that did not reach the file, by cause; None where the kernel does not tell."""

    ring_full: Count = 0
    kretprobe_missed: Count | None = 0
    recursion: Count | None = 0
    entry_without_exit: Count | None = 0
    """None: the recording was cut short (it does not tell ``kretprobe_missed`` then either)."""
    no_room: Count | None = None
    """Intervals that found no room to be held open; None: an older recorder forgot some uncounted."""
    not_written: Count = 0
    """Rows that the disk did not take."""


@dataclass(frozen=True)
class EventCounters:
    """The kernel side's own sums for one event, to hold the file against.

    seen = streamed + aggregated + ring_full; sums are over all seen, modulo 2**64.
    """

    event: str
    seen: Count
    streamed: Count
    aggregated: Count
    ring_full: Count
    sum_order: Sum64
    sum_pfn: Sum64
    failed: Count | None = None
    """Attempts that gave nothing and have no row (older recorders: also those with one, flag FAILED)."""
    no_room: Count | None = None
    """Intervals that found no room to be held open, and so are not in ``seen``."""
    no_exit: Count | None = None
    """Intervals whose end was not seen, less those that ``open`` counts."""
    open: Count | None = None
    """Intervals still open when recording ended; both are None before, unless all had ended."""
    missed: Count | None = None
    """Beginnings at which the program did not run, because another one or itself ran on that CPU."""
    seen_before: Count | None = None
    """``seen`` before the rows of a checkpoint were taken; None where nothing came meanwhile (the end)."""


@dataclass(frozen=True)
class TaskTotal:
    """What one process cost, all occurrences of one event, streamed or aggregated."""

    event: str
    pid: Pid | None
    """None: all of that name outside the recorder's PID namespace, or all but the largest of too many."""
    comm: str
    count: Count
    bytes: Count
    total_ns: Count | None
    root: str | None = None
    """The outermost ``root.*`` event around most of its bytes, "" where most have none; None: not known."""
    zeroed_count: Count | None = None
    """Of count, those that the allocator zeroes, as far as gfp and init_on_alloc tell; None: not known."""
    zeroed_bytes: Count | None = None
    tracer: bool = False
    """Whether it is the recorder itself."""


@dataclass(frozen=True)
class RootTotal:
    """What one event cost for one reason: all its occurrences, less those of the recorder."""

    event: str
    root: str | None
    """The outermost ``root.*`` event around it (of a root: itself, where none is around it); None: none."""
    within: str | None
    """The innermost one around it."""
    order: Order | None
    nid: Nid | None
    remote: bool | None
    """Whether the memory was on another node than the CPU; None if the memory's is unknown."""
    zeroed: bool
    """alloc: whether the allocator zeroes it, as far as gfp and init_on_alloc tell."""
    asked: bool | None
    """Whether the allocation asked for zeroed memory (__GFP_ZERO); None where gfp is not seen."""
    movable: bool | None
    """Whether its gfp had __GFP_MOVABLE: user memory and page cache."""
    count: Count
    bytes: Count
    total_ns: Count | None

    @property
    def outermost(self) -> bool:
        """Whether it is a root with none around it, not even of its own kind."""
        return self.event == self.root and self.within is None
