# SPDX-License-Identifier: Apache-2.0
"""How many events there were, and how many of them did not reach the file.

An event is one time that a site had something to tell; the recorder's own count.  What was
inferred from another event (flag INFERRED) is none: it cannot be lost by itself.  So the
events of a recording are those in its file and those that are known to be lost, and
``record``, the heading of a report and its losses all give that number.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from memtrace.traces.run import RunStatus

CAUSES = {
    "ring_full": "ring full",
    "kretprobe_missed": "kretprobe missed",
    "recursion": "program skipped by recursion",
    "entry_without_exit": "entry without exit",
    "no_room": "no room to hold it open",
    "not_written": "row not written",
}
"""Each cause of a loss, in words."""


def known_losses(status: RunStatus) -> int:
    """All losses whose number is known."""
    return sum(getattr(status.losses, name) or 0 for name in CAUSES)


def unseen_losses(status: RunStatus) -> int:
    """Those of them that no program saw either."""
    return known_losses(status) - status.losses.ring_full - status.losses.not_written


def events(status: RunStatus, in_file: int, imported: int = 0) -> int:
    """Events that are known of: in the file, or lost.

    ``in_file``: those in the file, without what was inferred; ``imported``: those of them that
    other tracers saw.  A recording that came to its end has the programs' own number, which its
    file can be held against; else the file's number is what is known.
    """
    told = status.counters and all(counter.seen_before is None for counter in status.counters)
    if not told:
        return in_file + known_losses(status)
    return sum(counter.seen for counter in status.counters) + imported + unseen_losses(status)


def recorded(status: RunStatus) -> int:
    """Events of a recording that has just ended."""
    return events(status, sum(counter.seen for counter in status.counters) - status.losses.ring_full)
