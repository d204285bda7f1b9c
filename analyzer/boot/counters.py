# SPDX-License-Identifier: Apache-2.0
"""What the kernel's counter said was unaccepted, at each moment at which it was read.

``Unaccepted`` of nodeN/meminfo, kB: blocks of MAX_PAGE_ORDER on the zones' lists
(NR_UNACCEPTED, mm/page_alloc.c).  A block leaves it as its accept begins.  Memory
that memblock or deferred init accepted never was in it, and a block whose first
unit was accepted as another range's guard still counts whole.  So it is exact to
the block, 4 MiB, on each node, and tells of queued memory only.

The moment "entry" is the kernel's own, at its first instruction: what the
firmware's memory map left unaccepted.  It counts ranges, not blocks.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from memtrace.traces.reader import Run
    from memtrace.traces.run import Snapshot

ENTRY = "entry"
_NAME = "Unaccepted"


@dataclass(frozen=True)
class Moment:
    """Unaccepted bytes per node at one moment."""

    label: str
    at_ns: int
    unaccepted: dict[int, int]
    """Bytes; a node is missing where the kernel printed no such line."""
    total_kb: dict[int, int]
    """MemTotal of each node, kB, to tell hot-add from other reasons."""


def moments(run: Run) -> tuple[Moment, ...]:
    """All snapshots that have the counter, in order of time."""
    taken = [_moment(s) for s in run.snapshots]
    return tuple(sorted((m for m in taken if m.unaccepted), key=lambda m: (m.label != ENTRY, m.at_ns)))


def named(found: Sequence[Moment], label: str) -> Moment | None:
    """The moment of that label."""
    return next((m for m in found if m.label == label), None)


def _moment(snapshot: Snapshot) -> Moment:
    return Moment(
        snapshot.label,
        snapshot.boottime_ns,
        {int(nid): values[_NAME] * 1024 for nid, values in snapshot.nodes.items() if _NAME in values},
        {int(nid): values["MemTotal"] for nid, values in snapshot.nodes.items() if "MemTotal" in values},
    )
