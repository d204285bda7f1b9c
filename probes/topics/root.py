# SPDX-License-Identifier: Apache-2.0
"""root.*: why memory was wanted, by the functions around its allocation and zeroing.

Each event is one function, from entry to return.  They nest: a populate call contains
faults, a fault contains the allocation of a page table.  What is allocated or zeroed
inside is attributed to the outermost root and, apart from it, to the innermost.  The
frames of nest.h carry both, so that this costs an event nothing, and the sums come with
the tasks (tasks.h), order 0 included.

An interrupt's work is attributed to the root that it interrupted.  Work without a root
is neither a fault nor any other of these events: drivers, network buffers, file systems.

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
from memtrace.probes.topics.event import Event
from memtrace.traces.run import Refusal


def _root(name: str, doc: str, *functions: str, about: str = "") -> Event:
    return Event(
        name,
        doc,
        functions,
        about=about,
        inside=("alloc", "zero.alloc", "zero.user", "zero.page"),
        asked=True,
    )


EVENTS = (
    _root("root.fault", "one page fault, of any kind", "handle_mm_fault"),
    _root(
        "root.thp_fault",
        "one fault on anonymous memory that may take a huge page",
        "do_huge_pmd_anonymous_page",
    ),
    _root("root.hugetlb_fault", "one fault on hugetlb memory", "hugetlb_fault"),
    _root(
        "root.cow",
        "one write to a page that is shared for reading (copy on write)",
        "wp_page_copy",
        "do_wp_page",
    ),
    _root("root.populate", "one range made present at once (mlock, MAP_POPULATE)", "__mm_populate"),
    _root(
        "root.pin",
        "one range pinned for long (VFIO, iommufd, io_uring, RDMA)",
        "__gup_longterm_locked",
        "pin_user_pages_remote",
    ),
    _root(
        "root.hugetlb_pool",
        "one change of the number of hugetlb pages",
        "__nr_hugepages_store_common",
        "set_max_huge_pages",
    ),
    _root(
        "root.shmem",
        "one page of shared memory or tmpfs looked up or made",
        "shmem_get_folio_gfp",
        "shmem_getpage_gfp",
    ),
    _root(
        "root.page_cache",
        "one page cache folio allocated",
        "filemap_alloc_folio_noprof",
        "filemap_alloc_folio",
    ),
    _root("root.slab", "one slab of kernel objects allocated", "allocate_slab", "new_slab"),
    _root("root.page_table", "one page of page table entries allocated", "pte_alloc_one"),
    _root(
        "root.vmalloc",
        "one range of vmalloc memory allocated",
        "__vmalloc_node_range_noprof",
        "__vmalloc_node_range",
    ),
    _root(
        "root.khugepaged", "one huge page made of small ones", "collapse_huge_page", "hpage_collapse_scan_pmd"
    ),
    _root("root.compaction", "one zone compacted", "compact_zone"),
    _root(
        "root.guest_memfd",
        "private memory of a VM looked up or given back",
        "kvm_gmem_get_pfn",
        about="Also a range preallocated, given back or filled. What KVM zeroes of it is gmem.zero.",
    ),
)
"""Their numbers are consecutive: root.bpf.c numbers its sites by them."""
SOURCES = ("topics/root",)
_OTHERS: dict[str, tuple[str, ...]] = {"root.guest_memfd": ("kvm_gmem_fallocate", "kvm_gmem_populate")}
"""More functions of an event; each is hooked too if it can be."""


def ladders(system: System, sampling: bool) -> tuple[Ladder, ...]:
    """Return a ladder for each event, by kprobe and kretprobe; that of root.fault has fentry/fexit first.

    All kprobes share one pair of programs.
    """
    return tuple(_ladder(system, event) for event in EVENTS)


def _ladder(system: System, event: Event) -> Ladder:
    function = resolve(system, event.functions)
    refusal = why_untraceable(system, function or event.functions[0])
    if refusal is not None or function is None:
        return Ladder(event.name, (), (refusal,) if refusal else ())
    candidates: list[Candidate] = []
    macros: dict[str, str] = {}
    candidate = partial(
        Candidate.on,
        function,
        event=event.name,
        decode="time: entry to return",
        inclusive_of=event.inside,
        standalone=True,
    )
    if event.name == "root.fault" and "." not in function:
        macros["MT_FN_ROOT_FAULT"] = function
        candidates.append(candidate("fentry", partial(Module.attach_fentry, function=function)))
    refused = why_no_kprobes(system)
    symbol = system.symbols.one(function)
    if refused is None and symbol is None:
        refused = Refusal(function, "absent", "no address (kptr_restrict), or several functions of the name")
    if refused is None and symbol is not None:
        hooked = [symbol, *_others(system, event.name)]
        attach = partial(_attach, functions={s.name: s.address for s in hooked}, event=event)
        candidates.append(candidate("kprobe", attach))
    return Ladder(event.name, tuple(candidates), (refused,) if refused else (), macros)


def _others(system: System, event: str) -> list[Symbol]:
    found = [resolve(system, (stem,)) for stem in _OTHERS.get(event, ())]
    symbols = [system.symbols.one(name) for name in found if name and not why_untraceable(system, name)]
    return [symbol for symbol in symbols if symbol is not None]


def _attach(module: Module, functions: Mapping[str, int], event: Event) -> None:
    for function, address in functions.items():
        module.update("mt_root_of", ctypes.c_uint64(address), ctypes.c_uint32(module.number(event.macro)))
        module.attach_kretprobe(function, "mt_root_kretprobe")
        module.attach_kprobe(function, "mt_root_kprobe")
