# SPDX-License-Identifier: Apache-2.0
"""The kernel side's totals by process, event and detail (probes/bpf/tasks.h), as parts of a status."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from memtrace.probes.recorder.keyed import U64, Keyed, Rows, joined, none, reduced
from memtrace.probes.recorder.processes import (
    EVENT_BITS,
    PROCESS_BITS,
    SUMS,
    ZEROED,
    Costs,
    Processes,
    costs,
    named,
)
from memtrace.probes.topics.events import NAMES
from memtrace.traces.totals import RootTotal, TaskTotal

_ASKED, _MOVABLE, _REMOTE = 2, 4, 8
"""MT_DETAIL_* of probes/bpf/tasks.h."""
_GFP_EVENTS = ("alloc", "alloc.bulk", "alloc.contig", "zero.alloc")
_DETAIL_BITS = 48
MOST_TASKS = 1 << 16
"""TaskTotals of a run: some 12 MiB as JSON, of the 32 MiB that are read (traces/gate.py)."""
NUMBERED_TASKS = MOST_TASKS * 7 // 8
"""Those that keep the number of their process if there are more than that: the largest."""
MOST_ROOTS = 1 << 15
"""RootTotals that tell the node, if there are more than that: the largest."""
_NODE, _UNKNOWN_NODE = np.uint64(0xFFFF << 8 | _REMOTE << 24), np.uint64(0xFFFF << 8)


@dataclass(frozen=True)
class Batch:
    """What was read from the kernel side's tables, as rows by process and by detail."""

    processes: Rows
    details: Rows
    """The recorder's own left out."""


