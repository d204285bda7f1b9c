# SPDX-License-Identifier: Apache-2.0
"""Which kernel function or tracepoint becomes which event.

An event that several functions could serve takes the first of them that the
files have: they call each other, and one occurrence must not count twice.  The
functions are those of the probes of the same events (probes/topics/accept.py,
probes/topics/hotplug.py), and some that only saved traces have.

Sources: mm/memory_hotplug.c, mm/sparse.c, mm/sparse-vmemmap.c, drivers/base/memory.c,
drivers/firmware/efi/unaccepted_memory.c, mm/page_alloc.c, mm/memory.c.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from memtrace.traces.importers import fields
from memtrace.traces.importers.fields import Fields, Values
from memtrace.traces.importers.names import function_of

_AS_NAMED = "arguments, as the probe names them"


@dataclass(frozen=True)
class Site:
    """A function or tracepoint, how its fields are read, and that in words."""

    name: str
    values: Callable[[Fields, Fields], Values]
    decode: str = _AS_NAMED


@dataclass(frozen=True)
class Topic:
    """An event, and what can serve it, the best first."""

    event: str
    """"" for what makes no rows of its own, but tells of what is around it."""
    sites: tuple[Site, ...]
    collects: tuple[str, ...] = ()
    """Events and functions inside, that tell what this one did."""
    ended_by: str = ""
    """Where only entries are traced: the function that is called right after it,"""
    callers: frozenset[str] = frozenset()
    """by these callers and no others."""


def _topic(
    event: str,
    *sites: Site,
    collects: tuple[str, ...] = (),
    ended_by: str = "",
    callers: frozenset[str] = frozenset(),
) -> Topic:
    return Topic(event, sites, collects, ended_by, callers)


_RANGE = fields.memory_range
_BY_FREEING = "__free_pages_ok"
_FREEING = frozenset(
    (
        *("__accept_page", "accept_page", "try_to_accept_memory_one", "try_to_accept_memory"),
        *("__free_pages_core", "deferred_free_pages", "deferred_free_range"),
        *("deferred_init_maxorder", "cond_accept_memory", "get_page_from_freelist"),
    )
)
"""What accepts memory for the page allocator, and frees it to the allocator with nothing between
(mm/page_alloc.c, mm/mm_init.c); the last three where it is inlined into them."""
TOPICS: tuple[Topic, ...] = (
    _topic(
        "alloc",
        Site("get_page_from_freelist", fields.alloc, "order, gfp: arguments; pfn: the tracepoint after it"),
        Site("mm_page_alloc", fields.alloc, "pfn, order, gfp: the tracepoint's fields"),
    ),
    _topic(
        "zero.user",
        Site("folio_zero_user", fields.folio, "the folio's size is not printed"),
        Site("clear_huge_page", fields.folio, "pages: argument"),
    ),
    _topic(
        "accept.burst",
        Site("cond_accept_memory", fields.accept_burst, "order: argument; bytes: accept.block's"),
        Site("try_to_accept_memory", fields.accept_burst, "order: argument; bytes: accept.block's"),
        collects=("accept.block", "accept.call"),
    ),
    _topic(
        "accept.block",
        Site("__accept_page", fields.accept_block, "pfn: accept.call's; bytes: the largest order"),
        Site("try_to_accept_memory_one", fields.accept_block, "pfn: accept.call's; bytes: the largest order"),
        collects=("accept.call",),
    ),
    _topic(
        "accept.call",
        Site(
            "accept_memory",
            fields.accept_call,
            "bytes_requested: start, size or end, as the probe names it",
        ),
        collects=("accept.arch",),
        ended_by=_BY_FREEING,
        callers=_FREEING,
    ),
    _topic(
        "accept.arch",
        Site("tdx_accept_memory", fields.accept_arch),
        Site("snp_accept_memory", fields.accept_arch),
        Site("unaccepted_emul_accept", fields.accept_arch),
        Site("arch_accept_memory", fields.accept_arch),
        ended_by=_BY_FREEING,
        callers=frozenset(("accept_memory",)),
    ),
    _topic(
        "hot.request",
        Site("__add_memory_resource", fields.resource),
        Site("add_memory_resource", fields.resource),
        Site("__add_memory", fields.resource),
    ),
    _topic("hot.add", Site("arch_add_memory", _RANGE), Site("__add_pages", _RANGE)),
    _topic(
        "hot.section",
        Site("sparse_add_section", fields.section),
        Site("__populate_section_memmap", fields.pointer_range),
    ),
    _topic(
        "hot.memmap",
        Site(
            "vmemmap_alloc_block",
            fields.memmap,
            "size, requested node: arguments; pfn: of the address",
        ),
    ),
    _topic("hot.altmap", Site("mhp_init_memmap_on_memory", _RANGE)),
    _topic("hot.init", Site("memmap_init_range", fields.pages_range)),
    _topic("hot.zone", Site("move_pfn_range_to_zone", fields.pages_range)),
    _topic(
        "hot.online",
        Site("online_pages", fields.online, "pfn, pages: arguments; bytes: generic_online_page()'s"),
        collects=("generic_online_page",),
    ),
    _topic("hot.block", Site("memory_subsys_online", _RANGE), Site("memory_block_online", _RANGE)),
    _topic("hot.offline", Site("offline_pages", _RANGE)),
    _topic("hot.remove", Site("try_remove_memory", _RANGE), Site("arch_remove_memory", _RANGE)),
    _topic(
        "gmem.fault",
        Site(
            "kvm_page_fault",
            fields.guest_fault,
            "gfn, vcpu: the tracepoint's fields; private: KVM's bit of error_code; end and VM: not printed",
        ),
    ),
    _topic(
        "gmem.split",
        Site("kvm_rmp_fault", fields.guest_split, "gfn, vcpu, failed: the tracepoint's fields"),
    ),
    _topic("", Site("generic_online_page", fields.page_order)),
    _topic("", Site(_BY_FREEING, fields.plain)),
)
SITES: dict[str, tuple[Topic, Site, int]] = {
    site.name: (topic, site, rank) for topic in TOPICS for rank, site in enumerate(topic.sites)
}
"""A function or tracepoint: its topic, how it is read, its place among those that serve the event."""

EVENTS = frozenset(("mm_page_alloc", "kvm_page_fault", "kvm_rmp_fault"))
"""Those of SITES that are tracepoints."""

MARKS = frozenset(
    (
        "page_alloc_init_late",
        "deferred_init_memmap",
        "deferred_init_memmap_chunk",
        "memblock_free_all",
        "memblock_discard",
        "console",
        "smp_init",
        "initcall_level",
        "initcall_start",
        "initcall_finish",
        "memtrace",
        "tracing_mark_write",
        "print",
    )
)
"""What says where the boot is, and makes no rows."""


class Wanted(dict[str, str]):
    """A name as printed to the name in SITES or MARKS; "" for all others, each decided once."""

    def __missing__(self, printed: str) -> str:
        name = function_of(printed)
        found = name if name in SITES or name in MARKS else ""
        self[printed] = found
        return found
