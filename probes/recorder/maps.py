# SPDX-License-Identifier: Apache-2.0
"""Reads the kernel side's sums: counters, cells and samples."""

from __future__ import annotations

import mmap
from typing import Any

import numpy as np
import numpy.typing as npt

from memtrace.probes.programs.module import Module
from memtrace.probes.programs.tables import clear_hash, clear_percpu, hash_batches, percpu
from memtrace.probes.recorder.layouts import CAPTURE_AT, COUNTER, DEPTH, FLAT, FRAME_EVENT_AT, FRAMES_AT
from memtrace.probes.recorder.missed import Missed
from memtrace.probes.topics.events import NAMES
from memtrace.traces.totals import EventCounters

SAMPLE_TOTAL = np.dtype(
    [
        (name, "<u8")
        for name in (
            "all",
            "kernel",
            "alloc",
            "zero",
            "user",
            "unsettled_alloc",
            "unsettled_zero",
            "no_stack",
            "recorder",
        )
    ]
)
SAMPLE_CELL = np.dtype([("alloc", "<u8"), ("zero", "<u8")])
SAMPLE_ORDERS = 20


def counters(module: Module, cpus: int) -> npt.NDArray[Any]:
    """Return the counters summed over CPUs, modulo 2**64: shape (events,), type COUNTER."""
    return _by_event(module, "mt_counters", COUNTER.dtype, cpus)


def _by_event(module: Module, name: str, dtype: np.dtype[Any], cpus: int) -> npt.NDArray[Any]:
    """Return the sums over CPUs of a per-CPU array with one element per event: shape (events,).

    All fields of ``dtype`` must be u64.
    """
    total = np.zeros(len(NAMES), dtype=dtype)
    numbers = total.view("<u8").reshape(len(NAMES), -1)
    for event, sums in enumerate(numbers):
        values = percpu(module, name, event, dtype, cpus)
        values.view("<u8").reshape(cpus, -1).sum(axis=0, dtype=np.uint64, out=sums)
    return total


def event_counters(
    values: npt.NDArray[Any],
    missed: Missed,
    still_open: npt.NDArray[np.int64] | None = None,
    before: npt.NDArray[Any] | None = None,
) -> tuple[EventCounters, ...]:
    """Return counters() in its public form, one element per event.

    ``still_open`` is open_frames() at the end.  Without it, what becomes of intervals that have begun
    and not ended is not known.
    ``before`` is counters() from before the rows were taken; without it ``seen_before`` is None.
    """
    unfinished = values["begun"].astype(np.int64) - values["ended"].astype(np.int64)
    known = [None] * len(NAMES) if still_open is None else still_open.tolist()
    ends = [_without_end(*pair) for pair in zip(unfinished.tolist(), known, strict=True)]
    return tuple(
        EventCounters(
            event=name,
            seen=int(v["seen"]),
            streamed=int(v["streamed"]),
            aggregated=int(v["aggregated"]),
            ring_full=int(v["ring_full"]),
            sum_order=int(v["sum_order"]),
            sum_pfn=int(v["sum_pfn"]),
            failed=int(v["failed"]),
            no_room=int(v["no_room"]),
            no_exit=ends[i][0],
            open=ends[i][1],
            missed=missed.of(name),
            seen_before=None if before is None else int(before["seen"][i]),
        )
        for i, (name, v) in enumerate(zip(NAMES, values, strict=True))
    )


def _without_end(unfinished: int, still_open: int | None) -> tuple[int | None, int | None]:
    """Return how many intervals of an event have no exit, and how many are open."""
    if still_open is None:
        return (0, 0) if unfinished <= 0 else (None, None)
    return max(unfinished - still_open, 0), still_open


