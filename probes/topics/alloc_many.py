# SPDX-License-Identifier: Apache-2.0
"""Allocations of many pages at once, which pass neither get_page_from_freelist() nor a tracepoint.

The bulk allocator (vmalloc, network buffers, btrfs, NFS) takes single pages from the CPU's
lists.  Where it finds none it makes an ordinary allocation, which is an alloc inside.
alloc_contig_range() (CMA, gigantic pages, virtio-mem) takes a range of pages out of the
allocator, after it has moved away what was in use there.
"""

from __future__ import annotations

import dataclasses

from memtrace.probes.sites.functions import function_ladder
from memtrace.probes.sites.ladder import Ladder, resolve
from memtrace.probes.sites.system import System
from memtrace.probes.topics.event import Event
from memtrace.traces.run import Refusal

BULK = Event(
    "alloc.bulk",
    "one call of the bulk allocator",
    about=(
        "A page that it had to allocate like any other is an alloc inside, and not in its bytes. These are "
        "unknown where the array that it fills held pages already."
    ),
    functions=("alloc_pages_bulk_noprof", "__alloc_pages_bulk"),
    fields={
        "bytes": "of the pages that it took itself",
        "gfp": "of the call",
        "nid_requested": "preferred node",
    },
    inside=("alloc", "zero.alloc"),
    needs=("alloc",),
)
CONTIG = Event(
    "alloc.contig",
    "one range taken by alloc_contig_range()",
    about="A failed attempt is counted apart. Its time holds the moving of what was in the range.",
    functions=("alloc_contig_frozen_range_noprof", "alloc_contig_range_noprof", "alloc_contig_range"),
    fields={"bytes": "of the range", "pfn": "of its first page", "gfp": "of the call"},
    inside=("alloc", "accept.block", "accept.call", "accept.arch", "accept.step", "zero.alloc"),
)


def bulk_ladder(system: System) -> Ladder:
    """Return the ladder of alloc.bulk, whose arguments are told by BTF (6.14 dropped page_list)."""
    name = resolve(system, BULK.functions)
    if name is None:
        return _ladder(system, BULK, "")
    parameters = system.btf.parameters(name) if system.btf else None
    if parameters is None:
        return Ladder(BULK.name, (), (Refusal(name, "not known", "no BTF that tells its arguments"),))
    if not {"gfp", "preferred_nid", "nr_pages", "page_array"} <= {*parameters}:
        why = f"its arguments are {', '.join(parameters)}"
        return Ladder(BULK.name, (), (Refusal(name, "failed", why),))
    places = {
        "MT_BULK_NID": parameters.index("preferred_nid"),
        "MT_BULK_PAGES": parameters.index("nr_pages"),
        "MT_BULK_ARRAY": parameters.index("page_array"),
        "MT_BULK_ARGS": len(parameters),
    }
    ladder = _ladder(
        system, BULK, "pages: return value, less those of alloc inside; unknown where the array held some"
    )
    return dataclasses.replace(ladder, macros=ladder.macros | {k: str(v) for k, v in places.items()})


def contig_ladder(system: System) -> Ladder:
    """Return the ladder of alloc.contig.

    From 7.0 on alloc_contig_range_noprof() calls the frozen form, which is the one watched.
    """
    return _ladder(system, CONTIG, "range, gfp: arguments; success: return value 0")


def _ladder(system: System, event: Event, decode: str) -> Ladder:
    return function_ladder(system, event.name, event.functions, decode, event.inside)
