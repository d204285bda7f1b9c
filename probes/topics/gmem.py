# SPDX-License-Identifier: Apache-2.0
"""gmem.*: private memory of virtual machines, as the host prepares it (guest_memfd, 6.8 on).

Each event is one function from entry to return; the times are nested as said at the
head of gmem.bpf.c.  What the numbers are:

gmem.fault     kvm_mmu_page_fault(), of VMs that can have private memory; FAILED: an error
               (to user space, e.g. to convert), RETRIED: the guest takes it again.  Both are
               known from KVM's own counts of what became of its faults.
gmem.get       kvm_gmem_get_pfn(): a look-up, which allocates only where the page is not there.
gmem.zero      the clearing of a page before its first use, in __kvm_gmem_get_pfn() or between its
               return and the entry of the architecture's hook: see gmem_first.py.
gmem.prepare   the architecture's hook, at the first use of a page; it returns at once for a VM
               that is neither SNP nor TDX.  Kernels that call it for every look-up (7.0 on): only
               calls for a first use, that failed, or with a gmem.assign inside.
gmem.assign    rmp_make_private() or tdh_mem_page_aug(): order 0, 9, 18 is the level.
gmem.punch     bytes are those really freed, bytes_requested the length of the hole.
gmem.convert   bytes are those of a call that changed something, 0 (NOOP) of one that did not.
"""

from __future__ import annotations

import dataclasses
from functools import partial
from pathlib import Path

from memtrace.probes.sites.btf import Btf
from memtrace.probes.sites.functions import function_ladder
from memtrace.probes.sites.ladder import Ladder
from memtrace.probes.sites.system import System
from memtrace.probes.topics.gmem_arguments import counts, places
from memtrace.probes.topics.gmem_attach import GUEST, attach_once, plain, tracepoint, with_helpers
from memtrace.probes.topics.gmem_convert import convert_ladder
from memtrace.probes.topics.gmem_first import first_use
from memtrace.probes.topics.gmem_lookup import (
    attach_with_bind,
    binding,
    get_ladder,
    prepare_ladder,
    zero_ladder,
)
from memtrace.traces.run import Refusal

EVENTS = (
    "gmem.fault",
    "gmem.get",
    "gmem.zero",
    "gmem.prepare",
    "gmem.assign",
    "gmem.split",
    "gmem.allocate",
    "gmem.punch",
    "gmem.free",
    "gmem.convert",
    "gmem.populate",
    "gmem.prefault",
)
SOURCE = "topics/gmem"
_PAIRED = ("FAULT", "GET", "PREPARE", "ASSIGN", "SPLIT", "ALLOCATE", "PUNCH", "FREE", "CONVERT", "POPULATE")
SITES = (
    *(f"MT_SITE_GMEM_{part}_{kind}" for part in (*_PAIRED, "PREFAULT") for kind in ("FENTRY", "KPROBE")),
    "MT_SITE_GMEM_ZERO",
    "MT_SITE_GMEM_FAULT_RAWTP",
    "MT_SITE_GMEM_SPLIT_RAWTP",
)

_FUNCTIONS = frozenset(
    f"MT_FN_GMEM_{part}"
    for part in (*_PAIRED, "PREFAULT", "FALLOCATE", "LOOKUP", "FOLIO", "CHANGE", "DETAIL", "DESTROY")
)
"""Macros that make the programs of one event; the others are for all."""
NEEDS = {"gmem.zero": ("gmem.get",), "gmem.prepare": ("gmem.get",)}

DETAIL = "kvm_tdp_page_fault"

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


def ladders(system: System, sampling: bool) -> tuple[Ladder, ...]:
    """One for each event; all empty, with one reason, where KVM has no guest_memfd to see."""
    refusal = why_none(system)
    btf = None if refusal else system.kvm_btf
    macros = offsets(btf) if btf else None
    if refusal is None and macros is None:
        refusal = Refusal("kvm", "absent", "no BTF of KVM to tell where its structures hold what")
    if refusal is not None or btf is None or macros is None:
        return tuple(Ladder(event, (), (refusal,) if refusal else ()) for event in EVENTS)
    get, first = get_ladder(system, btf), first_use(system, btf)
    made = {
        "gmem.fault": _fault(system),
        "gmem.get": get,
        "gmem.zero": zero_ladder(system, btf, get, first),
        "gmem.prepare": prepare_ladder(system, btf, get, first),
        "gmem.assign": _assign(system),
        "gmem.split": _split(system),
        **_fallocate(system, btf),
        "gmem.free": plain(
            system, "gmem.free", "kvm_gmem_free_folio", "FREE", "folio: argument; gfn: in a hole"
        ),
        "gmem.convert": convert_ladder(system),
        "gmem.populate": _populate(system, btf),
        "gmem.prefault": plain(
            system,
            "gmem.prefault",
            "kvm_vcpu_ioctl",
            "PREFAULT",
            "KVM_PRE_FAULT_MEMORY; range: user's struct",
        ),
    }
    # Each event must compile with the others left out.
    shared = {k: v for ladder in made.values() for k, v in ladder.macros.items() if k not in _FUNCTIONS}
    shared |= macros | counts(system, btf) | {"MT_GMEM": "1"}
    made = {
        event: dataclasses.replace(ladder, macros=ladder.macros | shared) for event, ladder in made.items()
    }
    return tuple(made[event] for event in EVENTS)


