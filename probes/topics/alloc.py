# SPDX-License-Identifier: Apache-2.0
"""alloc: page allocations, by get_page_from_freelist() or the tracepoint at their end.

With a function probe an event lasts from entry to return of get_page_from_freelist()
(mm/page_alloc.c), and contains acceptance and the allocator's zeroing.  A failed attempt
(NULL) is counted apart.  With the tracepoint kmem:mm_page_alloc alone, the end of an
allocation is seen but not its length.

Neither sees the bulk allocator and alloc_contig_range(), which call neither function.  A
function probe also misses the pages that direct compaction captures.
"""

from __future__ import annotations

import dataclasses

from memtrace.probes.sites.functions import function_ladder
from memtrace.probes.sites.ladder import Candidate, Ladder
from memtrace.probes.sites.system import System
from memtrace.probes.topics.event import Event

EVENTS = (
    Event(
        "alloc",
        "one successful page allocation",
        about=(
            "Its time holds the allocator's own zeroing, and acceptance where the guest accepts lazily. "
            "Where only the tracepoint kmem:mm_page_alloc is allowed, the end is seen and the time is "
            "sampled."
        ),
        functions=("get_page_from_freelist",),
        begins="the function's entry; unknown with the tracepoint kmem:mm_page_alloc",
        sites=("fentry", "kprobe", "rawtp"),
        fields={
            "order": "asked for",
            "bytes": "PAGE_SIZE << order",
            "pfn": "of the first page",
            "gfp": "of the allocation",
            "nid_requested": "of the preferred zone",
        },
        inside=("accept.burst", "accept.block", "accept.call", "accept.arch", "accept.step", "zero.alloc"),
    ),
)
SOURCES = ("topics/alloc",)


def ladders(system: System, sampling: bool) -> tuple[Ladder, ...]:
    """Return the ladder of alloc: fentry/fexit, kprobe/kretprobe, then the tracepoint at the end."""
    (event,) = EVENTS
    ladder = function_ladder(
        system,
        event.name,
        event.functions,
        "order, gfp: arguments; page: return value; nid: page flags; requested node: alloc_context",
        event.inside,
    )
    tracepoint = Candidate(
        event=event.name,
        site="rawtp:mm_page_alloc",
        kind="rawtp",
        function=None,
        attach=lambda module: module.attach_rawtp("mm_page_alloc", "mt_alloc_rawtp"),
        decode="page, order, gfp: arguments; nid: page flags",
        time="unknown",
    )
    return (dataclasses.replace(ladder, candidates=(*ladder.candidates, tracepoint)),)
