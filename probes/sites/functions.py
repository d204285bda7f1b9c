# SPDX-License-Identifier: Apache-2.0
"""The plain ladder: a function from entry to return, by fentry/fexit, else kprobe/kretprobe."""

from __future__ import annotations

from functools import partial

from memtrace.probes.programs.module import Module
from memtrace.probes.sites.ladder import Candidate, Ladder, named, resolve, why_no_kprobes, why_untraceable
from memtrace.probes.sites.system import System
from memtrace.traces.run import Refusal


def function_ladder(
    system: System,
    event: str,
    stems: tuple[str, ...],
    decode: str,
    inclusive_of: tuple[str, ...] = (),
    *,
    name: str = "",
    program: str = "",
) -> Ladder:
    """Return the ladder of ``event``, for the first of ``stems`` that this kernel has.

    ``name`` is the macro that gives the function's name to the fentry programs, ``program``
    the stem of the kprobe programs.  Left empty, they follow from the event: MT_FN_ACCEPT_CALL
    and mt_accept_call for accept.call.
    """
    name, program = name or named("MT_FN", event), program or named("mt", event).lower()
    function = resolve(system, stems)
    refusal = why_untraceable(system, function or stems[0])
    if refusal is not None or function is None:
        return Ladder(event, (), (refusal,) if refusal else ())
    candidates: list[Candidate] = []
    ruled_out: list[Refusal] = []
    macros: dict[str, str] = {}

    candidate = partial(Candidate.on, function, event=event, decode=decode, inclusive_of=inclusive_of)
    module = system.symbols.module_of(function)
    if module is not None:
        why = f"{function} is in the module {module}; BCC looks in the core kernel only"
        ruled_out.append(Refusal(f"fentry:{function}", "failed", why))
    elif "." not in function:
        macros[name] = function
        candidates.append(candidate("fentry", partial(Module.attach_fentry, function=function)))
    no_kprobes = why_no_kprobes(system)
    if no_kprobes is not None:
        ruled_out.append(no_kprobes)
    else:
        candidates.append(candidate("kprobe", partial(attach_pair, function=function, program=program)))
    return Ladder(event, tuple(candidates), tuple(ruled_out), macros)


def attach_pair(module: Module, function: str, program: str) -> None:
    """Attach ``<program>_kprobe`` at the entry and ``<program>_kretprobe`` at the return.

    Raises RefusedError if the kernel refuses one.
    """
    module.attach_kretprobe(function, f"{program}_kretprobe")
    module.attach_kprobe(function, f"{program}_kprobe")
