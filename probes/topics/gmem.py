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
from memtrace.probes.topics.event import Event
from memtrace.probes.topics.gmem_arguments import counts, offsets, places
from memtrace.probes.topics.gmem_attach import (
    GUEST,
    GUEST_FIELDS,
    attach_once,
    plain,
    tracepoint,
    with_helpers,
)
from memtrace.probes.topics.gmem_convert import convert_ladder
from memtrace.probes.topics.gmem_first import first_use
from memtrace.probes.topics.gmem_lookup import (
    attach_with_bind,
    binding,
    get_ladder,
    map_ladder,
    prepare_ladder,
    zero_ladder,
)
from memtrace.traces.run import Refusal

EVENTS = (
    Event(
        "gmem.fault",
        "one page fault of a VM that can have private memory",
        ("kvm_mmu_page_fault",),
        about=(
            "Flags tell private memory, faults that failed (they go to user space, for example to "
            "convert) and faults that the guest will take again."
        ),
        sites=("fentry", "kprobe", "rawtp"),
        inside=("gmem.get", "gmem.zero", "gmem.prepare", "gmem.assign"),
        fields=GUEST_FIELDS,
        asked=True,
    ),
    Event(
        "gmem.get",
        "one page of a guest_memfd looked up or made for a guest",
        ("kvm_gmem_get_pfn",),
        about=("It lies inside a gmem.fault or gmem.prefault and is no allocation by itself."),
        inside=("alloc", "gmem.zero", "gmem.prepare"),
        fields=GUEST_FIELDS,
        asked=True,
    ),
    Event(
        "gmem.map",
        "one page of a guest_memfd given to user space that has mapped it",
        ("kvm_gmem_fault_user_mapping",),
        about="Shared memory can be mapped (GUEST_MEMFD_FLAG_MMAP, 6.18 on); its first touch clears it.",
        inside=("alloc", "gmem.zero"),
        fields=GUEST_FIELDS,
        asked=True,
    ),
    Event(
        "gmem.zero",
        "one folio of a guest_memfd cleared before its first use",
        ("__kvm_gmem_get_pfn",),
        about=(
            "Kernels clear in kvm_gmem_get_pfn(), from the return of __kvm_gmem_get_pfn() to the hook of "
            "gmem.prepare, or inside __kvm_gmem_get_pfn(); which it was is told page by page. Where "
            "neither can be told from a later look-up there is no site."
        ),
        begins="the return of the look-up of a folio that is not up to date",
        ends="when it is cleared, and some ns of checks",
        sites=("either",),
        needs=("gmem.get", "gmem.map"),
        witness="pages of guests looked up for the first time",
        fields=GUEST_FIELDS,
        asked=True,
    ),
    Event(
        "gmem.prepare",
        "one folio made private by the architecture's hook",
        ("kvm_arch_gmem_make_private", "kvm_arch_gmem_prepare"),
        about=(
            "Newer kernels call it for every look-up: only calls at the first use of a page count, that "
            "failed, or in which a page was assigned. For a VM that is neither SEV-SNP nor TDX it returns "
            "at once."
        ),
        needs=("gmem.get",),
        inside=("gmem.assign",),
        fields=GUEST_FIELDS,
        asked=True,
    ),
    Event(
        "gmem.assign",
        "one page given to a guest in the RMP or the secure EPT",
        ("tdh_mem_page_aug", "rmp_make_private"),
        about=("Its order is the level: 0, 9 or 18."),
        fields=GUEST_FIELDS,
        asked=True,
    ),
    Event(
        "gmem.split",
        "one 2 MiB entry of the RMP split into 4 KiB ones (PSMASH)",
        ("psmash",),
        sites=("fentry", "kprobe", "rawtp"),
        fields=GUEST_FIELDS,
        asked=True,
    ),
    Event(
        "gmem.allocate",
        "one range of a guest_memfd preallocated",
        ("kvm_gmem_fallocate",),
        about=("Its bytes are those by which the file grew."),
        inside=("alloc",),
        fields=GUEST_FIELDS,
        asked=True,
    ),
    Event(
        "gmem.punch",
        "one hole punched into a guest_memfd",
        ("kvm_gmem_fallocate",),
        about=("Its bytes are those freed, and the length of the hole is in bytes_requested."),
        inside=("gmem.free",),
        fields=GUEST_FIELDS,
        asked=True,
    ),
    Event(
        "gmem.free",
        "one folio of a guest_memfd given back",
        ("kvm_gmem_free_folio",),
        about=("In a hole, or when the file goes."),
        fields=GUEST_FIELDS,
        asked=True,
    ),
    Event(
        "gmem.convert",
        "one call that makes guest memory private or shared",
        ("kvm_vm_ioctl",),
        about=(
            "KVM_SET_MEMORY_ATTRIBUTES, to private or to shared; a call that changes nothing is marked "
            "so. Where the kernel converts by an ioctl of the guest_memfd itself "
            "(kvm.gmem_in_place_conversion) there is no site."
        ),
        fields=GUEST_FIELDS,
        asked=True,
    ),
    Event(
        "gmem.populate",
        "one range filled with initial contents",
        ("kvm_gmem_populate",),
        fields=GUEST_FIELDS,
        asked=True,
    ),
    Event(
        "gmem.prefault",
        "one KVM_PRE_FAULT_MEMORY call",
        ("kvm_vcpu_ioctl",),
        fields=GUEST_FIELDS,
        asked=True,
    ),
)
"""One after the other, and sites likewise: gmem.bpf.c numbers them so."""
SOURCES = ("topics/gmem", "topics/gmem_lookup", "topics/gmem_range")
_BY_NAME = {event.name: event for event in EVENTS}
_HELPERS = ("FALLOCATE", "LOOKUP", "FOLIO", "CHANGE", "DETAIL", "DESTROY")
_FUNCTIONS = frozenset(
    f"MT_FN_GMEM_{part}"
    for part in (*(event.name.removeprefix("gmem.").upper() for event in EVENTS), *_HELPERS)
)
"""Macros that make the programs of one event; the others are for all."""

