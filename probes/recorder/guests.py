# SPDX-License-Identifier: Apache-2.0
"""The virtual machines that the gmem programs have met, and the modules with probed functions.

The kernel side numbers each struct kvm at first sight (gmem.bpf.c: mt_vm()).  The name of
its process is added here while the process lives.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from memtrace.probes.programs.module import Module
from memtrace.probes.programs.tables import hash_items
from memtrace.probes.recorder.layouts import VM
from memtrace.traces.names import decoded
from memtrace.traces.run import ProbeSite, VirtualMachine

# arch/x86/include/uapi/asm/kvm.h: KVM_X86_*_VM.
_KINDS = {0: "default", 1: "sw-protected", 2: "sev", 3: "sev-es", 4: "snp", 5: "tdx"}


class Guests:
    """Reads the table of VMs, and remembers the names of their processes after these have ended."""

    def __init__(self, module: Module, manifest: tuple[ProbeSite, ...]) -> None:
        self._module = module
        self._present = any(s.site and s.event.startswith("gmem.") for s in manifest)
        self._names: dict[int, str] = {}

    def read(self) -> tuple[VirtualMachine, ...]:
        """Return the VMs met so far, in the order of their numbers; empty if no gmem event has a site."""
        if not self._present:
            return ()
        numbers, values = hash_items(self._module, "mt_vm_list", np.dtype("<u4"), VM.dtype)
        found = (self._one(int(n), value) for n, value in zip(numbers, values, strict=True))
        return tuple(sorted(found, key=lambda vm: vm.number))

    def _one(self, number: int, value: Any) -> VirtualMachine:
        pid = int(value["pid"]) or None
        if pid is not None and pid not in self._names:
            self._names[pid] = _comm(pid)
        kind = int(value["kind"])
        return VirtualMachine(
            number=int(number),
            pid=pid,
            comm=self._names.get(pid or 0) or decoded(bytes(value["comm"])),
            kind=_KINDS.get(kind, str(kind)),
            private=bool(value["has_private"]),
            first_ns=int(value["first_ns"]),
            clock_offset_ns=int(value["clock_offset"]) or None,
        )


class Modules:
    """Tells whether the modules that hold probed functions are still the ones that were probed."""

    def __init__(self, manifest: tuple[ProbeSite, ...], module_of: dict[str, str]) -> None:
        """Note which modules are probed; ``module_of`` has the module of each function that is in one."""
        self._events = {s.event: module_of[s.function] for s in manifest if s.function in module_of}
        self._before = {name: _identity(name) for name in set(self._events.values())}

    def gone(self) -> tuple[str, ...]:
        """Return the events whose module was unloaded since.

        They are no longer seen, even if the module has been loaded again.
        """
        changed = {name for name, before in self._before.items() if _identity(name) != before}
        return tuple(event for event, name in self._events.items() if name in changed)


def _comm(pid: int) -> str:
    try:
        return decoded(Path(f"/proc/{pid}/comm").read_bytes()).rstrip("\n")
    except OSError:
        return ""


def _identity(module: str) -> int | None:
    """Return a number that differs each time the module is loaded, or None if it is not loaded."""
    try:
        return Path(f"/sys/module/{module}").stat().st_ino
    except OSError:
        return None
