# SPDX-License-Identifier: Apache-2.0
"""hot.add, hot.memmap, hot.online: memory added to the running kernel.

Each from entry to return of one function, times nested: hot.add contains
hot.memmap.  The node of hot.add comes from arch_add_memory(), because the nid of
add_memory*() may be a memory group (MHP_NID_IS_MGID, include/linux/memory_hotplug.h).
hot.memmap has the node wished for and the one the struct pages are really on.
"""

from __future__ import annotations

from memtrace.probes.functions import function_ladder
from memtrace.probes.ladder import Ladder
from memtrace.probes.system import System

EVENTS = ("hot.add", "hot.memmap", "hot.online")
SOURCE = "hotplug"
SITES = (
    "MT_SITE_HOT_ADD_FENTRY",
    "MT_SITE_HOT_ADD_KPROBE",
    "MT_SITE_HOT_MEMMAP_FENTRY",
    "MT_SITE_HOT_MEMMAP_KPROBE",
    "MT_SITE_HOT_ONLINE_FENTRY",
    "MT_SITE_HOT_ONLINE_KPROBE",
)
_PARTS = (
    ("hot.add", "arch_add_memory", "ADD", "mt_hot_add", "nid, start, size: arguments", ("hot.memmap",)),
    (
        "hot.memmap",
        "vmemmap_alloc_block",
        "MEMMAP",
        "mt_hot_memmap",
        "size, requested node: arguments; pfn, nid: of the address returned",
        ("alloc", "zero.alloc"),
    ),
    ("hot.online", "online_pages", "ONLINE", "mt_hot_online", "pfn, pages: arguments; nid: page flags", ()),
)


def ladders(system: System, sampling: bool) -> tuple[Ladder, ...]:
    """Each event by fentry/fexit or kprobe/kretprobe; no tracepoint exists."""
    return tuple(
        function_ladder(
            system, event, (function,), f"MT_FN_HOT_{part}", f"MT_SITE_HOT_{part}", program, decode, inside
        )
        for event, function, part, program, decode, inside in _PARTS
    )
