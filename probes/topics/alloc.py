# SPDX-License-Identifier: Apache-2.0
"""alloc: page allocations, those that get_page_from_freelist() serves and those that do without it.

With a function probe an event lasts from entry to return of get_page_from_freelist()
(mm/page_alloc.c), and contains acceptance and the allocator's zeroing.  A failed attempt
(NULL) is counted apart.  A page that direct compaction captures never passes there, and is
seen where that ends (alloc_capture.py).  With the tracepoint kmem:mm_page_alloc alone, the
end of each allocation is seen, a captured page's too, but not its length.

The bulk allocator and alloc_contig_range() are events of their own (alloc_many.py).
"""

from __future__ import annotations

import dataclasses

from memtrace.probes.sites.functions import function_ladder
from memtrace.probes.sites.ladder import Candidate, Ladder
from memtrace.probes.sites.system import System
from memtrace.probes.topics import alloc_capture, alloc_many
from memtrace.probes.topics.event import Event

ALLOC = Event(
    "alloc",
    "one successful page allocation",
    about=(
        "Its time holds the allocator's own zeroing, and acceptance where the guest accepts lazily. "
        "Where only the tracepoint kmem:mm_page_alloc is allowed, the end is seen and the time is "
        "sampled. A page that direct compaction captured has no time."
    ),
    functions=("get_page_from_freelist",),
    begins="the function's entry; unknown with the tracepoint kmem:mm_page_alloc",
    sites=("fentry", "kprobe", "rawtp", alloc_capture.FENTRY, alloc_capture.KPROBE),
    fields={
        "order": "asked for",
        "bytes": "PAGE_SIZE << order",
        "pfn": "of the first page",
        "gfp": "of the allocation",
        "nid_requested": "of the preferred zone",
    },
    inside=("accept.burst", "accept.block", "accept.call", "accept.arch", "accept.step", "zero.alloc"),
)
EVENTS = (ALLOC, alloc_many.BULK, alloc_many.CONTIG)
SOURCES = ("topics/alloc", "topics/alloc_many")


def ladders(system: System, sampling: bool) -> tuple[Ladder, ...]:
    """Return a ladder for each event; that of alloc ends with the tracepoint."""
    return _ladder(system), alloc_many.bulk_ladder(system), alloc_many.contig_ladder(system)


def _ladder(system: System) -> Ladder:
    """Return the ladder of alloc: fentry/fexit, kprobe/kretprobe, then the tracepoint at the end."""
    ladder = function_ladder(
        system,
        ALLOC.name,
        ALLOC.functions,
        "order, gfp: arguments; page: return value; nid: page flags; requested node: alloc_context",
        ALLOC.inside,
    )
    captures = alloc_capture.ladder(system)
    candidates = tuple(
        dataclasses.replace(c, beside=captures.candidates if c.kind == "fentry" else captures.candidates[-1:])
        for c in ladder.candidates
    )
    tracepoint = Candidate(
        event=ALLOC.name,
        site="rawtp:mm_page_alloc",
        kind="rawtp",
        function=None,
        attach=lambda module: module.attach_rawtp("mm_page_alloc", "mt_alloc_rawtp"),
        decode="page, order, gfp: arguments; nid: page flags",
        time="unknown",
    )
    return dataclasses.replace(
        ladder,
        candidates=(*candidates, tracepoint),
        ruled_out=(*ladder.ruled_out, *(r for r in captures.ruled_out if r.reason != "absent")),
        macros=ladder.macros | captures.macros,
    )
