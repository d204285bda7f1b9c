# SPDX-License-Identifier: Apache-2.0
"""Which kernel function or tracepoint becomes which event, and what its fields say.

An event that several functions could serve takes the first of them that the
files have: they call each other, and one occurrence must not count twice.
Fields are those that a user named after the kernel's parameters, in the
spellings of FIELDS; a field that is not there is unknown.

Sources: mm/memory_hotplug.c, mm/sparse.c, mm/sparse-vmemmap.c, drivers/base/memory.c,
drivers/firmware/efi/unaccepted_memory.c, mm/page_alloc.c, mm/memory.c.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from memtrace.traces.importers.names import function_of
from memtrace.traces.schema import Flag

Fields = Mapping[str, str]
Values = dict[str, Any]

PAGE = 4096
_MAX_ORDER = 10
"""MAX_PAGE_ORDER on x86, the only architecture whose page allocator accepts memory."""

FIELDS: dict[str, tuple[str, ...]] = {
    "nid": ("nid", "node", "nid_requested"),
    "start": ("start", "addr", "paddr", "phys_addr"),
    "end": ("end",),
    "size": ("size", "len", "length"),
    "pfn": ("pfn", "start_pfn"),
    "nr": ("nr", "nr_pages", "npages", "pages"),
    "order": ("order",),
    "gfp": ("gfp", "gfp_mask", "gfp_flags"),
}
"""Spellings of a field in probes that users write."""


@dataclass(frozen=True)
class Topic:
    """An event, what can serve it (the best first), and the columns from entry and return fields."""

    event: str
    sites: tuple[str, ...]
    values: Callable[[Fields, Fields], Values]
    decode: str
    """What the columns are taken from, for the probe manifest."""


def number(fields: Fields, name: str) -> int | None:
    """A field by any of its spellings, None if it is not there or no number."""
    for spelling in FIELDS.get(name, (name,)):
        if (text := fields.get(spelling)) is not None:
            try:
                return int(text, 0)
            except ValueError:
                return None
    return None


def returned(fields: Fields) -> int | None:
    """The one value that a return probe fetched, whatever it is called."""
    for text in fields.values():
        try:
            return int(text, 0)
        except ValueError:
            continue
    return None


def _span(fields: Fields) -> tuple[int | None, int | None]:
    """First page frame and bytes, of (start, size), (start, end) or (pfn, nr)."""
    start, end, size = (number(fields, name) for name in ("start", "end", "size"))
    pfn, pages = number(fields, "pfn"), number(fields, "nr")
    if start is not None:
        pfn = start // PAGE
        if size is None and end is not None:
            size = end - start
    if size is None and pages is not None:
        size = pages * PAGE
    return pfn, size


def _range(entry: Fields, back: Fields) -> Values:
    """A range of memory; an int returned other than 0 is an error."""
    pfn, size = _span(entry)
    failed = returned(back) not in (None, 0)
    return {"pfn": pfn, "bytes": size, "flags": Flag.FAILED if failed else 0}


def _range_on_node(entry: Fields, back: Fields) -> Values:
    return _range(entry, back) | {"nid": number(entry, "nid")}


def _request(entry: Fields, back: Fields) -> Values:
    """add_memory_resource(): its nid may be a memory group, and its end is inclusive (struct resource)."""
    start, end = number(entry, "start"), number(entry, "end")
    values = _range(entry, back)
    if start is not None and end is not None and number(entry, "size") is None:
        values["bytes"] = end - start + 1
    return values


def _memmap(entry: Fields, back: Fields) -> Values:
    """vmemmap_alloc_block(size, node): the node is a wish; NULL is a failure."""
    failed = returned(back) == 0
    return {
        "bytes": number(entry, "size"),
        "nid_requested": number(entry, "nid"),
        "va": returned(back),
        "flags": Flag.FAILED if failed else 0,
    }


def _section(entry: Fields, back: Fields) -> Values:
    """Returns a pointer, or NULL."""
    pfn, size = _span(entry)
    failed = returned(back) == 0
    return {"pfn": pfn, "bytes": size, "nid": number(entry, "nid"), "flags": Flag.FAILED if failed else 0}


def _accept_call(entry: Fields, back: Fields) -> Values:
    """What was asked for; what is accepted may be less or more."""
    pfn, size = _span(entry)
    return {"pfn": pfn, "bytes_requested": size, "flags": Flag.IRQ_OFF}


def _accept_arch(entry: Fields, back: Fields) -> Values:
    pfn, size = _span(entry)
    return {"pfn": pfn, "bytes": size, "flags": Flag.IRQ_OFF}


def _accept_block(entry: Fields, back: Fields) -> Values:
    """One block of the largest order."""
    return {"order": _MAX_ORDER, "bytes": PAGE << _MAX_ORDER, "flags": 0}


def _plain(entry: Fields, back: Fields) -> Values:
    return {"flags": 0}


def _zero_user(entry: Fields, back: Fields) -> Values:
    """clear_huge_page(page, addr_hint, pages) says how much; folio_zero_user(folio, addr_hint) does not."""
    pages = number(entry, "nr")
    order = pages.bit_length() - 1 if pages else None
    return {"bytes": pages * PAGE if pages else None, "order": order, "flags": Flag.ZEROED}


def _alloc(entry: Fields, back: Fields) -> Values:
    """get_page_from_freelist(gfp, order, …), or the tracepoint at the end of an allocation."""
    order, pfn = number(entry, "order"), number(entry, "pfn")
    # The tracepoint prints a failed allocation with pfn -1.
    failed = returned(back) == 0 or entry.get("pfn") in ("0xffffffffffffffff", "-1")
    zeroed = "__GFP_ZERO" in entry.get("gfp_flags", "")
    flags = (Flag.FAILED if failed else 0) | (Flag.ZEROED if zeroed else 0)
    return {
        "order": order,
        "bytes": None if order is None or failed else PAGE << order,
        "pfn": None if failed else pfn,
        "gfp": number(entry, "gfp"),
        "flags": flags,
    }


_HOTPLUG = "arguments, as the probe names them"
TOPICS: tuple[Topic, ...] = (
    Topic(
        "alloc",
        ("get_page_from_freelist", "mm_page_alloc"),
        _alloc,
        "order, gfp: arguments; pfn: the tracepoint that follows",
    ),
    Topic(
        "zero.user", ("folio_zero_user", "clear_huge_page"), _zero_user, "pages: argument, where there is one"
    ),
    Topic(
        "accept.call",
        ("accept_memory",),
        _accept_call,
        "bytes_requested: start and size or end, as the probe names them",
    ),
    Topic(
        "accept.arch",
        ("tdx_accept_memory", "snp_accept_memory", "arch_accept_memory"),
        _accept_arch,
        "pfn, bytes: start and end",
    ),
    Topic(
        "accept.block",
        ("__accept_page", "try_to_accept_memory_one", "try_to_accept_memory"),
        _accept_block,
        "bytes: one block of MAX_PAGE_ORDER",
    ),
    Topic("accept.burst", ("cond_accept_memory",), _plain, "calls only"),
    Topic(
        "hot.request",
        ("add_memory_resource", "__add_memory_resource"),
        _request,
        "start, end or size: arguments",
    ),
    Topic("hot.add", ("arch_add_memory", "__add_pages"), _range_on_node, "nid, start, size: arguments"),
    Topic("hot.section", ("sparse_add_section", "__populate_section_memmap"), _section, _HOTPLUG),
    Topic(
        "hot.memmap",
        ("vmemmap_alloc_block",),
        _memmap,
        "size, requested node: arguments; pfn, nid: of the address returned, without KASLR",
    ),
    Topic("hot.altmap", ("mhp_init_memmap_on_memory",), _range, _HOTPLUG),
    Topic("hot.zone", ("move_pfn_range_to_zone",), _range, _HOTPLUG),
    Topic("hot.init", ("memmap_init_range",), _range_on_node, _HOTPLUG),
    Topic(
        "hot.block",
        ("memory_block_online", "memory_subsys_online"),
        _range,
        "calls only, unless the probe fetches the range",
    ),
    Topic("hot.online", ("online_pages",), _range, "pfn, pages: arguments; nid: of the hot.add around it"),
    Topic("hot.offline", ("offline_pages",), _range, _HOTPLUG),
    Topic("hot.remove", ("arch_remove_memory", "try_remove_memory"), _range, _HOTPLUG),
)
SITES: dict[str, tuple[Topic, int]] = {
    site: (topic, rank) for topic in TOPICS for rank, site in enumerate(topic.sites)
}
"""Function or tracepoint to its topic, and its place among those that serve it."""

MARKS = frozenset(
    (
        "page_alloc_init_late",
        "deferred_init_memmap",
        "deferred_init_memmap_chunk",
        "memblock_free_all",
        "memblock_discard",
        "__free_pages_ok",
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
