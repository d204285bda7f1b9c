# SPDX-License-Identifier: Apache-2.0
"""zero.*: pages zeroed by the allocator, by its callers, and as they are freed.

zero.alloc.  The zeroing is in post_alloc_hook() and clear_page_*(), and neither takes
a probe on any kernel checked: they are notrace, assembly, or usually inlined.  So the
sites are, best first:

1. a leaf that is traceable as a whole: clear_highpages_kasan_tagged() (7.3),
   kernel_init_pages() (6.1 on, where not inlined), kernel_init_free_pages() (5.15);
2. kprobes on the instructions before and after ``call clear_page_*`` inside
   traceable callers (where post_alloc_hook() is inlined: 5.15, 6.1, 6.12), and
   around ``call post_alloc_hook`` where it is called (everywhere from 6.5 on, in
   compaction before), or ``call prep_new_page`` where it is inlined into that: the
   interval then holds the hook's checks too, some ns per page;
3. no interval: pages follow exactly from the gfp flags of each allocation, and time
   is sampled.

One zero.alloc event is all the zeroing of one allocation.

zero.user is folio_zero_user() (6.11 on) or clear_huge_page(), mm/memory.c, from
entry to return: wall time, with cond_resched() and interrupts inside.  Which pages
come there depends on the kernel: hugetlb pages at each fault; transparent huge pages
always up to 6.13, and from 6.14 on only where init_on_alloc is off (mm/internal.h
user_alloc_needs_zeroing()).  Where it is on, the allocator's zeroing, zero.alloc, is
the only one.

zero.page and zero.free are ``call clear_page_*``, from 7.0 on clear_pages() inlined,
in the functions that zero page by page: for themselves (shmem, khugepaged's holes),
or because init_on_free is on.  With init_on_free the leaf of zero.alloc, if there is
one, serves zero.free instead: nothing is zeroed at allocation then.
A page zeroed twice is two events, so that double zeroing can be seen.

Not seen: zeroing in modules (guest_memfd in kvm) and in functions that refuse probes
(an out-of-line free_pages_prepare(); with the sites of 2 also __alloc_pages_slowpath(),
for pages that compaction captured).
"""

from __future__ import annotations

import dataclasses
from functools import partial

from memtrace.probes.programs.module import Module
from memtrace.probes.sites import clears, code
from memtrace.probes.sites.functions import attach_pair, function_ladder
from memtrace.probes.sites.ladder import Candidate, Ladder, resolve, why_no_kprobes, why_untraceable
from memtrace.probes.sites.system import System
from memtrace.probes.topics.event import Event
from memtrace.traces.run import Refusal

_GFP = {"gfp": "of the allocation around it", "order": "of the allocation around it"}
EVENTS = (
    Event(
        "zero.alloc",
        "the pages that the allocator zeroed for one allocation",
        about=("It lies inside an alloc."),
        functions=clears.LEAVES,
        begins="before the first page is zeroed",
        ends="after the last one is",
        sites=("fentry", "kprobe", "callsite", "inferred"),
        fields={**_GFP, "bytes": "zeroed"},
        needs=("alloc",),
        witness="allocations that are zeroed (flag ZEROED of alloc)",
    ),
    Event(
        "zero.user",
        "one folio zeroed by the caller (THP, hugetlb)",
        about=(
            "A huge page at a page fault, or a hugetlb page. From 6.14 on, with init_on_alloc, a huge "
            "page is left to the allocator (zero.alloc), and only hugetlb comes here; the zero view says "
            "which of the two it was."
        ),
        functions=("folio_zero_user", "clear_huge_page"),
        sites=("fentry", "kprobe", "sampling"),
        fields={"order": "of the folio", "bytes": "of the folio", "pfn": "its first page"},
    ),
    Event(
        "zero.page",
        "one page zeroed by a caller that zeroes page by page (shmem)",
        about=("Shared memory and tmpfs, and the holes of what khugepaged joins."),
        functions=clears.PAGE_CALLERS,
        begins="before the instruction that zeroes",
        ends="after it",
        sites=("callsite",),
        fields={"pfn": "of the address that is zeroed"},
    ),
    Event(
        "zero.free",
        "one page zeroed as it is freed (init_on_free)",
        about=("Page by page, or from 7.3 on all of what is freed at once."),
        functions=(*clears.LEAVES, *clears.FREE_CALLERS),
        begins="before the page is zeroed",
        ends="after it is",
        sites=("fentry", "kprobe", "callsite"),
        fields={"order": "of what is freed", "pfn": "its first page"},
    ),
)
ALLOC, USER, PAGE, FREE = EVENTS
SOURCES = ("topics/zero",)

