# SPDX-License-Identifier: Apache-2.0
"""Pages that direct compaction captures for the allocation that it works for.

try_to_compact_pages(gfp_mask, order, alloc_flags, ac, prio, capture), mm/compaction.c, leaves
such a page in ``*capture``, in 7.3 in a ``struct capture_control``.  __alloc_pages_direct_compact()
(mm/page_alloc.c) then takes it without get_page_from_freelist() (5e1f0f098b46, "mm, compaction:
capture a page under direct compaction").  Its allocation has no interval of its own: what took
the time is the compaction.
"""

from __future__ import annotations

import dataclasses
from functools import partial

from memtrace.probes.programs.module import Module
from memtrace.probes.sites.functions import function_ladder
from memtrace.probes.sites.ladder import Ladder
from memtrace.probes.sites.system import System
from memtrace.traces.run import Refusal

FENTRY, KPROBE = "capture_fentry", "capture_kprobe"
"""Kinds of the sites, as alloc numbers them beside its own."""
_FUNCTION = "try_to_compact_pages"
_MACRO = "MT_FN_ALLOC_CAPTURE"
_ARGUMENTS = ("gfp_mask", "order", "alloc_flags", "ac", "prio")


def ladder(system: System) -> Ladder:
    """Return the candidates for the second site of alloc, without those that cannot be tried.

    A kernel without CONFIG_COMPACTION has no such function, and captures nothing.
    """
    found = function_ladder(
        system,
        "alloc",
        (_FUNCTION,),
        f"captured pages: last argument of {_FUNCTION}",
        name=_MACRO,
        program="mt_alloc_capture",
    )
    if not found.candidates:
        return found
    place = _page_at(system)
    if isinstance(place, Refusal):
        return Ladder("alloc", (), (place,))
    candidates = tuple(
        dataclasses.replace(
            c,
            number=FENTRY if c.kind == "fentry" else KPROBE,
            attach=partial(Module.attach_fentry, function=_FUNCTION, entry=False)
            if c.kind == "fentry"
            else c.attach,
        )
        for c in found.candidates
    )
    return dataclasses.replace(
        found, candidates=candidates, macros=found.macros | {"MT_CAPTURE_PAGE": str(place)}
    )


def _page_at(system: System) -> int | Refusal:
    """Return where the page is in what the last argument points at, bytes; or why that is not known."""
    parameters = system.btf.parameters(_FUNCTION) if system.btf else None
    if system.btf is None or parameters is None:
        return Refusal(_FUNCTION, "not known", "no BTF that tells its arguments")
    at = {"capc": system.btf.offset_of("capture_control", "page"), "capture": 0}.get(parameters[-1])
    if at is None or parameters[:-1] != _ARGUMENTS:
        return Refusal(_FUNCTION, "failed", f"its arguments are {', '.join(parameters)}")
    return at
