# SPDX-License-Identifier: Apache-2.0
"""The logical events a user asks for, and the numbers they have in a record."""

from __future__ import annotations

from dataclasses import dataclass

from memtrace.errors import MemtraceError


@dataclass(frozen=True)
class Event:
    """A logical event: its name, the name of its number in BPF C, and what one occurrence is."""

    name: str
    macro: str
    doc: str


EVENTS: tuple[Event, ...] = (
    Event("alloc", "MT_EV_ALLOC", "one successful page allocation"),
    Event("zero.alloc", "MT_EV_ZERO_ALLOC", "the pages that the allocator cleared for one allocation"),
    Event("zero.user", "MT_EV_ZERO_USER", "one folio cleared by the caller (THP, hugetlb)"),
    Event("zero.page", "MT_EV_ZERO_PAGE", "one page cleared by a caller that clears page by page (shmem)"),
    Event("zero.free", "MT_EV_ZERO_FREE", "one page cleared as it is freed (init_on_free)"),
    # These five from the outside in, and one after the other: accept.bpf.c compares their numbers.
    Event("accept.burst", "MT_EV_ACCEPT_BURST", "the blocks that one allocation accepted at one go"),
    Event("accept.block", "MT_EV_ACCEPT_BLOCK", "one block of the largest order, accepted for use"),
    Event("accept.call", "MT_EV_ACCEPT_CALL", "one call of accept_memory(), waiting included"),
    Event("accept.arch", "MT_EV_ACCEPT_ARCH", "one range accepted by the platform, interrupts off"),
    Event("accept.step", "MT_EV_ACCEPT_STEP", "one size of page asked of the platform, accepted or refused"),
    Event("hot.request", "MT_EV_HOT_REQUEST", "one request to add memory, to its end"),
    Event("hot.add", "MT_EV_HOT_ADD", "one range of memory added to the kernel's map, on its node"),
    Event("hot.section", "MT_EV_HOT_SECTION", "one section given its struct pages"),
    Event("hot.memmap", "MT_EV_HOT_MEMMAP", "one block of struct pages allocated for added memory"),
    Event("hot.altmap", "MT_EV_HOT_ALTMAP", "struct pages of a memory block inside that block"),
    Event("hot.init", "MT_EV_HOT_INIT", "struct pages of a range initialised"),
    Event("hot.zone", "MT_EV_HOT_ZONE", "one range made part of a zone"),
    Event("hot.online", "MT_EV_HOT_ONLINE", "one range of added memory given to the allocator"),
    Event("hot.block", "MT_EV_HOT_BLOCK", "one memory block brought online"),
    Event("hot.offline", "MT_EV_HOT_OFFLINE", "one range taken from the allocator, or the refusal of it"),
    Event("hot.remove", "MT_EV_HOT_REMOVE", "one range removed from the kernel's map"),
    Event("root.fault", "MT_EV_ROOT_FAULT", "one page fault, of any kind"),
    Event(
        "root.thp_fault", "MT_EV_ROOT_THP_FAULT", "one fault on anonymous memory that may take a huge page"
    ),
    Event("root.hugetlb_fault", "MT_EV_ROOT_HUGETLB_FAULT", "one fault on hugetlb memory"),
    Event("root.cow", "MT_EV_ROOT_COW", "one write to a page that is shared for reading (copy on write)"),
    Event("root.populate", "MT_EV_ROOT_POPULATE", "one range made present at once (mlock, MAP_POPULATE)"),
    Event("root.pin", "MT_EV_ROOT_PIN", "one range pinned for long (VFIO, iommufd, io_uring, RDMA)"),
    Event("root.hugetlb_pool", "MT_EV_ROOT_HUGETLB_POOL", "one change of the number of hugetlb pages"),
    Event("root.shmem", "MT_EV_ROOT_SHMEM", "one page of shared memory or tmpfs looked up or made"),
    Event("root.page_cache", "MT_EV_ROOT_PAGE_CACHE", "one page cache folio allocated"),
    Event("root.slab", "MT_EV_ROOT_SLAB", "one slab of kernel objects allocated"),
    Event("root.page_table", "MT_EV_ROOT_PAGE_TABLE", "one page of page table entries allocated"),
    Event("root.vmalloc", "MT_EV_ROOT_VMALLOC", "one range of vmalloc memory allocated"),
    Event("root.khugepaged", "MT_EV_ROOT_KHUGEPAGED", "one huge page made of small ones"),
    Event("root.compaction", "MT_EV_ROOT_COMPACTION", "one zone compacted"),
    Event("root.guest_memfd", "MT_EV_ROOT_GUEST_MEMFD", "private memory of a VM looked up or given back"),
    Event("gmem.fault", "MT_EV_GMEM_FAULT", "one page fault of a VM that can have private memory"),
    Event("gmem.get", "MT_EV_GMEM_GET", "one page of a guest_memfd looked up or made for a guest"),
    Event("gmem.zero", "MT_EV_GMEM_ZERO", "one folio of a guest_memfd cleared before its first use"),
    Event("gmem.prepare", "MT_EV_GMEM_PREPARE", "one folio made private by the architecture's hook"),
    Event("gmem.assign", "MT_EV_GMEM_ASSIGN", "one page given to a guest in the RMP or the secure EPT"),
    Event("gmem.split", "MT_EV_GMEM_SPLIT", "one 2 MiB entry of the RMP split into 4 KiB ones (PSMASH)"),
    Event("gmem.allocate", "MT_EV_GMEM_ALLOCATE", "one range of a guest_memfd preallocated"),
    Event("gmem.punch", "MT_EV_GMEM_PUNCH", "one hole punched into a guest_memfd"),
    Event("gmem.free", "MT_EV_GMEM_FREE", "one folio of a guest_memfd given back"),
    Event("gmem.convert", "MT_EV_GMEM_CONVERT", "one call that makes guest memory private or shared"),
    Event("gmem.populate", "MT_EV_GMEM_POPULATE", "one range filled with initial contents"),
    Event("gmem.prefault", "MT_EV_GMEM_PREFAULT", "one KVM_PRE_FAULT_MEMORY call"),
)
NAMES: tuple[str, ...] = tuple(e.name for e in EVENTS)
ROOTS: tuple[str, ...] = tuple(name for name in NAMES if name.startswith("root."))
"""Why memory was wanted: not recorded unless asked for, because one of them is in every page fault."""
GUESTS: tuple[str, ...] = tuple(name for name in NAMES if name.startswith("gmem."))
"""Private memory of virtual machines: not recorded unless asked for, because their every fault is one."""
DEFAULT: tuple[str, ...] = tuple(name for name in NAMES if name not in ROOTS + GUESTS)


def select(wanted: tuple[str, ...]) -> tuple[str, ...]:
    """Event names for ``-e``: full names, or a prefix such as ``zero`` for all below it
    (``hotplug`` stands for ``hot``); for nothing, DEFAULT.

    Raises MemtraceError for a name that matches nothing.
    """
    if not wanted:
        return DEFAULT
    chosen: list[str] = []
    for word in wanted:
        prefix = "hot" if word == "hotplug" else word
        found = [n for n in NAMES if n == word or n.startswith(prefix + ".")]
        if not found:
            raise MemtraceError(f"unknown event {word!r}: `memtrace probes` lists {', '.join(NAMES)}", 2)
        chosen += [n for n in found if n not in chosen]
    return tuple(n for n in NAMES if n in chosen)
