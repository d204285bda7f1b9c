# SPDX-License-Identifier: Apache-2.0
"""Fields of a line: ``name=value`` words, and the columns that functions of one kind tell.

A probe's fields have the names that its user chose; those of the kernel's
parameters, in the spellings of SPELLINGS, are understood.  A field that is not
there is unknown.  Each decoder takes the fields of entry and return.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from memtrace.traces.derived import GFP_ZERO
from memtrace.traces.schema import Flag

Fields = Mapping[str, str]
Values = dict[str, Any]

PAGE = 4096
MAX_ORDER = 10
"""MAX_PAGE_ORDER on x86, the only architecture whose page allocator accepts memory."""

LARGEST_ORDER = 20
"""Of a block or a huge page: 1 GiB is of order 18, and no page is larger than 4 GiB."""

SPELLINGS: dict[str, tuple[str, ...]] = {
    "nid": ("nid", "node"),
    "start": ("start", "addr", "paddr", "phys_addr"),
    "end": ("end",),
    "size": ("size", "len", "length"),
    "pfn": ("pfn", "start_pfn"),
    "nr": ("nr", "nr_pages", "npages", "pages"),
    "gfp": ("gfp", "gfp_mask", "gfp_flags"),
    "vcpu": ("vcpu", "vcpu_id"),
    "address": ("address", "fault_address"),
    "level": ("rmp_level",),
}


def words(args: str) -> dict[str, str]:
    """``name=value`` words, the first of each name; or ``name value`` pairs, as kvm's events print."""
    found: dict[str, str] = {}
    if "=" not in args:
        parts = args.split()
        return dict(zip(parts[::2], parts[1::2], strict=False))
    for word in args.split():
        name, equals, value = word.partition("=")
        if equals:
            found.setdefault(name, value)
    return found


def number(fields: Fields, name: str, base: int = 0) -> int | None:
    """A field by any of its spellings, None if it is not there or no number.

    ``base`` 0: as its prefix says; 16: whether it has one or not.
    """
    for spelling in SPELLINGS.get(name, (name,)):
        if (text := fields.get(spelling)) is not None:
            try:
                return int(text, base)
            except ValueError:
                return None
    return None


def returned(fields: Fields) -> int | None:
    """The value that a return probe fetched, whatever it is called; None if none."""
    for text in fields.values():
        try:
            return int(text, 0)
        except ValueError:
            continue
    return None


def error_of(fields: Fields) -> int | None:
    """The errno of a returned int, 0 for none; a probe may have printed it unsigned."""
    value = returned(fields)
    if value is None:
        return None
    if value >= 1 << 31:
        value -= 1 << (64 if value >> 32 else 32)
    return -value


def span(fields: Fields) -> tuple[int | None, int | None]:
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


def block_bytes(order: int | None) -> int | None:
    """Bytes of a block; None if the order is unknown or can't be (rows.py then refuses its line)."""
    return None if order is None or not 0 <= order <= LARGEST_ORDER else PAGE << order


def plain(entry: Fields, back: Fields) -> Values:
    """Nothing but the occurrence."""
    return {}


def memory_range(entry: Fields, back: Fields) -> Values:
    """A range and perhaps its node; an int other than 0 returned is an error."""
    pfn, size = span(entry)
    values: Values = {"pfn": pfn, "bytes": size, "nid": number(entry, "nid")}
    if error := error_of(back):
        values |= {"flags": Flag.FAILED, "error": error, "bytes": 0, "bytes_requested": size}
    return values


def section(entry: Fields, back: Fields) -> Values:
    """As memory_range(), with the altmap where the struct pages lie inside the memory."""
    values = memory_range(entry, back)
    if number(entry, "altmap"):
        values["flags"] = values.get("flags", 0) | Flag.ALTMAP
    return values


def pages_range(entry: Fields, back: Fields) -> Values:
    """As memory_range(), of a function whose ``size`` is in pages and that returns nothing."""
    pages = number(entry, "size")
    pfn, size = span({name: text for name, text in entry.items() if name != "size"})
    return {"pfn": pfn, "bytes": size if pages is None else pages * PAGE, "nid": number(entry, "nid")}


def pointer_range(entry: Fields, back: Fields) -> Values:
    """As section(), of a function that returns a pointer, NULL if it failed."""
    values = section(entry, {})
    if returned(back) == 0:
        values |= {"flags": Flag.FAILED, "bytes": 0, "bytes_requested": values["bytes"]}
    return values