class Cells:
    """The aggregate cells (probes/bpf/aggregate.h), mapped into this process.

    ``sum()`` has shape (events, nids, 4, buckets, 4).  The third axis is indexed by
    zeroed + 2 * tracer, and the last one holds count, total_ns, self_ns and pages.
    """

    def __init__(self, module: Module, cpus: int, events: int, nids: int, buckets: int) -> None:
        self._shape = (cpus, events, nids, 4, buckets, 4)
        size = int(np.prod(self._shape)) * 8
        rounded = (size + mmap.PAGESIZE - 1) & ~(mmap.PAGESIZE - 1)
        self._map = mmap.mmap(module.map_fd("mt_cells"), rounded, mmap.MAP_SHARED)
        self._view = np.frombuffer(self._map, dtype="<u8", count=size // 8).reshape(self._shape)

    def sum(self) -> npt.NDArray[np.uint64]:
        """Return the sums over CPUs as they stand now."""
        total: npt.NDArray[np.uint64] = self._view.sum(axis=0, dtype=np.uint64)
        return total

    def clear(self) -> None:
        """Set all cells to zero; no program may be recording meanwhile."""
        self._view[:] = 0


def clear(module: Module, cells: Cells, cpus: int, nids: int, sampling: bool) -> None:
    """Set all sums to zero but those by task (tasktable.py), as in a module that has seen nothing."""
    cells.clear()
    # An interval that ends after this has not begun.
    clear_hash(module, "mt_open")
    clear_percpu(module, "mt_counters", len(NAMES), COUNTER.dtype, cpus)
    clear_percpu(module, "mt_flat", len(NAMES), FLAT.dtype, cpus)
    if sampling:
        clear_percpu(module, "mt_sample_total", 1, SAMPLE_TOTAL, cpus)
        clear_percpu(module, "mt_sample_cells", nids * SAMPLE_ORDERS * 2, SAMPLE_CELL, cpus)
        pending = np.dtype([("tid", "<u8"), ("alloc", "<u8"), ("zero", "<u8")])
        clear_percpu(module, "mt_sample_pending", 1, pending, cpus)


def flat(module: Module, cpus: int) -> npt.NDArray[Any]:
    """Return the sums that have no buckets, over CPUs: shape (events,), type FLAT."""
    return _by_event(module, "mt_flat", FLAT.dtype, cpus)


def sample_totals(module: Module, cpus: int) -> dict[str, int]:
    """Return the number of samples taken in each class, summed over CPUs."""
    values = percpu(module, "mt_sample_total", 0, SAMPLE_TOTAL, cpus)
    return {name: int(values[name].sum()) for name in SAMPLE_TOTAL.names or ()}


def sample_cells(module: Module, cpus: int, nids: int) -> npt.NDArray[np.uint64]:
    """Return the samples whose allocation has ended: shape (nids, orders, zeroed, 2).

    The last axis holds the samples in alloc, and those of them in zeroing.
    """
    cells = np.zeros((nids, SAMPLE_ORDERS, 2, 2), dtype=np.uint64)
    for index in range(nids * SAMPLE_ORDERS * 2):
        values = percpu(module, "mt_sample_cells", index, SAMPLE_CELL, cpus)
        nid, rest = divmod(index, SAMPLE_ORDERS * 2)
        cells[nid, rest // 2, rest % 2] = values["alloc"].sum(), values["zero"].sum()
    return cells


def open_frames(module: Module) -> npt.NDArray[np.int64]:
    """Return how many intervals are still open (probes/bpf/nest.h), over all tasks: shape (events,)."""
    size = module.map_spec("mt_open").value_bytes
    found = np.zeros(len(NAMES), np.int64)
    for _, values in hash_batches(module, "mt_open", np.dtype("<u8"), np.dtype((np.void, size))):
        plain = values.view("u1").reshape(-1, size)
        depths = plain[:, :8].copy().view("<u8")
        frames = plain[:, FRAMES_AT:].reshape(len(plain), DEPTH, -1)
        events = frames[:, :, FRAME_EVENT_AT]
        found += np.bincount(events[np.arange(DEPTH) < depths], minlength=len(NAMES))
        found[NAMES.index("alloc")] += plain[:, CAPTURE_AT : CAPTURE_AT + 8].any(axis=1).sum()
    return found
