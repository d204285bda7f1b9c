# SPDX-License-Identifier: Apache-2.0
"""Where traceable functions of this kernel zero pages, or call a function that does.

Up to 6.19 that is ``call clear_page_*``.  From 7.0 on it is clear_pages(), inlined
into the functions that zero page by page, and ``call clear_highpages_kasan_tagged`` in
the allocator.  Where post_alloc_hook() is a function of its own, its callers are found
by ``call post_alloc_hook``; where it is inlined into prep_new_page(), by ``call
prep_new_page``.  Either function gets the page, its order and its gfp flags in its first
three arguments.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from memtrace.probes.machine.sources import read_text
from memtrace.probes.programs.module import Module
from memtrace.probes.sites import code
from memtrace.probes.sites.ladder import why_untraceable
from memtrace.probes.sites.system import System
from memtrace.traces.run import Refusal

_RETBLEED = "/sys/devices/system/cpu/vulnerabilities/retbleed"
LEAVES = ("clear_highpages_kasan_tagged", "kernel_init_pages", "kernel_init_free_pages")
"""Functions (page, number of pages) that zero memory for the allocator, mm/page_alloc.c."""
CLEAR_PAGE = ("clear_page_erms", "clear_page_rep", "clear_page_orig")
UNROLLED = "__clear_pages_unrolled"
"""The function that clear_pages() calls on a CPU without fast string instructions.

It takes its operands in the registers that those instructions use.
"""
HOOKS = ("post_alloc_hook", "prep_new_page")
FREELIST = "get_page_from_freelist"
BULK = ("alloc_pages_bulk_noprof", "__alloc_pages_bulk")
ALLOCATOR = (
    FREELIST,
    *BULK,
    "__alloc_pages_direct_compact",
    "compaction_alloc",
    "release_free_list",
    "split_map_pages",
    "split_free_pages",
    "alloc_contig_frozen_range_noprof",
    "alloc_contig_range_noprof",
    "alloc_contig_range",
)
PAGE_CALLERS = (
    "shmem_get_folio_gfp",
    "shmem_getpage_gfp",
    "shmem_mfill_atomic_pte",
    "shmem_write_end",
    "__mfill_atomic_pte",
    "wp_page_copy",
    "do_wp_page",
    "collapse_huge_page",
    "collapse_file",
    "dax_fault_iter",
)
FREE_CALLERS = (
    "__free_pages_ok",
    "free_pages_prepare",
    "free_pcp_prepare",
    "free_unref_page_prepare",
    "free_unref_page",
    "free_unref_folios",
    "__free_frozen_pages",
    "free_frozen_pages",
)
Sites = tuple[code.CallSite, ...]


def allocator_sites(system: System) -> tuple[Sites, Refusal | None]:
    """Return the sites where the allocator zeroes pages, or no sites and the reason.

    There is a reason, too, where sites exist but the allocator's main path (FREELIST) has none.
    """
    sites, refusal = _sites(system, ALLOCATOR, (*CLEAR_PAGE, *HOOKS, *LEAVES))
    if refusal is None and not any(site.function == FREELIST for site in sites):
        why = f"{FREELIST} calls none of clear_page_*, {', '.join((*HOOKS, *LEAVES))}"
        return (), _no_calls(why)
    return sites, refusal


def page_sites(system: System, callers: tuple[str, ...]) -> tuple[Sites, Refusal | None]:
    """Return the sites where ``callers`` zero page by page, called or inlined, or no sites and the reason."""
    return _sites(system, callers, (*CLEAR_PAGE, UNROLLED), inlined=True)


def main_target(sites: Sites) -> str:
    """Return the name of what the allocator's main path calls; any clear_page_*() is ``clear_page``."""
    target = next(site.target for site in sites if site.function == FREELIST)
    return "clear_page" if target in CLEAR_PAGE else target


def allocator_programs(site: code.CallSite) -> tuple[str, str]:
    """Return the names of the BPF programs that run before and after a call in the allocator."""
    if site.target in HOOKS:
        return "mt_hook_call", "mt_hook_return"
    kind = "pages" if site.target in LEAVES else "bulk" if site.function in BULK else "clear"
    return f"mt_{kind}_call", "mt_pages_return" if kind == "pages" else "mt_clear_return"


def page_programs(stem: str) -> Callable[[code.CallSite], tuple[str, str]]:
    """Return a function from a site to the names of the BPF programs that run before and after it.

    The names begin with ``stem``.  clear_page_*() zeroes one page, any other target a range.
    """

    def programs(site: code.CallSite) -> tuple[str, str]:
        kind = "call" if site.target in CLEAR_PAGE else "range"
        return f"{stem}_{kind}", f"{stem}_return"

    return programs


def attach(module: Module, sites: Sites, programs: Callable[[code.CallSite], tuple[str, str]]) -> None:
    """Attach both kprobes of each site, the one after it first; raises RefusedError."""
    for site in sites:
        before, after = programs(site)
        module.attach_kprobe(site.function, after, site.offset + site.length)
        module.attach_kprobe(site.function, before, site.offset)


def places(sites: Sites) -> str:
    """Return the sites in words: function and offset of each, separated by commas."""
    return ", ".join(f"{s.function}+{s.offset:#x}" for s in sites)


def _sites(
    system: System, callers: tuple[str, ...], targets: tuple[str, ...], inlined: bool = False
) -> tuple[Sites, Refusal | None]:
    symbols = system.symbols
    called = [s for name in targets if (s := symbols.one(name))]
    known = {s.address: s.name for s in called}
    known |= {at: s.name for s in called if (at := code.thunk_of(s)) is not None}
    there = [name for name in callers if symbols.one(name)]
    if not there:
        why = "no address for these functions (kptr_restrict), or none is in this kernel: "
        return (), Refusal("callsite", "absent", why + ", ".join(callers))
    found: list[code.CallSite] = []
    for caller in there:
        symbol = symbols.one(caller)
        if symbol is None or why_untraceable(system, caller) is not None:
            continue
        text = code.read_text(symbol)
        if text is None:
            return (), _no_kcore()
        found += code.find_calls(text, symbol, known)
        found += code.find_clears(text, symbol) if inlined else ()
    if not found:
        what = "clear of pages, called or inlined," if inlined else "call to what clears pages"
        why = f"no {what} found in a traceable function of {', '.join(there)}"
        return (), _no_calls(why)
    return tuple(found), None


def _no_calls(why: str) -> Refusal:
    """Return why no call was found: none is there, or the kernel has pointed them elsewhere."""
    if "Stuffing" in (read_text("/", _RETBLEED) or ""):
        return Refusal("callsite", "thunked", f"{why}; {_RETBLEED} says Stuffing")
    return Refusal("callsite", "inlined", why)


def _no_kcore() -> Refusal:
    if not Path("/proc/kcore").exists():
        return Refusal("callsite", "config missing", "no /proc/kcore to read code from (CONFIG_PROC_KCORE)")
    return Refusal("callsite", "refused by policy", "/proc/kcore is not readable (lockdown, CAP_SYS_RAWIO)")