def resource(entry: Fields, back: Fields) -> Values:
    """A struct resource's end is its last byte; the nid may be a memory group (flags bit 2)."""
    values = memory_range(entry, back)
    start, end, flags = (number(entry, name) for name in ("start", "end", "flags"))
    if start is not None and end is not None and number(entry, "size") is None:
        whole = "bytes_requested" if "error" in values else "bytes"
        values[whole] = end - start + 1
    # MHP_NID_IS_MGID, include/linux/memory_hotplug.h; without the flags the nid means nothing.
    if flags is None or flags & 4:
        values["nid"] = None
    return values


def memmap(entry: Fields, back: Fields) -> Values:
    """vmemmap_alloc_block(size, node): the node is a wish; an address in the direct map returned."""
    address, size = returned(back), number(entry, "size")
    values: Values = {"bytes": size, "nid_requested": number(entry, "nid"), "address": address}
    if address == 0:
        values |= {"flags": Flag.FAILED, "bytes": 0, "bytes_requested": size}
    return values


def online(entry: Fields, back: Fields) -> Values:
    """online_pages(): what was asked for; what is given is counted by generic_online_page()."""
    return {"bytes_requested": span(entry)[1]} | memory_range(entry, back)


def page_order(entry: Fields, back: Fields) -> Values:
    """One page of an order."""
    order = number(entry, "order")
    return {"order": order, "bytes": block_bytes(order)}


def accept_call(entry: Fields, back: Fields) -> Values:
    """What was asked for; what is accepted may be less or more."""
    pfn, size = span(entry)
    return {"pfn": pfn, "bytes_requested": size}


def accept_arch(entry: Fields, back: Fields) -> Values:
    """start and end; whether interrupts are off in between depends on the caller (rows.py)."""
    pfn, size = span(entry)
    return {"pfn": pfn, "bytes": size}


def accept_block(entry: Fields, back: Fields) -> Values:
    """One block of the largest order, whatever order was asked for."""
    return {"bytes": PAGE << MAX_ORDER}


def accept_burst(entry: Fields, back: Fields) -> Values:
    """The order asked for; whether anything was accepted, where the return value tells."""
    return {"order": number(entry, "order"), "accepted": returned(back)}


def folio(entry: Fields, back: Fields) -> Values:
    """clear_huge_page(page, addr_hint, pages) says how much; folio_zero_user(folio, addr_hint) does not."""
    pages = number(entry, "nr")
    order = pages.bit_length() - 1 if pages else None
    return {"bytes": pages * PAGE if pages else None, "order": order, "flags": Flag.ZEROED}


def guest_fault(entry: Fields, back: Fields) -> Values:
    """kvm:kvm_page_fault, as a fault begins; where it was, and in what memory, guests.py tells."""
    return {"vcpu": number(entry, "vcpu")}


def guest_split(entry: Fields, back: Fields) -> Values:
    """kvm:kvm_rmp_fault: a 2 MiB entry of the RMP split, or not (psmash_ret); gpa has no 0x before it."""
    gpa, failed = number(entry, "gpa", 16), number(entry, "psmash_ret") != 0
    gfn = None if gpa is None else gpa // PAGE
    # At 4 KiB (PG_LEVEL_4K) there is nothing to split.
    level = number(entry, "level")
    nothing = level is not None and level <= 1
    pfn = number(entry, "pfn")
    return {
        "gfn": gfn,
        "pfn": None if pfn is None else pfn & ~511,
        "vcpu": number(entry, "vcpu"),
        "order": 9,
        "bytes": 0 if failed or nothing else PAGE << 9,
        "flags": Flag.PRIVATE | Flag.FAILED * failed | Flag.NOOP * nothing,
    }


def alloc(entry: Fields, back: Fields) -> Values:
    """get_page_from_freelist(gfp, order, …) and the tracepoint kmem:mm_page_alloc.

    ``asked``: whether zeroed memory was; None if the flags were not printed.
    """
    order, pfn, gfp = (number(entry, name) for name in ("order", "pfn", "gfp"))
    # The tracepoint has pfn -1 for an allocation that failed, and prints 0; frame 0 is never free.
    failed = returned(back) == 0 or pfn in (0, -1, (1 << 64) - 1)
    names = entry.get("gfp_flags")
    asked = "__GFP_ZERO" in (names or "") or bool((gfp or 0) & GFP_ZERO)
    return {
        "order": order,
        "bytes": None if failed else block_bytes(order),
        "pfn": None if failed else pfn,
        "gfp": gfp,
        "asked": None if gfp is None and names is None else asked,
        "flags": Flag.FAILED * failed,
    }
