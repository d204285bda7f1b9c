# SPDX-License-Identifier: Apache-2.0
"""root.*: why memory was wanted, by the functions around its allocation and clearing.

Each is one function, from entry to return.  They nest: a populate call contains
faults, a fault a page table.  What is allocated or cleared inside is attributed to
the outermost root and, apart from it, to the innermost; the frames of nest.h carry
both, so that it costs an occurrence nothing, and the sums come with the tasks
(tasks.h), order 0 included.

An interrupt's work is attributed to the root it interrupted.  Work without a root
is neither a fault nor any other of these: drivers, network buffers, file systems.

Anonymous, file and copied pages of a fault are told apart by the gfp flags of
their allocation (analyzer/zero/kinds.py), not by probes in every fault.
"""

from __future__ import annotations

import ctypes
from collections.abc import Mapping
from functools import partial

from memtrace.probes.programs.module import Module
from memtrace.probes.sites.ladder import Candidate, Ladder, resolve, why_no_kprobes, why_untraceable
from memtrace.probes.sites.symbols import Symbol
from memtrace.probes.sites.system import System
from memtrace.probes.topics.events import NAMES, ROOTS
from memtrace.traces.run import Refusal

EVENTS = ROOTS
SOURCE = "topics/root"
_FUNCTIONS: dict[str, tuple[str, ...]] = {
    "root.fault": ("handle_mm_fault",),
    "root.thp_fault": ("do_huge_pmd_anonymous_page",),
    "root.hugetlb_fault": ("hugetlb_fault",),
    "root.cow": ("wp_page_copy", "do_wp_page"),
    "root.populate": ("__mm_populate",),
    "root.pin": ("__gup_longterm_locked", "pin_user_pages_remote"),
    "root.hugetlb_pool": ("__nr_hugepages_store_common", "set_max_huge_pages"),
    "root.shmem": ("shmem_get_folio_gfp", "shmem_getpage_gfp"),
    "root.page_cache": ("filemap_alloc_folio_noprof", "filemap_alloc_folio"),
    "root.slab": ("allocate_slab", "new_slab"),
    "root.page_table": ("pte_alloc_one",),
    "root.vmalloc": ("__vmalloc_node_range_noprof", "__vmalloc_node_range"),
    "root.khugepaged": ("collapse_huge_page", "hpage_collapse_scan_pmd"),
    "root.compaction": ("compact_zone",),
    "root.guest_memfd": ("kvm_gmem_get_pfn",),
}
"""The function that stands for each event: the first that this kernel has."""
_OTHERS: dict[str, tuple[str, ...]] = {"root.guest_memfd": ("kvm_gmem_fallocate", "kvm_gmem_populate")}
"""More functions of an event, each hooked as well where it can be."""


def _site(event: str) -> str:
    return "MT_SITE_" + event.upper().replace(".", "_")


SITES = (*(f"{_site(event)}_KPROBE" for event in ROOTS), "MT_SITE_ROOT_FAULT_FENTRY")


def ladders(system: System, sampling: bool) -> tuple[Ladder, ...]:
    """Each event by one kprobe and kretprobe that all share; the fault by fentry/fexit first."""
    return tuple(_ladder(system, event, _FUNCTIONS[event]) for event in ROOTS)


def _ladder(system: System, event: str, stems: tuple[str, ...]) -> Ladder:
    function = resolve(system, stems)
    refusal = why_untraceable(system, function or stems[0])
    if refusal is not None or function is None:
        return Ladder(event, (), (refusal,) if refusal else ())
    candidates: list[Candidate] = []
    macros: dict[str, str] = {}
    candidate = partial(
        Candidate.on,
        function,
        event=event,
        stem=_site(event),
        decode="time: entry to return",
        inclusive_of=("alloc", "zero.alloc", "zero.user", "zero.page"),
        standalone=True,
    )
    if event == "root.fault" and "." not in function:
        macros["MT_FN_ROOT_FAULT"] = function
        candidates.append(candidate("fentry", partial(Module.attach_fentry, function=function)))
    refused = why_no_kprobes(system)
    symbol = system.symbols.one(function)
    if refused is None and symbol is None:
        refused = Refusal(function, "absent", "no address (kptr_restrict), or several functions of the name")
    if refused is None and symbol is not None:
        hooked = [symbol, *_others(system, event)]
        attach = partial(_attach, functions={s.name: s.address for s in hooked}, event=event)
        candidates.append(candidate("kprobe", attach))
    return Ladder(event, tuple(candidates), (refused,) if refused else (), macros)


def _others(system: System, event: str) -> list[Symbol]:
    found = [resolve(system, (stem,)) for stem in _OTHERS.get(event, ())]
    symbols = [system.symbols.one(name) for name in found if name and not why_untraceable(system, name)]
    return [symbol for symbol in symbols if symbol is not None]


def _attach(module: Module, functions: Mapping[str, int], event: str) -> None:
    for function, address in functions.items():
        module.update("mt_root_of", ctypes.c_uint64(address), ctypes.c_uint32(NAMES.index(event)))
        module.attach_kretprobe(function, "mt_root_kretprobe")
        module.attach_kprobe(function, "mt_root_kprobe")
