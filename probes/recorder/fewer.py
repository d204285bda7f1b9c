# SPDX-License-Identifier: Apache-2.0
"""Leaves out of ladders what need not be compiled, because compiling takes most of a start."""

from __future__ import annotations

import dataclasses

from memtrace.probes.programs.fentry import why_no_fentry
from memtrace.probes.sites.ladder import Candidate, Ladder, rule_out


def without_kprobes(ladder: Ladder) -> Ladder:
    """Return ``ladder`` without the kprobes whose programs are compiled only where fentry is refused."""

    def kept(candidates: tuple[Candidate, ...]) -> tuple[Candidate, ...]:
        return tuple(c for c in candidates if c.kind != "kprobe" or c.standalone)

    candidates = (dataclasses.replace(c, beside=kept(c.beside)) for c in kept(ladder.candidates))
    return dataclasses.replace(ladder, candidates=tuple(candidates))


def without_refused_fentry(ladders: tuple[Ladder, ...]) -> tuple[Ladder, ...]:
    """Return the ladders, without fentry if the kernel's policy refuses all of it.

    The fentry programs then need not be compiled.
    """
    functions = (c.function for ladder in ladders for c in ladder.candidates if c.kind == "fentry")
    function = next((name for name in functions if name), None)
    refusal = why_no_fentry(function) if function else None
    if refusal is None:
        return ladders
    return tuple(
        dataclasses.replace(
            rule_out(ladder, "fentry", refusal),
            macros={name: value for name, value in ladder.macros.items() if not name.startswith("MT_FN_")},
        )
        for ladder in ladders
    )
