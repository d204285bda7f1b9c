# SPDX-License-Identifier: Apache-2.0
"""The gate, which decides whether the programs record, and whose events."""

from __future__ import annotations

import contextlib
import ctypes

from memtrace.probes.programs.module import Module
from memtrace.probes.programs.refusal import RefusedError
from memtrace.probes.recorder.identity import Identity
from memtrace.probes.recorder.plan import Attached, Filters
from memtrace.probes.sites.pfn import learn_vmemmap_base
from memtrace.probes.sites.system import System


class Gate:
    """The gate of one module's programs, which is closed until set(True)."""

    def __init__(self, attached: Attached, filters: Filters, system: System, identity: Identity) -> None:
        """Hand the filters to the programs, and learn vmemmap_base if ``system`` does not have it."""
        self._module: Module = attached.module
        self._filters, self._identity = filters, identity
        self._sees_arch = attached.sees("accept.arch")
        self._vmemmap_base = system.vmemmap_base or learn_vmemmap_base(self._module, system)
        for cpu in filters.cpus:
            self._module.update("mt_cpus", ctypes.c_uint32(cpu), ctypes.c_uint32(1))
        with contextlib.suppress(RefusedError):
            # Without it tasks that have ended keep their places, and a full table is counted.
            self._module.attach_rawtp("sched_process_free", "mt_task_freed")
        if filters.follow:
            self._module.attach_rawtp("sched_process_fork", "mt_target_fork")
            self._module.attach_rawtp("sched_process_free", "mt_target_free")
            for pid in filters.pids:
                self.follow(pid)

    def set(self, on: bool) -> None:
        """Open or close the gate."""
        self._set(on, 0)

    def _set(self, on: bool, only: int) -> None:
        """Fill in struct mt_conf_t (probes/bpf/common.h)."""
        me = self._identity
        fields = (on, self._vmemmap_base or 0, self._sees_arch, me.tgid, only, me.pidns, me.level)
        value = (ctypes.c_uint64 * len(fields))(*map(int, fields))
        self._module.update("mt_conf", ctypes.c_uint32(0), value)

    def own(self, on: bool) -> None:
        """Open or close the gate for known work of the recorder, and for nobody else's."""
        self._set(on, self._identity.tgid)

    def follow(self, pid: int) -> None:
        """Let in the process that has this number here, and all that it forks."""
        number = ctypes.c_uint32(pid)
        if self._identity.own_pids:
            self._module.update("mt_listed", number, ctypes.c_uint8(1))
        else:
            self._module.update("mt_targets", number, ctypes.c_uint32(0))

    def lets_all_allocs_in(self, events: tuple[str, ...]) -> bool:
        """Return whether alloc is recorded, with no filter but one of processes.

        That one is no obstacle to the recorder's own page faults either: own() passes by it.
        """
        filters = self._filters
        return not (filters.cpus or filters.comm or filters.min_order) and "alloc" in events
