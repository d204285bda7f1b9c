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
    Event("accept.call", "MT_EV_ACCEPT_CALL", "one call of accept_memory(), for the range it was asked for"),
    Event("hot.add", "MT_EV_HOT_ADD", "one range of memory added to the kernel's map, on its node"),
    Event("hot.memmap", "MT_EV_HOT_MEMMAP", "one block of struct pages allocated for added memory"),
    Event("hot.online", "MT_EV_HOT_ONLINE", "one range of added memory given to the allocator"),
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


def select(wanted: tuple[str, ...]) -> tuple[str, ...]:
    """Event names for ``-e``: full names, or a prefix such as ``zero`` for all below it
    (``hotplug`` stands for ``hot``).

    Raises MemtraceError for a name that matches nothing.
    """
    if not wanted:
        return NAMES
    chosen: list[str] = []
    for word in wanted:
        prefix = "hot" if word == "hotplug" else word
        found = [n for n in NAMES if n == word or n.startswith(prefix + ".")]
        if not found:
            raise MemtraceError(f"unknown event {word!r}: `memtrace probes` lists {', '.join(NAMES)}", 2)
        chosen += [n for n in found if n not in chosen]
    return tuple(n for n in NAMES if n in chosen)
