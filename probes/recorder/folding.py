# SPDX-License-Identifier: Apache-2.0
"""Makes rows of differences of the kernel's sums: aggregates, inferred zeroing and sampled time.

The window of a row lasts from the last flush to this one, and ``ts_ns`` is its end.
Counts and bytes are exact.  Time from samples is ``samples * period`` (flag ESTIMATED)
and belongs to all events of its (event, order, nid), streamed ones included.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from memtrace.probes.topics.events import NAMES
from memtrace.traces.histogram import lower_edge
from memtrace.traces.schema import Flag

Row = dict[str, object]
_AGGREGATED = int(Flag.AGGREGATED)
_EVENTS = ("alloc", "zero.alloc", "zero.page", "zero.free")


@dataclass
class Folder:
    """Keeps the sums of the last flush and makes rows of what has been added since."""

    page_size: int
    sites: dict[str, str]
    """Site name of each event that has a site."""
    infer_zeroing: bool
    """Whether zero.alloc is inferred from the gfp flags of alloc."""
    period_ns: float | None
    """Time that one sample stands for, ns; None without sampling."""
    nids: int
    time_alloc: bool = True
    """Whether the time of alloc comes from samples; False where its intervals are seen."""
    time_user: bool = True
    """The same of zero.user; False also where it is not watched."""
    _cells: npt.NDArray[np.uint64] | None = None
    _samples: npt.NDArray[np.uint64] | None = None
    _user_samples: int = 0
    _flat: npt.NDArray[Any] | None = None
    _streamed: Counter[tuple[int, int, int]] = field(default_factory=Counter)

    def note_streamed(self, records: npt.NDArray[Any]) -> None:
        """Count the streamed allocations that were zeroed, if zeroing is inferred."""
        if not self.infer_zeroing:
            return
        # Columns are used, not records[mask], because copying whole records costs ten times as much.
        flags = records["flags"]
        zeroed = (records["event"] == 0) & ((flags & int(Flag.ZEROED)) != 0)
        tracer = (flags & int(Flag.TRACER)) != 0
        key = (records["nid"].astype(np.int64) + 1) * 128 + records["order"] * 2 + tracer
        for value, count in enumerate(np.bincount(key[zeroed])):
            if count:
                nid, rest = divmod(value, 128)
                self._streamed[(rest // 2, nid - 1, rest % 2)] += int(count)

    def fold(
        self,
        now: int,
        cells: npt.NDArray[np.uint64],
        samples: npt.NDArray[np.uint64] | None,
        user_samples: int,
        flat: npt.NDArray[Any] | None = None,
    ) -> list[Row]:
        """Return the rows of the window that ends at ``now`` (CLOCK_BOOTTIME, ns).

        ``cells``, ``samples`` and ``flat`` have the shapes of maps.Cells.sum(),
        maps.sample_cells() and maps.flat(); ``samples`` is None without sampling.
        ``user_samples`` is the number of zero.user samples so far.
        """
        since = cells if self._cells is None else cells - self._cells
        self._cells = cells
        rows = self._cell_rows(now, since)
        sampled = self._sampled_since(samples)
        rows += self._inferred_rows(now, since, sampled)
        rows += self._alloc_time_rows(now, sampled)
        rows += self._user_rows(now, user_samples)
        if flat is not None:
            rows += self._flat_rows(now, flat)
        return rows

    def _flat_rows(self, now: int, flat: npt.NDArray[Any]) -> list[Row]:
        """Return rows of root events below the tail threshold, with count and time but no ``dur_ns``."""
        rows = []
        for event, name in enumerate(NAMES):
            before = None if self._flat is None else self._flat[event]
            count, total, own = (
                int(flat[event][field]) - (0 if before is None else int(before[field]))
                for field in ("count", "total_ns", "self_ns")
            )
            if count:
                rows.append(self._row(now, name, _AGGREGATED, count=count, total_ns=total, self_ns=own))
        self._flat = flat
        return rows

    def _row(self, now: int, event: str, flags: int, **columns: object) -> Row:
        return {"ts_ns": now, "event": event, "site": self.sites.get(event), "flags": flags, **columns}

    def _cell_rows(self, now: int, since: npt.NDArray[np.uint64]) -> list[Row]:
        rows = []
        unknown = since.shape[3] - 1
        edges = lower_edge(np.arange(unknown))
        for event, nid, kind, bucket in np.argwhere(since[..., 0] > 0):
            count, total, own, pages = (int(v) for v in since[event, nid, kind, bucket])
            timed = bucket != unknown
            flags = (
                _AGGREGATED | (int(Flag.ZEROED) if kind & 1 else 0) | (int(Flag.TRACER) if kind & 2 else 0)
            )
            rows.append(
                self._row(
                    now,
                    _EVENTS[event],
                    flags,
                    dur_ns=int(edges[bucket]) if timed else None,
                    count=count,
                    total_ns=total if timed else None,
                    self_ns=own if timed else None,
                    order=0,
                    bytes=pages * self.page_size,
                    nid=int(nid),
                    parent="alloc" if event == 1 else None,
                )
            )
        return rows

    def _sampled_since(self, samples: npt.NDArray[np.uint64] | None) -> npt.NDArray[np.uint64] | None:
        if samples is None:
            return None
        since = samples if self._samples is None else samples - self._samples
        self._samples = samples
        return since

    def _inferred_rows(
        self, now: int, since: npt.NDArray[np.uint64], sampled: npt.NDArray[np.uint64] | None
    ) -> list[Row]:
        if not self.infer_zeroing:
            return []
        counts = Counter(self._streamed)
        self._streamed.clear()
        for nid in range(self.nids):
            for tracer in (0, 1):
                counts[(0, nid, tracer)] += int(since[0, nid, 1 + 2 * tracer, :, 0].sum())
        if sampled is not None:
            for nid, order, _ in np.argwhere(sampled[..., 1] > 0):
                counts[(int(order), int(nid), 0)] += 0
        rows = []
        for (order, nid, tracer), count in sorted(counts.items()):
            time = None
            if sampled is not None and not tracer and 0 <= nid < self.nids and order < sampled.shape[1]:
                time = self._time(int(sampled[nid, order, 1, 1]))
            if not count and not time:
                continue
            flags = _AGGREGATED | int(Flag.ZEROED | Flag.INFERRED) | (int(Flag.TRACER) if tracer else 0)
            rows.append(
                self._row(
                    now,
                    "zero.alloc",
                    flags | (int(Flag.ESTIMATED) if time is not None else 0),
                    count=count,
                    total_ns=time,
                    self_ns=time,
                    order=order,
                    bytes=(count * self.page_size) << order,
                    nid=nid if nid >= 0 else None,
                    parent="alloc",
                )
            )
        return rows

    def _alloc_time_rows(self, now: int, sampled: npt.NDArray[np.uint64] | None) -> list[Row]:
        if sampled is None or not self.time_alloc:
            return []
        rows = []
        for nid, order, zeroed in np.argwhere(sampled[..., 0] > 0):
            alloc, zero = (int(v) for v in sampled[nid, order, zeroed])
            rows.append(
                self._row(
                    now,
                    "alloc",
                    _AGGREGATED | int(Flag.ESTIMATED) | (int(Flag.ZEROED) if zeroed else 0),
                    total_ns=self._time(alloc),
                    self_ns=self._time(alloc - zero),
                    order=int(order),
                    nid=int(nid),
                )
            )
        return rows

    def _user_rows(self, now: int, user_samples: int) -> list[Row]:
        since = user_samples - self._user_samples
        self._user_samples = user_samples
        if not since or not self.time_user:
            return []
        time = self._time(since)
        flags = _AGGREGATED | int(Flag.ESTIMATED | Flag.ZEROED)
        nid = 0 if self.nids == 1 else None
        return [self._row(now, "zero.user", flags, total_ns=time, self_ns=time, nid=nid)]

    def _time(self, samples: int) -> int | None:
        return None if self.period_ns is None else round(samples * self.period_ns)