class Totals:
    """Collects the sums of each process and event, and of each event and detail.

    The details of a process are not kept, except what a TaskTotal tells of them.
    """

    def __init__(
        self, recorder: int, timed: Collection[str], page_size: int, tells_zeroing: bool = True
    ) -> None:
        """Hold nothing.

        ``recorder`` is the kernel's own number of the recorder.  ``timed`` names the events
        whose time is seen; for the others ``total_ns`` is None.  Without ``tells_zeroing`` it is
        not known what the allocator zeroes.
        """
        self._known = Processes(recorder, tells_zeroing)
        self._timed = np.array([name in timed for name in NAMES])
        self._page_size = page_size
        self._processes, self._details = Keyed(SUMS), Keyed(SUMS)
        self._top: U64 = np.zeros(0, np.uint64)
        self._changed: list[U64] = []
        """Processes and events of what was added since ``_top`` was found."""

    def batch(self, items: Iterable[tuple[npt.NDArray[Any], npt.NDArray[Any]]]) -> Batch:
        """Return keys and values, pairs of arrays (layouts.TASK_KEY and TASK), as a batch to add()."""
        processes, details = [none(SUMS)], [none(SUMS)]
        for keys, values in items:
            counted = values["sum"]["count"] > 0
            keys, values = keys[counted], values[counted]
            sums = np.stack([values["sum"][name] for name in ("count", "pages", "total_ns")])
            processes.append(reduced(self._known.pack(keys, values), sums))
            others = keys["tgid"] != self._known.recorder
            packed = keys["event"].astype(np.uint64) << np.uint64(_DETAIL_BITS) | keys["detail"]
            details.append(reduced(packed[others], sums[:, others]))
        return Batch(joined(processes), joined(details))

    def add(self, batch: Batch) -> None:
        """Add a batch to what is held."""
        if not len(batch.processes):
            return
        self._processes.add(batch.processes)
        self._details.add(batch.details)
        self._changed.append(_processes_of(batch.processes))

    def largest(self, number: int, more: Batch) -> tuple[TaskTotal, ...]:
        """Return the largest of what tasks() returns; ``more`` is as if added, for now.

        ``number`` is the same at each call.  Only totals that have changed since the last one
        can have come among the largest, because that of a process only grows.  Of those that
        are added up all are looked at, as names may change; twice as many of the others are
        remembered as are asked for, because some of these may be added up from now on.
        """
        together = self._known.together()
        changed = np.unique(np.concatenate([self._top, *self._changed, _processes_of(more.processes)]))
        single = changed[~np.isin(changed >> np.uint64(EVENT_BITS), together)]
        held = (
            self._processes.of(single, PROCESS_BITS),
            self._processes.of(together, PROCESS_BITS + EVENT_BITS),
        )
        found = costs(joined((*held, more.processes)), self._known)
        order = found.order(self._timed)
        added_up = np.zeros(len(order), np.bool_)
        added_up[found.places[np.isin(found.processes >> np.uint64(EVENT_BITS), together)]] = True
        remembered = order[~added_up[order]][: 2 * number]
        self._top = found.processes[np.isin(found.places, remembered)]
        self._changed.clear()
        return found.totals(order[:number], self._timed, self._page_size, self._known)

    def _costs(self, more: Batch, numberless: U64 | None = None) -> Costs:
        return costs(joined((self._processes.whole(), more.processes)), self._known, numberless)

    def tasks(
        self, more: Batch, most: int = MOST_TASKS, numbered: int = NUMBERED_TASKS
    ) -> tuple[tuple[TaskTotal, ...], int]:
        """Return one total per process and event, largest first: by time, then by bytes.

        Processes outside the recorder's PID namespace have one per name and event, without a
        number; where there would be more than ``most`` totals, so have all but the ``numbered``
        largest.  Also returns the number of events for which there is no room even so.
        ``more`` is as if added.
        """
        found = self._costs(more, self._small(more, most, numbered))
        order = found.order(self._timed)
        told = found.totals(order[:most], self._timed, self._page_size, self._known)
        return told, int(found.sums[0][order[most:]].sum())

    def _small(self, more: Batch, most: int, numbered: int) -> U64 | None:
        """Return the processes and events that are told by name only; None if there is room for all."""
        found = self._costs(more)
        order = found.order(self._timed)
        if len(order) <= most:
            return None
        small = np.ones(len(order), np.bool_)
        small[order[:numbered]] = False
        return found.processes[small[found.places]]

    def roots(self, more: Batch, most: int = MOST_ROOTS) -> tuple[RootTotal, ...]:
        """Return one total per event and detail, of all processes but the recorder.

        Where there would be more than ``most`` the smaller ones do not tell the node.
        """
        rows = joined((self._details.whole(), more.details))
        if len(rows) > most:
            keys, small = rows.keys.copy(), np.lexsort(rows.sums[1:])[:-most]
            keys[small] = keys[small] & ~_NODE | _UNKNOWN_NODE
            rows = reduced(keys, rows.sums)
        return tuple(
            self._root_total(key >> _DETAIL_BITS, key & (1 << _DETAIL_BITS) - 1, *sums)
            for key, sums in zip(rows.keys.tolist(), rows.sums.T.tolist(), strict=True)
        )

    def _root_total(self, event: int, detail: int, count: int, pages: int, ns: int) -> RootTotal:
        name = NAMES[event]
        order, nid, bits = detail & 0xFF, detail >> 8 & 0xFFFF, detail >> 24 & 0xFF
        gfp = name in _GFP_EVENTS
        return RootTotal(
            event=name,
            root=named(detail >> 32 & 0xFF),
            within=named(detail >> 40 & 0xFF),
            order=order if order < 0x80 else None,
            nid=nid if nid < 0x8000 else None,
            remote=bool(bits & _REMOTE) if nid < 0x8000 else None,
            zeroed=bool(bits & ZEROED),
            asked=bool(bits & _ASKED) if gfp else None,
            movable=bool(bits & _MOVABLE) if gfp else None,
            count=count,
            bytes=pages * self._page_size,
            total_ns=ns if self._timed[event] else None,
        )


def _processes_of(rows: Rows) -> U64:
    return np.unique(rows.keys >> np.uint64(PROCESS_BITS))
