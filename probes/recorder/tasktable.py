# SPDX-License-Identifier: Apache-2.0
"""The kernel side's two tables of totals (probes/bpf/tasks.h): one is written while the other is emptied.

mt_tasks, an array of maps, holds the one that is written.  The kernel lets an update of a map of
maps wait for all programs that run under RCU, which those of (raw) tracepoints, kprobes, fentry
and the CPU clock do (maybe_wait_bpf_programs(), kernel/bpf/syscall.c; none of ours sleeps).
So after it nothing writes the other table any more.  It takes some ms, and longer on a large
machine; a thread waits for it, while the rings are read.
"""

from __future__ import annotations

import ctypes
import threading
from collections.abc import Iterator

import numpy as np

from memtrace.errors import MemtraceError
from memtrace.probes.programs.module import Module
from memtrace.probes.programs.tables import Batch, clear_hash, clear_percpu, hash_batches, percpu
from memtrace.probes.recorder.layouts import TASK, TASK_KEY, TASK_SLOT
from memtrace.probes.topics.events import NAMES

_TABLE = "mt_task_table"
FULL = 4
"""A table is emptied when a quarter is taken: the rest is for what comes until then."""
WORTH_IT = 32
"""After a checkpoint it is emptied if so little is taken: the next one would read it again."""
_U64 = np.dtype("<u8")


class TaskTables:
    """The tables of one module, and what the CPUs hold in their slots."""

    def __init__(self, module: Module, cpus: int) -> None:
        """Put the first table in place; raises MemtraceError."""
        self._module, self._cpus = module, cpus
        self._written, self._empty = module.map_fd(_TABLE), module.another(_TABLE)
        self._places = module.map_spec(_TABLE).entries
        self._taken = 0
        self._change: threading.Thread | None = None
        self._failed: MemtraceError | None = None
        self._put(self._written)

    def exchange(self, part: int = FULL) -> None:
        """Begin to exchange the tables if one ``part``-th of the one that is written is taken.

        Nothing is waited for: take() has what was in it when that is done.
        """
        if self._change is None and self._sum("mt_tasks_added") - self._taken > self._places // part:
            self._change = self._module.background(self._exchange)

    def take(self, wait: bool = False) -> Iterator[Batch]:
        """Yield and remove what is in a table that exchange() has replaced, if that is done.

        ``wait`` waits until it is.  A batch is valid until the next is asked for.  Raises
        MemtraceError if the tables cannot be exchanged, or read.
        """
        if self._change is None or (self._change.is_alive() and not wait):
            return
        self._change.join()
        self._change = None
        if self._failed is not None:
            raise self._failed
        self._written, self._empty = self._empty, self._written
        for keys, values in hash_batches(
            self._module, _TABLE, TASK_KEY.dtype, TASK.dtype, self._empty, take=True
        ):
            self._taken += len(keys)
            yield keys, values

    def held(self) -> Iterator[Batch]:
        """Yield what is in the table that is written, then what the CPUs have in their slots.

        What is moved from a slot to the table in between is in neither; it is there the next time.
        """
        yield from hash_batches(self._module, _TABLE, TASK_KEY.dtype, TASK.dtype, self._written)
        found = [
            percpu(self._module, "mt_task_slot", i, TASK_SLOT.dtype, self._cpus) for i in range(len(NAMES))
        ]
        slots = np.concatenate(found)
        keys = np.zeros(len(slots), TASK_KEY.dtype)
        used = slots["tgid"] > 0
        keys["tgid"][used] = slots["tgid"][used] - 1
        keys["event"] = np.arange(len(NAMES)).repeat(self._cpus)
        keys["detail"] = slots["detail"]
        yield keys[used], slots["task"][used]

    def dropped(self) -> int:
        """Return the number of events that found the table full."""
        return self._sum("mt_tasks_dropped")

    def clear(self) -> None:
        """Empty tables and slots, and set the counts to zero; no program may be recording meanwhile."""
        for _ in self.take(wait=True):
            pass
        clear_percpu(self._module, "mt_task_slot", len(NAMES), TASK_SLOT.dtype, self._cpus)
        clear_hash(self._module, _TABLE, self._written)
        for name in ("mt_tasks_added", "mt_tasks_dropped"):
            clear_percpu(self._module, name, 1, _U64, self._cpus)
        self._taken = 0

    def _exchange(self) -> None:
        try:
            self._put(self._empty)
        except MemtraceError as error:
            self._failed = error

    def _put(self, table: int) -> None:
        self._module.update("mt_tasks", ctypes.c_uint32(0), ctypes.c_uint32(table))

    def _sum(self, name: str) -> int:
        return int(percpu(self._module, name, 0, _U64, self._cpus).sum())
