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

    A return probe that was missed leaves its entry behind, and is counted by that.
    """
    by_return = {site.event for site in manifest if site.kind == "kprobe"}
    left = {c.event: c.no_exit or 0 for c in counters}
    returns_missed = sum(count for event, count in left.items() if event in by_return)
    return Losses(
        ring_full=sum(c.ring_full for c in counters),
        kretprobe_missed=returns_missed,
        recursion=missed.total,
        no_room=sum(c.no_room or 0 for c in counters),
        entry_without_exit=sum(left.values()) - returns_missed + sum(c.open or 0 for c in counters),
    )
