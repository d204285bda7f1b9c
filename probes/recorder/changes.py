# SPDX-License-Identifier: Apache-2.0
"""Snapshots of what changes while recording, labelled "change" and few enough to keep them all.

The counters are read about every second, and when hotplug is seen.  If a counter that
matters has moved, the snapshot before the change and the one after it are both kept, so that
a line through them is flat where nothing happened.
"""

from __future__ import annotations

import dataclasses

from memtrace.traces.run import Snapshot

MOST = 600
_VMSTAT = ("nr_unaccepted", "nr_free_pages", "nr_memmap_pages")
_NODE = ("MemTotal", "MemFree", "Unaccepted", "WatermarkMin", "WatermarkLow")


def moved(before: Snapshot, now: Snapshot) -> bool:
    """Return whether a counter that a report draws has moved: the unaccepted pages or a node's MemTotal."""
    unaccepted = before.vmstat.get("nr_unaccepted") != now.vmstat.get("nr_unaccepted")
    return unaccepted or _totals(before) != _totals(now)


def _totals(snapshot: Snapshot) -> dict[str, int]:
    return {nid: values["MemTotal"] for nid, values in snapshot.nodes.items() if "MemTotal" in values}


def brief(snapshot: Snapshot) -> Snapshot:
    """Return ``snapshot`` labelled "change", with only the counters that are drawn.

    The rest is left out because there may be hundreds of such snapshots.
    """
    vmstat = {name: n for name, n in snapshot.vmstat.items() if name in _VMSTAT}
    nodes = {
        nid: {name: n for name, n in values.items() if name in _NODE}
        for nid, values in snapshot.nodes.items()
    }
    return dataclasses.replace(snapshot, label="change", vmstat=vmstat, nodes=nodes)


def thinned(kept: tuple[Snapshot, ...], most: int) -> tuple[Snapshot, ...]:
    """Return at most ``most`` of ``kept``, leaving out every other one as often as needed; the last stays."""
    while len(kept) > most:
        kept = kept[::-2][::-1]
    return kept


class Changes:
    """Collects in ``kept`` the noted snapshots that are worth keeping, oldest first."""

    def __init__(self, first: Snapshot, most: int = MOST) -> None:
        """Compare with ``first``, which the caller keeps itself; ``kept`` holds at most ``most``."""
        self._last = first
        self._last_kept = True
        self._most = most
        self._apart_ns = 0
        self.kept: tuple[Snapshot, ...] = ()

    def note(self, now: Snapshot, happened: bool = False) -> None:
        """Keep ``now`` and the snapshot before it if a counter has moved since, or if ``happened``."""
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
        # Later snapshots are kept only as far apart as the remaining ones are.
        span = self.kept[-1].boottime_ns - self.kept[0].boottime_ns
        self._apart_ns = span // len(self.kept)
