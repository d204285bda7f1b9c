# SPDX-License-Identifier: Apache-2.0
"""One small fentry program tells whether all the compiled ones would be refused by policy."""

import dataclasses
import os

import pytest

from memtrace.probes.machine.kernel import describe_system
from memtrace.probes.programs.fentry import why_no_fentry
from memtrace.probes.programs.module import Module
from memtrace.probes.programs.refusal import RefusedError
from memtrace.probes.recorder import plan
from memtrace.probes.sites.ladder import Candidate, Ladder, rule_out
from memtrace.probes.sites.system import System
from memtrace.traces.run import Refusal

live = pytest.mark.live
as_root = pytest.mark.skipif(os.geteuid() != 0, reason="needs root")
FUNCTION = "get_page_from_freelist"


@live
@as_root
def test_a_compiled_program_meets_the_same_answer() -> None:
    system = System.of(describe_system())
    shape = plan.Shape(avoid=("kprobe", "callsite"))
    attached = plan.attach(system, ("alloc",), plan.Filters(), shape)
    attached.module.close()
    (alloc,) = (site for site in attached.manifest if site.event == "alloc")
    refusal = why_no_fentry(FUNCTION)
    if refusal is None:
        assert alloc.kind == "fentry"
    else:
        assert (f"fentry:{FUNCTION}", refusal.reason) in {(r.candidate, r.reason) for r in alloc.refused}


@live
@as_root
def test_a_function_that_does_not_exist_says_nothing_of_the_others() -> None:
    assert why_no_fentry("no_such_function_anywhere") is None


def test_what_is_ruled_out_keeps_its_name_and_the_rest_its_place() -> None:
    def attach(module: Module) -> None:
        raise RefusedError("failed", "not tried here")

    def candidate(kind: str) -> Candidate:
        return Candidate("alloc", f"{kind}:f", kind, "f", attach, "")

    ladder = Ladder("alloc", (candidate("fentry"), candidate("kprobe"), candidate("rawtp")))
    left = rule_out(ladder, "fentry", Refusal("fentry", "refused by policy", "EPERM"))
    assert [c.kind for c in left.candidates] == ["kprobe", "rawtp"]
    assert left.ruled_out == (Refusal("fentry:f", "refused by policy", "EPERM"),)
    assert rule_out(left, "fentry", Refusal("fentry", "x")) is left
    assert dataclasses.replace(ladder, candidates=left.candidates, ruled_out=left.ruled_out) == left
