# SPDX-License-Identifier: Apache-2.0
"""zero.alloc and zero.user: pages cleared by the allocator, and by the caller.

zero.alloc.  The clearing is in post_alloc_hook() and clear_page_*(), and neither
takes a probe on any kernel checked: notrace, assembly, usually inlined.  So:

1. a leaf that is traceable as a whole: clear_highpages_kasan_tagged() (7.3),
   kernel_init_pages() (6.1 on, where not inlined), kernel_init_free_pages() (5.15);
2. kprobes on the instructions before and after ``call clear_page_*`` inside
   traceable callers (where post_alloc_hook() is inlined: 5.15, 6.1, 6.12);
3. the same around ``call post_alloc_hook`` (where it is a call: 6.5 on); the
   interval then holds the hook's checks too, some ns a page;
4. no interval: pages follow from the gfp flags of each allocation, exactly, and
   time is sampled.

One zero.alloc occurrence is all the clearing of one allocation.

zero.user is folio_zero_user() (6.11 on) or clear_huge_page(), mm/memory.c, from
entry to return: wall time, with cond_resched() and interrupts inside.
"""

from __future__ import annotations

import dataclasses
from functools import partial
from pathlib import Path

from memtrace.probes import code
from memtrace.probes.functions import attach_pair, function_ladder
from memtrace.probes.ladder import Candidate, Ladder, resolve, why_no_kprobes, why_untraceable
from memtrace.probes.module import Module
from memtrace.probes.system import System
from memtrace.traces.run import Refusal

EVENTS = ("zero.alloc", "zero.user")
SOURCE = "zero"
SITES = (
    "MT_SITE_ZERO_LEAF_FENTRY",
    "MT_SITE_ZERO_LEAF_KPROBE",
    "MT_SITE_ZERO_CLEAR_CALLS",
    "MT_SITE_ZERO_HOOK_CALLS",
    "MT_SITE_ZERO_INFERRED",
    "MT_SITE_ZERO_USER_FENTRY",
    "MT_SITE_ZERO_USER_KPROBE",
    "MT_SITE_ZERO_SAMPLED",
)

_LEAVES = ("clear_highpages_kasan_tagged", "kernel_init_pages", "kernel_init_free_pages")
_CLEAR_PAGE = ("clear_page_erms", "clear_page_rep", "clear_page_orig")
_HOOK = "post_alloc_hook"
_CALLERS = (
    "get_page_from_freelist",
    "alloc_pages_bulk_noprof",
    "__alloc_pages_bulk",
    "__alloc_pages_direct_compact",
    "compaction_alloc",
    "alloc_contig_range_noprof",
    "alloc_contig_range",
)
_USER = ("folio_zero_user", "clear_huge_page")


def ladders(system: System, sampling: bool) -> tuple[Ladder, ...]:
    """zero.alloc and zero.user; the last resort of each needs no probe of its own."""
    return alloc_ladder(system, sampling), user_ladder(system, sampling)


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


def call_sites(system: System) -> tuple[tuple[code.CallSite, ...], tuple[code.CallSite, ...], Refusal | None]:
    """Calls to clear_page_*() and to post_alloc_hook() inside traceable callers.

    The third value says why there are none.
    """
    targets = {s.address: s.name for name in (*_CLEAR_PAGE, _HOOK) if (s := system.symbols.one(name))}
    if not targets:
        return (
            (),
            (),
            Refusal("callsite", "absent", "no address for clear_page_* (kptr_restrict, or inlined)"),
        )
    found: list[code.CallSite] = []
    for caller in _CALLERS:
        symbol = system.symbols.one(caller)
        if symbol is None or why_untraceable(system, caller) is not None:
            continue
        text = code.read_text(symbol)
        if text is None:
            return (), (), _no_kcore()
        found += code.find_calls(text, symbol, targets)
    clears = tuple(c for c in found if c.target != _HOOK)
    hooks = tuple(c for c in found if c.target == _HOOK)
    if not found:
        return (), (), Refusal("callsite", "inlined", "no call to clear_page_* or post_alloc_hook found")
    return clears, hooks, None


def _no_kcore() -> Refusal:
    if not Path("/proc/kcore").exists():
        return Refusal("callsite", "config missing", "no /proc/kcore to read code from (CONFIG_PROC_KCORE)")
    return Refusal("callsite", "refused by policy", "/proc/kcore is not readable (lockdown, CAP_SYS_RAWIO)")


def _add_call_sites(system: System, candidates: list[Candidate], ruled_out: list[Refusal]) -> None:
    clears, hooks, refusal = call_sites(system)
    if refusal is not None:
        ruled_out.append(refusal)
        return
    from_freelist = [c for c in clears if c.function == _CALLERS[0]]
    if from_freelist:
        candidates.append(_calls("clear_page", "MT_SITE_ZERO_CLEAR_CALLS", "mt_clear", clears))
    if hooks:
        candidates.append(_calls(_HOOK, "MT_SITE_ZERO_HOOK_CALLS", "mt_hook", hooks))


def _calls(target: str, macro: str, stem: str, sites: tuple[code.CallSite, ...]) -> Candidate:
    def attach(module: Module) -> None:
        for site in sites:
            module.attach_kprobe(site.function, f"{stem}_return", site.offset + code.CALL_BYTES)
            module.attach_kprobe(site.function, f"{stem}_call", site.offset)

    places = ", ".join(f"{s.function}+{s.offset:#x}" for s in sites)
    return Candidate(
        event="zero.alloc",
        site=f"callsite:{target}",
        kind="callsite",
        macro=macro,
        function=sites[0].function,
        attach=attach,
        decode=f"kprobes before and after `call {target}` at {places}",
        offsets=tuple(s.offset for s in sites),
    )


def _leaf(kind: str, name: str, attach: partial[None]) -> Candidate:
    return Candidate(
        event="zero.alloc",
        site=f"{kind}:{name}",
        kind=kind,
        macro=f"MT_SITE_ZERO_LEAF_{kind.upper()}",
        function=name,
        attach=attach,
        decode="pages: second argument; order, nid: of the enclosing alloc",
    )
