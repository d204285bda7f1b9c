# SPDX-License-Identifier: Apache-2.0
"""zero.*: pages cleared by the allocator, by its callers, and as they are freed.

zero.alloc.  The clearing is in post_alloc_hook() and clear_page_*(), and neither
takes a probe on any kernel checked: notrace, assembly, usually inlined.  So:

1. a leaf that is traceable as a whole: clear_highpages_kasan_tagged() (7.3),
   kernel_init_pages() (6.1 on, where not inlined), kernel_init_free_pages() (5.15);
2. kprobes on the instructions before and after ``call clear_page_*`` inside
   traceable callers (where post_alloc_hook() is inlined: 5.15, 6.1, 6.12), and
   around ``call post_alloc_hook`` where it is called (everywhere from 6.5 on, in
   compaction before): the interval then holds the hook's checks too, some ns a page;
3. no interval: pages follow from the gfp flags of each allocation, exactly, and
   time is sampled.

One zero.alloc occurrence is all the clearing of one allocation.

zero.user is folio_zero_user() (6.11 on) or clear_huge_page(), mm/memory.c, from
entry to return: wall time, with cond_resched() and interrupts inside.

zero.page and zero.free are ``call clear_page_*`` in the functions that clear page by
page: for themselves (shmem, khugepaged's holes), or because init_on_free is on.
A page cleared twice is two occurrences: that is what is to be seen.

Not seen: clearing in modules (guest_memfd in kvm), in functions that refuse probes
(an out-of-line free_pages_prepare()), and from 7.0 on what is inlined as ``rep stosb``.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from functools import partial
from pathlib import Path

from memtrace.probes import code
from memtrace.probes.functions import attach_pair, function_ladder
from memtrace.probes.ladder import Candidate, Ladder, resolve, why_no_kprobes, why_untraceable
from memtrace.probes.module import Module
from memtrace.probes.system import System
from memtrace.traces.run import Refusal

EVENTS = ("zero.alloc", "zero.user", "zero.page", "zero.free")
SOURCE = "zero"
SITES = (
    "MT_SITE_ZERO_LEAF_FENTRY",
    "MT_SITE_ZERO_LEAF_KPROBE",
    "MT_SITE_ZERO_CALLS",
    "MT_SITE_ZERO_INFERRED",
    "MT_SITE_ZERO_USER_FENTRY",
    "MT_SITE_ZERO_USER_KPROBE",
    "MT_SITE_ZERO_SAMPLED",
    "MT_SITE_ZERO_PAGE_CALLS",
    "MT_SITE_ZERO_FREE_CALLS",
)

_LEAVES = ("clear_highpages_kasan_tagged", "kernel_init_pages", "kernel_init_free_pages")
_CLEAR_PAGE = ("clear_page_erms", "clear_page_rep", "clear_page_orig")
_HOOK = "post_alloc_hook"
_FREELIST = "get_page_from_freelist"
_BULK = ("alloc_pages_bulk_noprof", "__alloc_pages_bulk")
_CALLERS = (
    _FREELIST,
    *_BULK,
    "__alloc_pages_direct_compact",
    "compaction_alloc",
    "release_free_list",
    "split_map_pages",
    "split_free_pages",
    "alloc_contig_range_noprof",
    "alloc_contig_range",
)
_PAGE_CALLERS = (
    "shmem_get_folio_gfp",
    "shmem_getpage_gfp",
    "shmem_mfill_atomic_pte",
    "shmem_write_end",
    "wp_page_copy",
    "do_wp_page",
    "collapse_huge_page",
    "collapse_file",
    "dax_fault_iter",
)
_FREE_CALLERS = (
    "__free_pages_ok",
    "free_pages_prepare",
    "free_pcp_prepare",
    "free_unref_page_prepare",
    "free_unref_page",
    "free_unref_folios",
    "__free_frozen_pages",
    "free_frozen_pages",
)
_USER = ("folio_zero_user", "clear_huge_page")


def ladders(system: System, sampling: bool) -> tuple[Ladder, ...]:
    """One for each event; the last resort of zero.alloc and zero.user needs no probe of its own."""
    page = _page_ladder(system, "zero.page", _PAGE_CALLERS, "MT_SITE_ZERO_PAGE_CALLS", "mt_page")
    free = _page_ladder(system, "zero.free", _FREE_CALLERS, "MT_SITE_ZERO_FREE_CALLS", "mt_free")
    if not system.init_on_free:
        off = Refusal("callsite", "absent", "init_on_free is off: nothing is cleared when it is freed")
        free = Ladder("zero.free", (), (off,))
    return alloc_ladder(system, sampling), user_ladder(system, sampling), page, free


def _page_ladder(system: System, event: str, callers: tuple[str, ...], macro: str, stem: str) -> Ladder:
    """Calls to clear_page_*() in ``callers``."""
    no_kprobes = why_no_kprobes(system)
    if no_kprobes is not None:
        return Ladder(event, (), (no_kprobes,))
    sites, refusal = call_sites(system, callers, _CLEAR_PAGE)
    if refusal is not None:
        return Ladder(event, (), (refusal,))
    candidate = Candidate(
        event=event,
        site="callsite:clear_page",
        kind="callsite",
        macro=macro,
        function=sites[0].function,
        attach=partial(_attach_calls, sites=sites, stem=lambda site: (f"{stem}_call", f"{stem}_return")),
        decode=f"kprobes before and after `call clear_page` at {_places(sites)}; pfn: of its argument",
        offsets=tuple(s.offset for s in sites),
    )
    return Ladder(event, (candidate,), macros={"MT_PAGE_CALLS": "1", "MT_AGG_EVENTS": "4"})


def alloc_ladder(system: System, sampling: bool) -> Ladder:
    """Candidates for zero.alloc; the last one needs no probe but alloc's own."""
    ruled_out: list[Refusal] = []
    candidates: list[Candidate] = []
    macros: dict[str, str] = {}
    no_kprobes = why_no_kprobes(system)
    for leaf in _LEAVES:
        name = resolve(system, (leaf,))
        refusal = why_untraceable(system, name or leaf)
        if refusal is not None or name is None:
            ruled_out += [refusal] if refusal else []
            continue
        if "." not in name:
            macros["MT_FN_ZERO_LEAF"] = name
            candidates.append(_leaf("fentry", name, partial(Module.attach_fentry, function=name)))
        if no_kprobes is None:
            candidates.append(
                _leaf("kprobe", name, partial(attach_pair, function=name, program="mt_zero_leaf"))
            )
        break
    if no_kprobes is not None:
        ruled_out.append(no_kprobes)
    else:
        _add_call_sites(system, candidates, ruled_out)
    candidates.append(
        Candidate(
            event="zero.alloc",
            site="inferred:gfp",
            kind="inferred",
            macro="MT_SITE_ZERO_INFERRED",
            function=None,
            attach=lambda module: None,
            decode="pages: from the gfp flags of each alloc; time: sampled CPU clock in clear_page"
            if sampling
            else "pages: from the gfp flags of each alloc",
            time="estimated" if sampling else "unknown",
            count="inferred",
        )
    )
    return Ladder("zero.alloc", tuple(candidates), tuple(ruled_out), macros)


