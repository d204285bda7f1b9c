# SPDX-License-Identifier: Apache-2.0
"""The gate, which decides whether the programs record, and whose events."""

from __future__ import annotations

import ctypes
import os

from memtrace.probes.programs.module import Module
from memtrace.probes.programs.tables import clear_hash
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
        if filters.follow:
            self._module.attach_rawtp("sched_process_fork", "mt_target_fork")
            self._module.attach_rawtp("sched_process_free", "mt_target_free")
            self.follow_listed()

    def set(self, on: bool) -> None:
        """Open or close the gate."""
        me = self._identity
        fields = (on, self._vmemmap_base or 0, self._sees_arch, me.tgid, me.pidns, me.level)
        value = (ctypes.c_uint64 * len(fields))(*map(int, fields))
        self._module.update("mt_conf", ctypes.c_uint32(0), value)

    def own(self, on: bool) -> None:
        """Open or close the gate for known work of the recorder, which any process filter then lets in."""
        if self._filters.follow:
            self.follow(os.getpid())
        self.set(on)

    def follow(self, pid: int) -> None:
        """Let in the process that has this number here, and all that it forks."""
        number = ctypes.c_uint32(pid)
        if self._identity.own_pids:
            self._module.update("mt_listed", number, ctypes.c_uint8(1))
        else:
            self._module.update("mt_targets", number, ctypes.c_uint32(0))

    def follow_listed(self) -> None:
        """Let in the processes that the filters list."""
        for pid in self._filters.pids:
            self.follow(pid)

    def only_listed(self) -> None:
        """Shut out again all processes except the listed ones."""
        if self._filters.follow:
            clear_hash(self._module, "mt_targets")
            if self._identity.own_pids:
                clear_hash(self._module, "mt_listed")
            self.follow_listed()

    def lets_all_allocs_in(self, events: tuple[str, ...]) -> bool:
        """Return whether alloc is recorded, with no filter but one of processes.

        That one is no obstacle to the recorder's own page faults either, because own() lets it in.
        """
        filters = self._filters
        return not (filters.cpus or filters.comm or filters.min_order) and "alloc" in events
