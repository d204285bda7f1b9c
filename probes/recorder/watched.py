# SPDX-License-Identifier: Apache-2.0
"""Which events are watched for those that were asked for."""

from __future__ import annotations

import dataclasses

from memtrace.probes.sites.ladder import Ladder
from memtrace.probes.topics.events import NAMES, NEEDS


def watched_events(ladders: tuple[Ladder, ...], events: tuple[str, ...]) -> tuple[str, ...]:
    """Return ``events`` and what they need (NEEDS), in the order of NAMES.

    The needs of an event without a candidate here are left out.
    """
    seen = {ladder.event for ladder in ladders if ladder.candidates}
    needed = {other for event in events if event in seen for other in NEEDS.get(event, ())}
    return tuple(event for event in NAMES if event in events or event in needed)


def victims_only(events: tuple[str, ...]) -> bool:
    """Return whether alloc, if it is watched, is watched for acceptance alone.

    Allocations without acceptance are then neither sent nor counted.
    """
    return not {"alloc", "alloc.bulk", "zero.alloc"} & set(events)


def for_victims(ladder: Ladder) -> Ladder:
    """Return ``ladder``, which for alloc loses its raw tracepoints.

    Only intervals with acceptance inside are of use here, and a raw tracepoint sees no interval.
    """
    if ladder.event != "alloc":
        return ladder
    kept = tuple(
        dataclasses.replace(c, decode=f"only those in which memory was accepted; {c.decode}")
        for c in ladder.candidates
        if c.kind != "rawtp"
    )
    return dataclasses.replace(ladder, candidates=kept)