_SUMMED = {"MT_AGG_EVENTS": "4"}


def ladders(system: System, sampling: bool) -> tuple[Ladder, ...]:
    """Return a ladder for each event; zero.alloc and zero.user can end without a probe of their own."""
    page = _page_ladder(system, PAGE.name, clears.PAGE_CALLERS, "mt_page")
    return alloc_ladder(system, sampling), user_ladder(system, sampling), page, free_ladder(system)


def _page_ladder(system: System, event: str, callers: tuple[str, ...], stem: str) -> Ladder:
    """Return the ladder of the sites in ``callers`` that zero page by page."""
    no_kprobes = why_no_kprobes(system)
    if no_kprobes is not None:
        return Ladder(event, (), (no_kprobes,))
    sites, refusal = clears.page_sites(system, callers)
    if refusal is not None:
        return Ladder(event, (), (refusal,))
    inlined = any(site.target == code.INLINED for site in sites)
    what = "clear_pages(), inlined," if inlined else "`call clear_page`"
    candidate = Candidate(
        event=event,
        site=f"callsite:{'clear_pages' if inlined else 'clear_page'}",
        kind="callsite",
        function=sites[0].function,
        attach=partial(clears.attach, sites=sites, programs=clears.page_programs(stem)),
        decode=f"kprobes before and after {what} at {clears.places(sites)}; pfn: of its argument",
        offsets=tuple(s.offset for s in sites),
    )
    return Ladder(event, (candidate,), macros={"MT_PAGE_CALLS": "1", **_SUMMED})


def free_ladder(system: System) -> Ladder:
    """Return the ladder of zero.free: by the allocator's leaf, else by call sites.

    With init_on_free the leaf zeroes what is freed.
    """
    if not system.init_on_free:
        off = "init_on_free is off: nothing is cleared when it is freed"
        unknown = "whether init_on_free is on is not known, nor what clears then"
        known = system.init_on_free is not None
        refusal = Refusal("callsite", "unused", off) if known else Refusal("callsite", "not known", unknown)
        return Ladder("zero.free", (), (refusal,))
    leaves, ruled_out, macros = _leaves(system, "zero.free")
    calls = _page_ladder(system, "zero.free", clears.FREE_CALLERS, "mt_free")
    if leaves:
        return Ladder("zero.free", leaves, ruled_out, {"MT_LEAF_FREES": "1", **macros, **_SUMMED})
    return dataclasses.replace(calls, ruled_out=(*ruled_out, *calls.ruled_out))


def alloc_ladder(system: System, sampling: bool) -> Ladder:
    """Return the ladder of zero.alloc; the last candidate needs no probe but alloc's own."""
    leaves, ruled_out, macros = _leaves(system, "zero.alloc")
    if system.init_on_free and leaves:
        why = "init_on_free is on: it clears what is freed (zero.free), and allocation clears nothing"
        ruled_out = (Refusal(str(leaves[0].function), "unused", why),)
        leaves, macros = (), {}
    calls, refusal = _call_sites(system)
    if not system.tells_zeroing:
        why = "neither the log, nor command line, nor config tells init_on_alloc and init_on_free"
        return Ladder(
            "zero.alloc",
            (*leaves, *calls),
            (*ruled_out, *refusal, Refusal("inferred:gfp", "not known", why)),
            macros,
        )
    inferred = Candidate(
        event="zero.alloc",
        site="inferred:gfp",
        kind="inferred",
        function=None,
        attach=lambda module: None,
        decode="pages: from the gfp flags of each alloc; time: sampled CPU clock in clear_page"
        if sampling
        else "pages: from the gfp flags of each alloc",
        time="estimated" if sampling else "unknown",
        count="inferred",
    )
    return Ladder("zero.alloc", (*leaves, *calls, inferred), (*ruled_out, *refusal), macros)


