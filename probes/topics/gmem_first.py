# SPDX-License-Identifier: Apache-2.0
"""How the first use of a guest_memfd page is told from a later look-up of it.

guest_memfd zeroes a page once, before its first use, and marks its folio up to date.
Where it does so differs between kernels (virt/kvm/guest_memfd.c):

- __kvm_gmem_get_pfn() has an argument ``is_prepared``.  Its caller zeroes the page, and calls
  the architecture's hook, only where that is false.
- It has no such argument.  Its caller zeroes what is not up to date, and calls the hook for
  every look-up.
- It has no such argument, and zeroes the page itself.

The last two have the same arguments.  There the folio's flag is read as kvm_gmem_get_folio()
returns, before either can have zeroed the page, and again as __kvm_gmem_get_pfn() returns.
That tells which of the two it was, page by page.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from memtrace.probes.sites.btf import Btf
from memtrace.probes.sites.functions import function_ladder
from memtrace.probes.sites.ladder import resolve, why_untraceable
from memtrace.probes.sites.system import System
from memtrace.traces.run import Refusal

LOOKUP = "__kvm_gmem_get_pfn"
FOLIO = "kvm_gmem_get_folio"
_PROGRAMS = {"LOOKUP": "mt_gmem_lookup", "FOLIO": "mt_gmem_folio"}


@dataclass(frozen=True)
class FirstUse:
    """The functions whose returns are watched to tell a first use, or why it can't be told."""

    functions: tuple[tuple[str, str], ...] = ()
    """Each function, with the stem of its kprobe program."""
    macros: dict[str, str] = field(default_factory=dict)
    kinds: tuple[str, ...] = ()
    """The kinds of probe, fentry or kprobe, that can watch all of the functions, best first."""
    hook_tells: bool = False
    """Whether the architecture's hook is called at first uses only."""
    refused: tuple[Refusal, ...] = ()


def first_use(system: System, btf: Btf) -> FirstUse:
    """Return how a first use is told on this kernel; ``refused`` says why where it can't be."""
    parameters = btf.parameters(resolve(system, (LOOKUP,)) or LOOKUP)
    uptodate = btf.enumerator("PG_uptodate", "pageflags")
    if uptodate is None:
        return FirstUse(refused=(Refusal(LOOKUP, "not known", "no BTF to tell where a folio is up to date"),))
    hook_tells = parameters is not None and "is_prepared" in parameters
    wanted = {"LOOKUP": LOOKUP} if hook_tells else {"FOLIO": FOLIO, "LOOKUP": LOOKUP}
    macros = {"MT_PG_UPTODATE": str(uptodate)}
    if not hook_tells:
        macros["MT_GMEM_SEES_FOLIO"] = "1"
    functions: list[tuple[str, str]] = []
    kinds = ["fentry", "kprobe"]
    for part, stem in wanted.items():
        if refusal := why_untraceable(system, resolve(system, (stem,)) or stem):
            return FirstUse(refused=(_explained(refusal, hook_tells),))
        ladder = function_ladder(system, "", (stem,), "", name=f"MT_FN_GMEM_{part}", program=_PROGRAMS[part])
        kinds = [kind for kind in kinds if any(c.kind == kind for c in ladder.candidates)]
        functions += [(c.function, _PROGRAMS[part]) for c in ladder.candidates[:1] if c.function]
        macros |= ladder.macros
        if not kinds:
            return FirstUse(refused=ladder.ruled_out)
    return FirstUse(tuple(functions), macros, tuple(kinds), hook_tells)


def _explained(refusal: Refusal, hook_tells: bool) -> Refusal:
    if hook_tells:
        return refusal
    why = "so that the first use of a page can't be told from a later look-up"
    return Refusal(refusal.candidate, refusal.reason, f"{refusal.detail}, {why}")
