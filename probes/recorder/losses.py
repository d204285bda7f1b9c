# SPDX-License-Identifier: Apache-2.0
"""The ways in which the kernel side can lose an event, each counted where it happens."""

from __future__ import annotations

from collections.abc import Sequence

from memtrace.probes.recorder.missed import Missed
from memtrace.traces.run import ProbeSite
from memtrace.traces.totals import EventCounters, Losses


def losses(
    counters: Sequence[EventCounters],
    manifest: tuple[ProbeSite, ...],
    missed: Missed,
) -> Losses:
    """Return what has been lost so far.

    A return probe that was missed leaves its entry behind, and is counted by that.  Before the
    recording's end it is not known which of what has no end yet will have none.
    """
    by_return = {site.event for site in manifest if site.kind == "kprobe"}
    ends = [c for c in counters if c.no_exit is not None and c.open is not None]
    known = len(ends) == len(counters)
    returns_missed = sum(c.no_exit or 0 for c in ends if c.event in by_return)
    unfinished = sum((c.no_exit or 0) + (c.open or 0) for c in ends)
    return Losses(
        ring_full=sum(c.ring_full for c in counters),
        kretprobe_missed=returns_missed if known else None,
        recursion=missed.total,
        no_room=sum(c.no_room or 0 for c in counters),
        entry_without_exit=unfinished - returns_missed if known else None,
    )
