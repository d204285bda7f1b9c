# SPDX-License-Identifier: Apache-2.0
"""Which stamps serve which event, and which entries return."""

from __future__ import annotations

from collections.abc import Iterable

from memtrace.traces.importers.parsed import ENTRY, LOSS, POINT, RETURN, Stamp
from memtrace.traces.importers.topics import SITES

Key = tuple[int, int | None]


def sites_in(files: Iterable[list[Stamp]]) -> dict[str, str]:
    """For each event the best site that any file has."""
    present = {stamp.what for stamps in files for stamp in stamps} & SITES.keys()
    best: dict[str, str] = {}
    for site in present:
        topic, _, rank = SITES[site]
        if topic.event not in best or rank < SITES[best[topic.event]][2]:
            best[topic.event] = site
    return best


def task_of(stamp: Stamp) -> Key:
    """The task; the CPU's own where it is the idle one or not known."""
    if stamp.tid:
        return (-1, stamp.tid)
    return (-2 if stamp.cpu is None else stamp.cpu, stamp.tid)


def match(stamps: list[Stamp]) -> tuple[set[int], set[str]]:
    """Positions of the entries that return, and the functions that do."""
    matched: set[int] = set()
    with_returns = {s.what for s in stamps if s.kind == RETURN and s.what in SITES}
    open_: dict[Key, list[int]] = {}
    for index, stamp in enumerate(stamps):
        if stamp.kind == LOSS:
            for stack in open_.values():
                stack[:] = [i for i in stack if stamps[i].cpu != stamp.cpu]
            continue
        if stamp.what not in with_returns or stamp.kind == POINT:
            continue
        stack = open_.setdefault(task_of(stamp), [])
        if stamp.kind == ENTRY:
            stack.append(index)
            continue
        for depth in range(len(stack) - 1, -1, -1):
            if stamps[stack[depth]].what == stamp.what:
                matched.add(stack[depth])
                del stack[depth:]
                break
    return matched, with_returns
