# SPDX-License-Identifier: Apache-2.0
"""gmem.*: private memory of virtual machines, as the host prepares it (guest_memfd, 6.8 on).

The events are declared in gmem_events.py; the ladder of each says how it is seen.
"""

from __future__ import annotations

import dataclasses

from memtrace.probes.sites.ladder import Ladder
from memtrace.probes.sites.system import System
from memtrace.probes.topics.gmem_arguments import counts, offsets
from memtrace.probes.topics.gmem_attach import GUEST, plain, tracepoint, with_helpers
from memtrace.probes.topics.gmem_convert import convert_ladder
from memtrace.probes.topics.gmem_events import BY_NAME, EVENTS
from memtrace.probes.topics.gmem_first import first_use
from memtrace.probes.topics.gmem_lookup import get_ladder, map_ladder, prepare_ladder, zero_ladder
from memtrace.probes.topics.gmem_range import assign_ladder, fallocate_ladders, populate_ladder, split_ladder
from memtrace.traces.run import Refusal

__all__ = ["EVENTS", "SOURCES", "ladders", "why_none"]

SOURCES = ("topics/gmem", "topics/gmem_lookup", "topics/gmem_range")
_HELPERS = ("FALLOCATE", "LOOKUP", "FOLIO", "CHANGE", "DETAIL", "DESTROY")
_FUNCTIONS = frozenset(
    f"MT_FN_GMEM_{part}"
    for part in (*(event.name.removeprefix("gmem.").upper() for event in EVENTS), *_HELPERS)
)
"""Macros that compile the programs of one event; all other macros are shared."""

DETAIL = "kvm_tdp_page_fault"


def ladders(system: System, sampling: bool) -> tuple[Ladder, ...]:
    """Return a ladder for each event; all are empty, for one reason, where KVM has no guest_memfd to see."""
    refusal = why_none(system)
    btf = None if refusal else system.kvm_btf
    macros = offsets(btf) if btf else None
    if refusal is None and macros is None:
        refusal = Refusal("kvm", "not known", "no BTF of KVM to tell where its structures hold what")
    if refusal is not None or btf is None or macros is None:
        return tuple(Ladder(event.name, (), (refusal,) if refusal else ()) for event in EVENTS)
    get, first = get_ladder(system, btf), first_use(system, btf)
    made = {
        "gmem.fault": _fault(system),
        "gmem.get": get,
        "gmem.map": map_ladder(system, btf),
        "gmem.zero": zero_ladder(system, btf, get, first),
        "gmem.prepare": prepare_ladder(system, btf, get, first),
        "gmem.assign": assign_ladder(system),
        "gmem.split": split_ladder(system),
        **fallocate_ladders(system, btf),
        "gmem.free": plain(system, "gmem.free", "kvm_gmem_free_folio", "folio: argument; gfn: in a hole"),
        "gmem.convert": convert_ladder(system),
        "gmem.populate": populate_ladder(system, btf),
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
    """Return why no event of guest_memfd can be seen here, or None if some can."""
    if not system.symbols.names("kvm_vcpu_ioctl"):
        if system.config.get("CONFIG_KVM") == "n":
            return Refusal("kvm", "config missing", "this kernel has no KVM: CONFIG_KVM is not set")
        return Refusal(
            "kvm",
            "not loaded",
            "KVM is not loaded: modprobe kvm_amd or kvm_intel before recording gmem events",
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
        BY_NAME["gmem.fault"].inside,
    )
    helpers = {
        "MT_FN_GMEM_DETAIL": (DETAIL, "entry", "mt_gmem_detail"),
        "MT_FN_GMEM_DESTROY": ("kvm_arch_destroy_vm", "entry", "mt_gmem_destroy"),
    }
    ladder = with_helpers(system, ladder, helpers)
    last = tracepoint("gmem.fault", "kvm_page_fault", "vcpu, gpa: arguments; how it ended: not seen")
    return dataclasses.replace(ladder, candidates=(*ladder.candidates, last))