DETAIL = "kvm_tdp_page_fault"


def ladders(system: System, sampling: bool) -> tuple[Ladder, ...]:
    """One for each event; all empty, with one reason, where KVM has no guest_memfd to see."""
    refusal = why_none(system)
    btf = None if refusal else system.kvm_btf
    macros = offsets(btf) if btf else None
    if refusal is None and macros is None:
        refusal = Refusal("kvm", "absent", "no BTF of KVM to tell where its structures hold what")
    if refusal is not None or btf is None or macros is None:
        return tuple(Ladder(event.name, (), (refusal,) if refusal else ()) for event in EVENTS)
    get, first = get_ladder(system, btf), first_use(system, btf)
    made = {
        "gmem.fault": _fault(system),
        "gmem.get": get,
        "gmem.map": map_ladder(system, btf),
        "gmem.zero": zero_ladder(system, btf, get, first),
        "gmem.prepare": prepare_ladder(system, btf, get, first),
        "gmem.assign": _assign(system),
        "gmem.split": _split(system),
        **_fallocate(system, btf),
        "gmem.free": plain(system, "gmem.free", "kvm_gmem_free_folio", "folio: argument; gfn: in a hole"),
        "gmem.convert": convert_ladder(system),
        "gmem.populate": _populate(system, btf),
        "gmem.prefault": plain(
            system,
            "gmem.prefault",
            "kvm_vcpu_ioctl",
            "KVM_PRE_FAULT_MEMORY; range: user's struct",
        ),
    }
    # Each event must compile with the others left out.
    shared = {k: v for ladder in made.values() for k, v in ladder.macros.items() if k not in _FUNCTIONS}
    shared |= macros | counts(system, btf) | {"MT_GMEM": "1"}
    made = {
        event: dataclasses.replace(ladder, macros=ladder.macros | shared) for event, ladder in made.items()
    }
    return tuple(made[event.name] for event in EVENTS)


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


def _fault(system: System) -> Ladder:
    ladder = plain(
        system,
        "gmem.fault",
        "kvm_mmu_page_fault",
        f"{GUEST}; private: kvm_tdp_page_fault(); failed, retried: return value, vcpu->stat",
        _BY_NAME["gmem.fault"].inside,
    )
    helpers = {
        "MT_FN_GMEM_DETAIL": (DETAIL, "entry", "mt_gmem_detail"),
        "MT_FN_GMEM_DESTROY": ("kvm_arch_destroy_vm", "entry", "mt_gmem_destroy"),
    }
    ladder = with_helpers(system, ladder, helpers)
    last = tracepoint("gmem.fault", "kvm_page_fault", "vcpu, gpa: arguments; how it ended: not seen")
    return dataclasses.replace(ladder, candidates=(*ladder.candidates, last))


def _populate(system: System, btf: Btf) -> Ladder:
    found = places(btf, "kvm_gmem_populate")
    if isinstance(found, Refusal):
        return Ladder("gmem.populate", (), (found,))
    ladder = plain(system, "gmem.populate", "kvm_gmem_populate", f"{GUEST}; pages: return value")
    return dataclasses.replace(ladder, macros=ladder.macros | found)


def _assign(system: System) -> Ladder:
    decode = "gpa, level: arguments (order 9 times the level)"
    if Path("/sys/module/kvm_intel/parameters/tdx").exists() and system.symbols.names("tdh_mem_page_aug"):
        ladder = plain(system, "gmem.assign", "tdh_mem_page_aug", decode)
        parameters = system.btf.parameters("tdh_mem_page_aug") if system.btf else None
        more = {"MT_GMEM_ASSIGN_TDX": "1", "MT_GMEM_ASSIGN_ARGS": str(len(parameters or ()) or 6)}
    else:
        ladder = plain(system, "gmem.assign", "rmp_make_private", f"pfn, {decode}")
        more = {"MT_GMEM_ASSIGN_ARGS": "5"}
    return dataclasses.replace(ladder, macros=ladder.macros | more)


def _split(system: System) -> Ladder:
    ladder = plain(system, "gmem.split", "psmash", "pfn: argument; order: 9, what was split")
    last = tracepoint("gmem.split", "kvm_rmp_fault", "gpa, pfn, psmash_ret: arguments, if rmp_level > 1")
    return dataclasses.replace(ladder, candidates=(*ladder.candidates, last))


def _fallocate(system: System, btf: Btf) -> dict[str, Ladder]:
    """gmem.allocate and gmem.punch: one function serves both."""
    slot, _ = binding(system, btf)
    made = {}
    for event, said in (
        ("gmem.allocate", "bytes: how the file grew meanwhile, by whomever"),
        ("gmem.punch", "bytes: freed inside"),
    ):
        ladder = function_ladder(
            system,
            event,
            ("kvm_gmem_fallocate",),
            f"length: argument; {said}; gfn: where the file is bound",
            _BY_NAME[event].inside,
            name="MT_FN_GMEM_FALLOCATE",
            program="mt_gmem_fallocate",
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