def user_ladder(system: System, sampling: bool) -> Ladder:
    """Candidates for zero.user; sampling gives time only."""
    ladder = function_ladder(
        system,
        "zero.user",
        _USER,
        "MT_FN_ZERO_USER",
        "MT_SITE_ZERO_USER",
        "mt_user",
        "folio: first argument; order: pages argument or the folio's; nid: page flags",
    )
    name = resolve(system, _USER)
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
        macro="MT_SITE_ZERO_SAMPLED",
        function=name,
        attach=lambda module: None,
        decode=f"time: sampled CPU clock with {name} on the stack; pages unknown",
        time="estimated",
        count="unknown",
    )
    return dataclasses.replace(ladder, macros=macros, candidates=(*ladder.candidates, sampled))


def call_sites(
    system: System, callers: tuple[str, ...], targets: tuple[str, ...]
) -> tuple[tuple[code.CallSite, ...], Refusal | None]:
    """Calls to ``targets`` inside those of ``callers`` that are traceable; else why there are none."""
    known = {s.address: s.name for name in targets if (s := system.symbols.one(name))}
    if not known:
        why = "no address for clear_page_* (kptr_restrict, or inlined)"
        return (), Refusal("callsite", "absent", why)
    found: list[code.CallSite] = []
    for caller in callers:
        symbol = system.symbols.one(caller)
        if symbol is None or why_untraceable(system, caller) is not None:
            continue
        text = code.read_text(symbol)
        if text is None:
            return (), _no_kcore()
        found += code.find_calls(text, symbol, known)
    if not found:
        why = f"no call to clear_page_* found in a traceable function of {', '.join(callers)}"
        return (), Refusal("callsite", "inlined", why)
    return tuple(found), None


def _no_kcore() -> Refusal:
    if not Path("/proc/kcore").exists():
        return Refusal("callsite", "config missing", "no /proc/kcore to read code from (CONFIG_PROC_KCORE)")
    return Refusal("callsite", "refused by policy", "/proc/kcore is not readable (lockdown, CAP_SYS_RAWIO)")


def _add_call_sites(system: System, candidates: list[Candidate], ruled_out: list[Refusal]) -> None:
    sites, refusal = call_sites(system, _CALLERS, (*_CLEAR_PAGE, _HOOK))
    if refusal is not None:
        ruled_out.append(refusal)
        return
    target = next((s.target for s in sites if s.function == _FREELIST), None)
    if target is None:
        why = f"{_FREELIST} calls neither clear_page_* nor {_HOOK}"
        ruled_out.append(Refusal("callsite", "inlined", why))
        return
    name = _HOOK if target == _HOOK else "clear_page"
    candidates.append(
        Candidate(
            event="zero.alloc",
            site=f"callsite:{name}",
            kind="callsite",
            macro="MT_SITE_ZERO_CALLS",
            function=_FREELIST,
            attach=partial(_attach_calls, sites=sites, stem=_programs),
            decode=f"kprobes before and after the calls that clear, at {_places(sites)}",
            offsets=tuple(s.offset for s in sites),
        )
    )


def _programs(site: code.CallSite) -> tuple[str, str]:
    """The programs before and after a call of the allocator's."""
    if site.target == _HOOK:
        return "mt_hook_call", "mt_hook_return"
    return "mt_bulk_call" if site.function in _BULK else "mt_clear_call", "mt_clear_return"


def _attach_calls(
    module: Module, sites: tuple[code.CallSite, ...], stem: Callable[[code.CallSite], tuple[str, str]]
) -> None:
    for site in sites:
        before, after = stem(site)
        module.attach_kprobe(site.function, after, site.offset + code.CALL_BYTES)
        module.attach_kprobe(site.function, before, site.offset)


def _places(sites: tuple[code.CallSite, ...]) -> str:
    return ", ".join(f"{s.function}+{s.offset:#x}" for s in sites)


def _leaf(kind: str, name: str, attach: partial[None]) -> Candidate:
    return Candidate.on(
        name,
        kind,
        attach,
        event="zero.alloc",
        stem="MT_SITE_ZERO_LEAF",
        decode="pages: second argument; order, nid: of the enclosing alloc",
    )
