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

from memtrace.probes.ladder import Candidate, Ladder, resolve, why_no_kprobes, why_untraceable
from memtrace.probes.module import Module
from memtrace.probes.system import System
from memtrace.traces.run import Refusal

SOURCE = "alloc"
SITES = ("MT_SITE_ALLOC_FENTRY", "MT_SITE_ALLOC_KPROBE", "MT_SITE_ALLOC_RAWTP")

_FUNCTION = "get_page_from_freelist"
_DECODE = "order, gfp: arguments; page: return value; nid: page flags; requested node: alloc_context"


def ladders(system: System, sampling: bool) -> tuple[Ladder, ...]:
    """alloc: fentry/fexit, kprobe/kretprobe, then the tracepoint at the end of an allocation."""
    function = resolve(system, (_FUNCTION,))
    candidates: list[Candidate] = []
    ruled_out: list[Refusal] = []
    macros: dict[str, str] = {}
    refusal = why_untraceable(system, function or _FUNCTION)
    if refusal is not None:
        ruled_out.append(refusal)
    elif function is not None:
        if "." not in function:
            macros["MT_FN_ALLOC"] = function
            candidates.append(_function_candidate("fentry", function, lambda m: m.attach_fentry(function)))
        no_kprobes = why_no_kprobes(system)
        if no_kprobes is not None:
            ruled_out.append(no_kprobes)
        else:
            candidates.append(_function_candidate("kprobe", function, lambda m: _attach_kprobes(m, function)))
    candidates.append(
        Candidate(
            event="alloc",
            site="rawtp:mm_page_alloc",
            kind="rawtp",
            macro="MT_SITE_ALLOC_RAWTP",
            function=None,
            attach=lambda m: m.attach_rawtp("mm_page_alloc", "mt_alloc_rawtp"),
            decode="page, order, gfp: arguments; nid: page flags",
            time="unknown",
        )
    )
    return (Ladder("alloc", tuple(candidates), tuple(ruled_out), macros),)


def _function_candidate(kind: str, function: str, attach: object) -> Candidate:
    return Candidate(
        event="alloc",
        site=f"{kind}:{function}",
        kind=kind,
        macro=f"MT_SITE_ALLOC_{kind.upper()}",
        function=function,
        attach=attach,  # type: ignore[arg-type]
        decode=_DECODE,
        inclusive_of=("accept", "zero.alloc"),
    )


def _attach_kprobes(module: Module, function: str) -> None:
    module.attach_kretprobe(function, "mt_alloc_kretprobe")
    module.attach_kprobe(function, "mt_alloc_kprobe")
