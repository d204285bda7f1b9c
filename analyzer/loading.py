# SPDX-License-Identifier: Apache-2.0
"""What the kernel's counters did while the recorder loaded: the one number that every page states.

From the first snapshot (before_load), when nothing had been loaded, to the last one before the
gate opened (start).  Both are of the whole machine, so that what others did meanwhile is in it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from memtrace.traces.reader import Run


def by_loading(run: Run, counter: str, nid: str | None = None) -> int | None:
    """By how much a counter of vmstat, or of a node, rose; None where a snapshot has not got it."""
    moments = {s.label: s for s in run.snapshots}
    read = []
    for label in ("before_load", "start"):
        if label not in moments:
            return None
        taken = moments[label]
        read.append((taken.vmstat if nid is None else taken.nodes.get(nid, {})).get(counter))
    before, start = read
    return None if before is None or start is None else start - before


def fell_by_loading(run: Run, counter: str) -> int | None:
    """By how many bytes a counter of pages fell; None where that is not known."""
    rose = by_loading(run, counter)
    return None if rose is None else -rose * run.header.page_size