def _leaves(system: System, event: str) -> tuple[tuple[Candidate, ...], tuple[Refusal, ...], dict[str, str]]:
    """Return the candidates of the first traceable leaf, why those before it are none, and its macros."""
    ruled_out: list[Refusal] = []
    for leaf in clears.LEAVES:
        name = resolve(system, (leaf,))
        refusal = why_untraceable(system, name or leaf)
        if refusal is not None or name is None:
            ruled_out += [refusal] if refusal else []
            continue
        found: list[Candidate] = []
        macros: dict[str, str] = {}
        if "." not in name:
            macros["MT_FN_ZERO_LEAF"] = name
            found.append(_leaf(event, "fentry", name, partial(Module.attach_fentry, function=name)))
        if why_no_kprobes(system) is None:
            attach = partial(attach_pair, function=name, program="mt_zero_leaf")
            found.append(_leaf(event, "kprobe", name, attach))
        return tuple(found), tuple(ruled_out), macros
    return (), tuple(ruled_out), {}


def _call_sites(system: System) -> tuple[tuple[Candidate, ...], tuple[Refusal, ...]]:
    """Return the candidate for zero.alloc by the calls in the allocator, or why there is none."""
    no_kprobes = why_no_kprobes(system)
    if no_kprobes is not None:
        return (), (no_kprobes,)
    sites, refusal = clears.allocator_sites(system)
    if refusal is not None:
        return (), (refusal,)
    if not system.tells_zeroing and any(site.target in clears.HOOKS for site in sites):
        # What the hook does is not seen: it follows from the gfp flags.
        why = "whether the hook zeroes depends on init_on_alloc and init_on_free, which are not known"
        return (), (Refusal(f"callsite:{clears.main_target(sites)}", "not known", why),)
    candidate = Candidate(
        event="zero.alloc",
        site=f"callsite:{clears.main_target(sites)}",
        kind="callsite",
        function=clears.FREELIST,
        attach=partial(clears.attach, sites=sites, programs=clears.allocator_programs),
        decode=f"kprobes before and after the calls that clear, at {clears.places(sites)}",
        offsets=tuple(s.offset for s in sites),
    )
    return (candidate,), ()


def user_ladder(system: System, sampling: bool) -> Ladder:
    """Return the ladder of zero.user; sampling gives its time only."""
    ladder = function_ladder(
        system,
        "zero.user",
        USER.functions,
        "folio: first argument; order: pages argument or the folio's; nid: page flags",
    )
    name = resolve(system, USER.functions)
    parameters = system.btf.parameters(name) if system.btf and name else None
    macros = dict(ladder.macros)
    if name == "clear_huge_page" if parameters is None else len(parameters) == 3:
        macros["MT_USER_HAS_PAGES"] = "1"
    if name is None or not sampling:
        return dataclasses.replace(ladder, macros=macros)
    sampled = Candidate(
        event="zero.user",
        site=f"sampled:{name}",
        kind="sampling",
        function=name,
        attach=lambda module: None,
        decode=f"time: sampled CPU clock with {name} on the stack; pages unknown",
        time="estimated",
        count="unknown",
    )
    return dataclasses.replace(ladder, macros=macros, candidates=(*ladder.candidates, sampled))


def _leaf(event: str, kind: str, name: str, attach: partial[None]) -> Candidate:
    return Candidate.on(
        name,
        kind,
        attach,
        event=event,
        decode="pages: second argument; order, nid: of the enclosing alloc, else of the pages",
    )
