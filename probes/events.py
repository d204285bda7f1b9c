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
    # These five from the outside in, and one after the other: accept.bpf.c compares their numbers.
    Event("accept.burst", "MT_EV_ACCEPT_BURST", "the blocks that one allocation accepted at one go"),
    Event("accept.block", "MT_EV_ACCEPT_BLOCK", "one block of the largest order, accepted for use"),
    Event("accept.call", "MT_EV_ACCEPT_CALL", "one call of accept_memory(), waiting included"),
    Event("accept.arch", "MT_EV_ACCEPT_ARCH", "one range accepted by the platform, interrupts off"),
    Event("accept.step", "MT_EV_ACCEPT_STEP", "one size of page asked of the platform, accepted or refused"),
    Event("hot.add", "MT_EV_HOT_ADD", "one range of memory added to the kernel's map, on its node"),
    Event("hot.memmap", "MT_EV_HOT_MEMMAP", "one block of struct pages allocated for added memory"),
    Event("hot.online", "MT_EV_HOT_ONLINE", "one range of added memory given to the allocator"),
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
