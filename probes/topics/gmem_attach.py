# SPDX-License-Identifier: Apache-2.0
"""Candidates for gmem's functions, and hooks that are attached together or only once."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from functools import partial

from memtrace.probes.programs.module import Module
from memtrace.probes.sites.functions import function_ladder
from memtrace.probes.sites.ladder import Candidate, Ladder, named
from memtrace.probes.sites.system import System

GUEST = "vm, vcpu, gfn: arguments"
"""Text for ``decode``: where VM, vCPU and gfn are taken from."""


def plain(system: System, event: str, function: str, decode: str, inside: tuple[str, ...] = ()) -> Ladder:
    """Return the ladder of a function from entry to return."""
    return function_ladder(system, event, (function,), decode, inside)


def tracepoint(event: str, name: str, decode: str) -> Candidate:
    """Return a candidate for one of KVM's tracepoints, which gives a moment and no time."""
    return Candidate(
        event=event,
        site=f"tracepoint:kvm:{name}",
        kind="tracepoint",
        number="rawtp",
        function=None,
        attach=lambda module: module.attach_rawtp(name, f"{named('mt', event).lower()}_rawtp"),
        decode=decode,
        time="unknown",
    )


def with_helpers(system: System, ladder: Ladder, helpers: dict[str, tuple[str, str, str]]) -> Ladder:
    """Return ``ladder`` with more hooks attached before each function candidate.

    ``helpers``: macro of the function's name -> (function, "entry" or "exit", stem of the kprobe program).
    A helper whose function the kernel does not have is left out; one that the kernel refuses
    makes the candidate refused.
    """
    found = {macro: h for macro, h in helpers.items() if system.symbols.names(h[0])}
    candidates = tuple(
        dataclasses.replace(c, attach=partial(attach_all, first=c.attach, kind=c.kind, helpers=found))
        if c.kind in ("fentry", "kprobe")
        else c
        for c in ladder.candidates
    )
    names = {macro: name for macro, (name, _, _) in found.items()}
    return dataclasses.replace(ladder, candidates=candidates, macros=ladder.macros | names)


def attach_all(
    module: Module, first: Callable[[Module], None], kind: str, helpers: dict[str, tuple[str, str, str]]
) -> None:
    """Attach the helpers, then the function itself; raises RefusedError if the kernel refuses one."""
    for function, where, program in helpers.values():
        attach_helper(module, kind, function, where, program)
    first(module)


def attach_helper(module: Module, kind: str, function: str, where: str, program: str) -> None:
    """Attach to one end of a function, by fentry or by the probe of ``program``; raises RefusedError."""
    if kind == "fentry":
        module.attach_fentry(function, entry=where == "entry", exit_=where == "exit")
    elif where == "entry":
        module.attach_kprobe(function, f"{program}_kprobe")
    else:
        module.attach_kretprobe(function, f"{program}_kretprobe")


def attach_once(module: Module, first: Candidate) -> None:
    """Attach a candidate unless its function is hooked already, for another event; raises RefusedError."""
    if first.function in module.hooked:
        return
    first.attach(module)
    if first.function is not None:
        module.hooked.add(first.function)
