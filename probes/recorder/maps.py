# SPDX-License-Identifier: Apache-2.0
"""Reading the kernel side's sums: counters, cells, tasks, samples."""

from __future__ import annotations

import mmap
from typing import Any

import numpy as np
import numpy.typing as npt

from memtrace.probes.programs.module import Module
from memtrace.probes.programs.tables import clear_percpu, hash_items, percpu
from memtrace.probes.recorder.details import Totals
from memtrace.probes.recorder.layouts import COUNTER, FLAT, TASK, TASK_KEY, TASK_SLOT
from memtrace.probes.topics.events import NAMES
from memtrace.traces.run import EventCounters

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
    """Sums over CPUs, shape (events,), of COUNTER, modulo 2**64."""
    return _by_event(module, "mt_counters", COUNTER.dtype, cpus)


def _by_event(module: Module, name: str, dtype: np.dtype[Any], cpus: int) -> npt.NDArray[Any]:
    """Sums over CPUs of a per-CPU array with an element an event: shape (events,), all fields u64."""
    total = np.zeros(len(NAMES), dtype=dtype)
    numbers = total.view("<u8").reshape(len(NAMES), -1)
    for event, sums in enumerate(numbers):
        values = percpu(module, name, event, dtype, cpus)
        values.view("<u8").reshape(cpus, -1).sum(axis=0, dtype=np.uint64, out=sums)
    return total


def event_counters(
    values: npt.NDArray[Any], before: npt.NDArray[Any] | None = None
) -> tuple[EventCounters, ...]:
    """The public form of counters(); ``before``: those of before the rows were taken."""
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
            seen_before=None if before is None else int(before["seen"][i]),
        )
        for i, (name, v) in enumerate(zip(NAMES, values, strict=True))
    )


class Cells:
    """The aggregate cells (probes/bpf/aggregate.h), mapped.

    ``sum()`` has shape (events, nids, 4, buckets, 4): the third axis is
    zeroed + 2 * tracer, the last count, total_ns, self_ns, pages.
    """

    def __init__(self, module: Module, cpus: int, events: int, nids: int, buckets: int) -> None:
        self._shape = (cpus, events, nids, 4, buckets, 4)
        size = int(np.prod(self._shape)) * 8
        rounded = (size + mmap.PAGESIZE - 1) & ~(mmap.PAGESIZE - 1)
        self._map = mmap.mmap(module.map_fd("mt_cells"), rounded, mmap.MAP_SHARED)
        self._view = np.frombuffer(self._map, dtype="<u8", count=size // 8).reshape(self._shape)

    def sum(self) -> npt.NDArray[np.uint64]:
        """Sums over CPUs as they stand now."""
        total: npt.NDArray[np.uint64] = self._view.sum(axis=0, dtype=np.uint64)
        return total

    def clear(self) -> None:
        """Set all to zero; nothing may be recording."""
        self._view[:] = 0


def clear(module: Module, cells: Cells, cpus: int, nids: int, sampling: bool) -> None:
    """Forget all sums: the state of a module that has seen nothing."""
    cells.clear()
    clear_percpu(module, "mt_counters", len(NAMES), COUNTER.dtype, cpus)
    clear_percpu(module, "mt_flat", len(NAMES), FLAT.dtype, cpus)
    clear_percpu(module, "mt_task_slot", len(NAMES), TASK_SLOT.dtype, cpus)
    clear_percpu(module, "mt_tasks_dropped", 1, np.dtype("<u8"), cpus)
    module.table("mt_tasks").clear()
    module.table("mt_open").clear()
    if sampling:
        clear_percpu(module, "mt_sample_total", 1, SAMPLE_TOTAL, cpus)
        clear_percpu(module, "mt_sample_cells", nids * SAMPLE_ORDERS * 2, SAMPLE_CELL, cpus)
        pending = np.dtype([("tid", "<u8"), ("alloc", "<u8"), ("zero", "<u8")])
        clear_percpu(module, "mt_sample_pending", 1, pending, cpus)


def flat(module: Module, cpus: int) -> npt.NDArray[Any]:
    """Sums of what is summed without buckets, shape (events,), of FLAT."""
    return _by_event(module, "mt_flat", FLAT.dtype, cpus)


def totals(module: Module, cpus: int) -> Totals:
    """What each process cost, by event and detail, what CPUs still hold included."""
    found = Totals()
    keys, values = hash_items(module, "mt_tasks", TASK_KEY.dtype, TASK.dtype)
    for (tgid, event, detail), (comm, sums) in zip(keys.tolist(), values.tolist(), strict=True):
        found.add(tgid, event, detail, comm, sums)
    for event in range(len(NAMES)):
        for slot in percpu(module, "mt_task_slot", event, TASK_SLOT.dtype, cpus):
            if slot["tgid"]:
                tgid, _, detail, comm, sums = slot.tolist()
                found.add(tgid - 1, event, detail, comm, sums)
    return found


def tasks_dropped(module: Module, cpus: int) -> int:
    """Occurrences that found the task table full."""
    return int(percpu(module, "mt_tasks_dropped", 0, np.dtype("<u8"), cpus).sum())


def sample_totals(module: Module, cpus: int) -> dict[str, int]:
    """Samples taken, by class, summed over CPUs."""
    values = percpu(module, "mt_sample_total", 0, SAMPLE_TOTAL, cpus)
    return {name: int(values[name].sum()) for name in SAMPLE_TOTAL.names or ()}


def sample_cells(module: Module, cpus: int, nids: int) -> npt.NDArray[np.uint64]:
    """Settled samples, shape (nids, orders, zeroed, 2): alloc and zero."""
    cells = np.zeros((nids, SAMPLE_ORDERS, 2, 2), dtype=np.uint64)
    for index in range(nids * SAMPLE_ORDERS * 2):
        values = percpu(module, "mt_sample_cells", index, SAMPLE_CELL, cpus)
        nid, rest = divmod(index, SAMPLE_ORDERS * 2)
        cells[nid, rest // 2, rest % 2] = values["alloc"].sum(), values["zero"].sum()
    return cells


def open_frames(module: Module) -> int:
    """Intervals entered and not left (probes/bpf/nest.h), over all contexts."""
    return sum(int(frames.depth) for frames in module.table("mt_open").values())