def why_none(system: System) -> Refusal | None:
    """Why no event of guest_memfd can be seen here, if that is so."""
    if not system.symbols.names("kvm_vcpu_ioctl"):
        if system.config.get("CONFIG_KVM") == "n":
            return Refusal("kvm", "config missing", "this kernel has no KVM: CONFIG_KVM is not set")
        return Refusal(
            "kvm", "absent", "KVM is not loaded: modprobe kvm_amd or kvm_intel before recording gmem events"
        )
    if not system.symbols.names("kvm_gmem_get_pfn"):
        return Refusal(
            "kvm", "absent", "this KVM has no guest_memfd (6.8 on, with private memory configured)"
        )
    return None


def offsets(btf: Btf) -> dict[str, str] | None:
    """Macros of where KVM's structures hold what; None if one that must be known is not."""
    found = {macro: btf.offset_of(*where) for macro, where in _OFFSETS.items()}
    if None in found.values():
        return None
    # struct kvm_gmem, later struct gmem_file: its VM is the first member of both.
    found["MT_KVM_GMEM_KVM"] = btf.offset_of("kvm_gmem", "kvm") or btf.offset_of("gmem_file", "kvm") or 0
    optional = {macro: btf.offset_of(*where) for macro, where in _OPTIONAL.items()}
    stats = {f"MT_KVM_STAT_{name.upper()}": btf.offset_of("kvm_vcpu", f"stat.pf_{name}") for name in _STATS}
    found |= optional | (stats if None not in stats.values() else {})
    return {macro: str(value) for macro, value in found.items() if value is not None}


def _fault(system: System) -> Ladder:
    ladder = plain(
        system,
        "gmem.fault",
        "kvm_mmu_page_fault",
        "FAULT",
        f"{GUEST}; private: kvm_tdp_page_fault(); failed, retried: return value, vcpu->stat",
        ("gmem.get", "gmem.zero", "gmem.prepare", "gmem.assign"),
    )
    helpers = {
        "MT_FN_GMEM_DETAIL": (DETAIL, "entry", "mt_gmem_detail"),
        "MT_FN_GMEM_DESTROY": ("kvm_arch_destroy_vm", "entry", "mt_gmem_destroy"),
    }
    ladder = with_helpers(system, ladder, helpers)
    last = tracepoint("gmem.fault", "kvm_page_fault", "FAULT", "vcpu, gpa: arguments; how it ended: not seen")
    return dataclasses.replace(ladder, candidates=(*ladder.candidates, last))


def _populate(system: System, btf: Btf) -> Ladder:
    found = places(btf, "kvm_gmem_populate")
    if isinstance(found, Refusal):
        return Ladder("gmem.populate", (), (found,))
    ladder = plain(system, "gmem.populate", "kvm_gmem_populate", "POPULATE", f"{GUEST}; pages: return value")
    return dataclasses.replace(ladder, macros=ladder.macros | found)


def _assign(system: System) -> Ladder:
    decode = "gpa, level: arguments (order 9 times the level)"
    if Path("/sys/module/kvm_intel/parameters/tdx").exists() and system.symbols.names("tdh_mem_page_aug"):
        ladder = plain(system, "gmem.assign", "tdh_mem_page_aug", "ASSIGN", decode)
        parameters = system.btf.parameters("tdh_mem_page_aug") if system.btf else None
        more = {"MT_GMEM_ASSIGN_TDX": "1", "MT_GMEM_ASSIGN_ARGS": str(len(parameters or ()) or 6)}
    else:
        ladder = plain(system, "gmem.assign", "rmp_make_private", "ASSIGN", f"pfn, {decode}")
        more = {"MT_GMEM_ASSIGN_ARGS": "5"}
    return dataclasses.replace(ladder, macros=ladder.macros | more)


def _split(system: System) -> Ladder:
    ladder = plain(system, "gmem.split", "psmash", "SPLIT", "pfn: argument; order: 9, what was split")
    last = tracepoint(
        "gmem.split", "kvm_rmp_fault", "SPLIT", "gpa, pfn, psmash_ret: arguments, if rmp_level > 1"
    )
    return dataclasses.replace(ladder, candidates=(*ladder.candidates, last))


def _fallocate(system: System, btf: Btf) -> dict[str, Ladder]:
    """gmem.allocate and gmem.punch: one function serves both."""
    slot, _ = binding(system, btf)
    made = {}
    for event, part, said in (
        ("gmem.allocate", "ALLOCATE", "bytes: how the file grew meanwhile, by whomever"),
        ("gmem.punch", "PUNCH", "bytes: freed inside"),
    ):
        ladder = function_ladder(
            system,
            event,
            ("kvm_gmem_fallocate",),
            "MT_FN_GMEM_FALLOCATE",
            f"MT_SITE_GMEM_{part}",
            "mt_gmem_fallocate",
            f"length: argument; {said}; gfn: where the file is bound",
            ("alloc",) if part == "ALLOCATE" else ("gmem.free",),
        )
        candidates = tuple(
            dataclasses.replace(
                c, attach=partial(attach_with_bind, first=partial(attach_once, first=c), bind=slot)
            )
            if c.kind == "fentry"
            else dataclasses.replace(c, attach=partial(attach_once, first=c))
            for c in ladder.candidates
        )
        made[event] = dataclasses.replace(ladder, candidates=candidates)
    return made
