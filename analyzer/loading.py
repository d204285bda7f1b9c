# SPDX-License-Identifier: Apache-2.0
"""What the kernel's counters did while the recorder loaded: the one number that every page states.

Start: the first reading before anything was loaded (before_load).  End: the last one before the
gate opened (start); the readings go by their time, wherever a file has them.  What the recorder
takes between attaching and the gate is its doing too, so that before + loading = start.  Both
are of the whole machine: what others did meanwhile is in it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from memtrace.traces.reader import Run
    from memtrace.traces.run import Snapshot

_KIB = 1 << 10


def by_loading(run: Run, counter: str, nid: str | None = None) -> int | None:
    """By how much a counter of vmstat, or of a node, rose; None where a snapshot has not got it."""
    around = _around(run)
    if around is None:
        return None
    before, start = (
        (taken.vmstat if nid is None else taken.nodes.get(nid, {})).get(counter) for taken in around
    )
    return None if before is None or start is None else start - before


def fell_by_loading(run: Run, counter: str, of_nodes: str) -> int | None:
    """By how many bytes a counter of pages fell; None where that is not known.

    Where vmstat has not got it, as the sum of the nodes' counter ``of_nodes``, of KiB.
    """
    rose = by_loading(run, counter)
    if rose is not None:
        return -rose * run.header.page_size
    around = _around(run)
    if around is None or not around[0].nodes or around[0].nodes.keys() != around[1].nodes.keys():
        return None
    by_node = [by_loading(run, of_nodes, nid) for nid in around[0].nodes]
    return None if None in by_node else -sum(kb for kb in by_node if kb is not None) * _KIB


def _around(run: Run) -> tuple[Snapshot, Snapshot] | None:
    """The snapshots from which and to which it is counted; None where one was not taken."""
    taken = sorted(run.snapshots, key=lambda s: s.boottime_ns)
    before = [s for s in taken if s.label == "before_load"]
    start = [s for s in taken if s.label == "start"]
    return (before[0], start[-1]) if before and start else None
