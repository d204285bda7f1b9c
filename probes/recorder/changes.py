# SPDX-License-Identifier: Apache-2.0
"""State that moves while recording: snapshots labelled "change", few enough to keep them all.

The counters are read about every second, and when hotplug is seen.  Where one that
matters has moved, what it was until then and what it is now are both kept, so that a line
through them is flat where nothing happened.
"""

from __future__ import annotations

import dataclasses

from memtrace.traces.run import Snapshot

MOST = 600
_VMSTAT = ("nr_unaccepted", "nr_free_pages", "nr_memmap_pages")
_NODE = ("MemTotal", "MemFree", "Unaccepted", "WatermarkMin", "WatermarkLow")


def moved(before: Snapshot, now: Snapshot) -> bool:
    """Whether a counter that a report draws has moved: the pages left to accept, the memory of a node."""
    unaccepted = before.vmstat.get("nr_unaccepted") != now.vmstat.get("nr_unaccepted")
    return unaccepted or _totals(before) != _totals(now)


def _totals(snapshot: Snapshot) -> dict[str, int]:
    return {nid: values["MemTotal"] for nid, values in snapshot.nodes.items() if "MemTotal" in values}


def brief(snapshot: Snapshot) -> Snapshot:
    """``snapshot`` as a change: only the counters that are drawn, for there may be hundreds."""
    vmstat = {name: n for name, n in snapshot.vmstat.items() if name in _VMSTAT}
    nodes = {
        nid: {name: n for name, n in values.items() if name in _NODE}
        for nid, values in snapshot.nodes.items()
    }
    return dataclasses.replace(snapshot, label="change", vmstat=vmstat, nodes=nodes)


def thinned(kept: tuple[Snapshot, ...], most: int) -> tuple[Snapshot, ...]:
    """At most ``most`` of ``kept``, by leaving out every other one; the last stays."""
    while len(kept) > most:
        kept = kept[::-2][::-1]
    return kept


class Changes:
    """The snapshots worth keeping of those noted, oldest first."""

    def __init__(self, first: Snapshot, most: int = MOST) -> None:
        """``first`` is kept elsewhere."""
        self._last = first
        self._last_kept = True
        self._most = most
        self._apart_ns = 0
        self.kept: tuple[Snapshot, ...] = ()

    def note(self, now: Snapshot, happened: bool = False) -> None:
        """Keep ``now``, and what was before, if something moved since, or ``happened``."""
        if happened or (moved(self._last, now) and self._far_enough(now)):
            if not self._last_kept:
                self.kept += (brief(self._last),)
            self.kept += (brief(now),)
            self._thin()
            self._last_kept = True
        elif not moved(self._last, now):
            self._last_kept = False
        else:
            return
        self._last = now

    def _far_enough(self, now: Snapshot) -> bool:
        return not self.kept or now.boottime_ns - self.kept[-1].boottime_ns >= self._apart_ns

    def _thin(self) -> None:
        if len(self.kept) <= self._most:
            return
        self.kept = thinned(self.kept, self._most)
        # What comes now is to be as far apart as what is left.
        span = self.kept[-1].boottime_ns - self.kept[0].boottime_ns
        self._apart_ns = span // len(self.kept)
