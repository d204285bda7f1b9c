# SPDX-License-Identifier: Apache-2.0
"""alloc: page allocations, by get_page_from_freelist() or the tracepoint at their end.

With a function probe an occurrence lasts from entry to return of
get_page_from_freelist() (mm/page_alloc.c), and contains acceptance and the
allocator's zeroing.  A failed attempt (NULL) is counted apart.  With the
tracepoint kmem:mm_page_alloc alone the end is seen but not the length.

Not seen by either: the bulk allocator and alloc_contig_range(), which call
neither; with a function probe also pages that direct compaction captures.
"""

from __future__ import annotations

import dataclasses

from memtrace.probes.sites.functions import function_ladder
from memtrace.probes.sites.ladder import Candidate, Ladder
from memtrace.probes.sites.system import System

EVENTS = ("alloc",)
SOURCE = "topics/alloc"
SITES = ("MT_SITE_ALLOC_FENTRY", "MT_SITE_ALLOC_KPROBE", "MT_SITE_ALLOC_RAWTP")


def ladders(system: System, sampling: bool) -> tuple[Ladder, ...]:
    """alloc: fentry/fexit, kprobe/kretprobe, then the tracepoint at the end of an allocation."""
    ladder = function_ladder(
        system,
        "alloc",
        ("get_page_from_freelist",),
        "MT_FN_ALLOC",
        "MT_SITE_ALLOC",
        "mt_alloc",
        "order, gfp: arguments; page: return value; nid: page flags; requested node: alloc_context",
        ("accept.burst", "accept.block", "accept.call", "accept.arch", "accept.step", "zero.alloc"),
    )
    tracepoint = Candidate(
        event="alloc",
        site="rawtp:mm_page_alloc",
        kind="rawtp",
        macro="MT_SITE_ALLOC_RAWTP",
        function=None,
        attach=lambda module: module.attach_rawtp("mm_page_alloc", "mt_alloc_rawtp"),
        decode="page, order, gfp: arguments; nid: page flags",
        time="unknown",
    )
    return (dataclasses.replace(ladder, candidates=(*ladder.candidates, tracepoint)),)
