# SPDX-License-Identifier: Apache-2.0
"""Ranges of guest memory: given to a guest, split, preallocated, punched, populated."""

from __future__ import annotations

import dataclasses
from functools import partial
from pathlib import Path

from memtrace.probes.sites.btf import Btf
from memtrace.probes.sites.functions import function_ladder
from memtrace.probes.sites.ladder import Ladder
from memtrace.probes.sites.system import System
from memtrace.probes.topics.gmem_arguments import places
from memtrace.probes.topics.gmem_attach import GUEST, attach_once, plain, tracepoint
from memtrace.probes.topics.gmem_events import BY_NAME
from memtrace.probes.topics.gmem_lookup import attach_with_bind, binding
from memtrace.traces.run import Refusal


def assign_ladder(system: System) -> Ladder:
    """Return the ladder of gmem.assign: the secure EPT where TDX is on, else the RMP."""
    decode = "gpa, level: arguments (order 9 times the level)"
    if Path("/sys/module/kvm_intel/parameters/tdx").exists() and system.symbols.names("tdh_mem_page_aug"):
        ladder = plain(system, "gmem.assign", "tdh_mem_page_aug", decode)
        parameters = system.btf.parameters("tdh_mem_page_aug") if system.btf else None
        more = {"MT_GMEM_ASSIGN_TDX": "1", "MT_GMEM_ASSIGN_ARGS": str(len(parameters or ()) or 6)}
    else:
        ladder = plain(system, "gmem.assign", "rmp_make_private", f"pfn, {decode}")
        more = {"MT_GMEM_ASSIGN_ARGS": "5"}
    return dataclasses.replace(ladder, macros=ladder.macros | more)


def split_ladder(system: System) -> Ladder:
    """Return the ladder of gmem.split: psmash(), or the tracepoint that tells of it."""
    ladder = plain(system, "gmem.split", "psmash", "pfn: argument; order: 9, what was split")
    last = tracepoint("gmem.split", "kvm_rmp_fault", "gpa, pfn, psmash_ret: arguments, if rmp_level > 1")
    return dataclasses.replace(ladder, candidates=(*ladder.candidates, last))


def populate_ladder(system: System, btf: Btf) -> Ladder:
    """Return the ladder of gmem.populate, whose arguments are found by their names."""
    found = places(btf, "kvm_gmem_populate")
    if isinstance(found, Refusal):
        return Ladder("gmem.populate", (), (found,))
    ladder = plain(system, "gmem.populate", "kvm_gmem_populate", f"{GUEST}; pages: return value")
    return dataclasses.replace(ladder, macros=ladder.macros | found)


def fallocate_ladders(system: System, btf: Btf) -> dict[str, Ladder]:
    """Return the ladders of gmem.allocate and gmem.punch; one function serves both."""
    slot, _ = binding(system, btf)
    made = {}
    for event, said in (
        ("gmem.allocate", "bytes: how the file grew meanwhile, by whomever"),
        ("gmem.punch", "bytes: freed inside"),
    ):
        ladder = function_ladder(
            system,
            event,
            ("kvm_gmem_fallocate",),
            f"length: argument; {said}; gfn: where the file is bound",
            BY_NAME[event].inside,
            name="MT_FN_GMEM_FALLOCATE",
            program="mt_gmem_fallocate",
        )
        candidates = tuple(
            dataclasses.replace(
                c, attach=partial(attach_with_bind, first=partial(attach_once, first=c), bind=slot)
            )
            if c.kind == "fentry"
            else dataclasses.replace(c, attach=partial(attach_once, first=c))
            for c in ladder.candidates
        )
        made[event] = dataclasses.replace(ladder, candidates=candidates)
    return made
