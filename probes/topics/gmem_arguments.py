# SPDX-License-Identifier: Apache-2.0
"""Where KVM's functions have their arguments, and its structures their members, by their names in BTF.

Both move between kernels.  A fexit program finds the return value behind the last argument,
so the number of arguments has to be right: kvm_gmem_populate() got a seventh (may_writeback_src).
"""

from __future__ import annotations

from memtrace.probes.sites.btf import Btf
from memtrace.probes.sites.ladder import resolve
from memtrace.probes.sites.system import System
from memtrace.traces.run import Refusal

_COUNTS = {
    "FAULT": ("kvm_mmu_page_fault", 5),
    "GET": ("kvm_gmem_get_pfn", 5),
    "LOOKUP": ("__kvm_gmem_get_pfn", 6),
    "FOLIO": ("kvm_gmem_get_folio", 2),
    "MAP": ("kvm_gmem_fault_user_mapping", 1),
    "SPLIT": ("psmash", 1),
    "FALLOCATE": ("kvm_gmem_fallocate", 4),
    "CONVERT": ("kvm_vm_ioctl", 3),
    "POPULATE": ("kvm_gmem_populate", 6),
    "PREFAULT": ("kvm_vcpu_ioctl", 3),
}
"""The function, and its number of arguments where BTF does not tell; no fexit can be set there."""
_PLACES = {
    "kvm_gmem_populate": {
        "MT_GMEM_POPULATE_GFN_ARG": ("start_gfn", 1),
        "MT_GMEM_POPULATE_PAGES_ARG": ("npages", 3),
    },
}
"""By function and macro: the name of the argument, and its index where BTF does not tell."""

_OFFSETS = {
    "MT_KVM_VCPU_KVM": ("kvm_vcpu", "kvm"),
    "MT_KVM_VCPU_ID": ("kvm_vcpu", "vcpu_id"),
    "MT_KVM_SLOT_GFN": ("kvm_memory_slot", "base_gfn"),
    "MT_KVM_SLOT_PAGES": ("kvm_memory_slot", "npages"),
    "MT_KVM_SLOT_FILE": ("kvm_memory_slot", "gmem.file"),
    "MT_KVM_SLOT_PGOFF": ("kvm_memory_slot", "gmem.pgoff"),
    "MT_KVM_FILE_PRIVATE": ("file", "private_data"),
    "MT_KVM_FILE_INODE": ("file", "f_inode"),
    "MT_KVM_INODE_MAPPING": ("inode", "i_mapping"),
    "MT_KVM_MAPPING_PAGES": ("address_space", "nrpages"),
    "MT_KVM_FOLIO_INDEX": ("folio", "index"),
}
_OPTIONAL = {
    "MT_KVM_PID": ("kvm", "userspace_pid"),
    "MT_KVM_TYPE": ("kvm", "arch.vm_type"),
    "MT_KVM_HAS_PRIVATE": ("kvm", "arch.has_private_mem"),
    "MT_KVM_CLOCK_OFFSET": ("kvm", "arch.kvmclock_offset"),
    "MT_KVM_FAULT_PRIVATE": ("kvm_page_fault", "is_private"),
}
_STATS = ("fixed", "emulate", "spurious", "taken")


def counts(system: System, btf: Btf) -> dict[str, str]:
    """Return the macros that hold the number of arguments of each function."""
    return {
        f"MT_GMEM_{part}_ARGS": str(_count(system, btf, function, default))
        for part, (function, default) in _COUNTS.items()
    }


def _count(system: System, btf: Btf, function: str, default: int) -> int:
    parameters = btf.parameters(resolve(system, (function,)) or function)
    return default if parameters is None else len(parameters)


def places(btf: Btf, function: str) -> dict[str, str] | Refusal:
    """Return the macros that hold the indexes of ``function``'s arguments, or why these are not known."""
    parameters = btf.parameters(function)
    wanted = _PLACES[function]
    if parameters is None:
        return {macro: str(default) for macro, (_, default) in wanted.items()}
    missing = [name for name, _ in wanted.values() if name not in parameters]
    if missing:
        return Refusal(function, "absent", f"no argument named {', '.join(missing)} in its BTF")
    return {macro: str(parameters.index(name)) for macro, (name, _) in wanted.items()}


def offsets(btf: Btf) -> dict[str, str] | None:
    """Return the macros of the members' offsets, in bytes; None if one that is required is not known."""
    found = {macro: btf.offset_of(*where) for macro, where in _OFFSETS.items()}
    if None in found.values():
        return None
    # struct kvm_gmem, later struct gmem_file: its VM is the first member of both.
    found["MT_KVM_GMEM_KVM"] = btf.offset_of("kvm_gmem", "kvm") or btf.offset_of("gmem_file", "kvm") or 0
    optional = {macro: btf.offset_of(*where) for macro, where in _OPTIONAL.items()}
    stats = {f"MT_KVM_STAT_{name.upper()}": btf.offset_of("kvm_vcpu", f"stat.pf_{name}") for name in _STATS}
    found |= optional | (stats if None not in stats.values() else {})
    return {macro: str(value) for macro, value in found.items() if value is not None}
