# SPDX-License-Identifier: Apache-2.0
"""The kernel refuses one probe of a recording, each in turn: what is left never counts a page twice.

Boots: 1.
"""

from __future__ import annotations

import json

import pytest

from memtrace.lab.sizes import GIB
from memtrace.tests.probes.recorder.known import PAGES
from memtrace.tests.vm.conftest import Guest

pytestmark = pytest.mark.vm

SCRIPT = "python3 -m memtrace.tests.vm.workloads.refused_steps alloc zero.alloc > $RESULTS/steps"


def test_a_refused_probe_takes_its_candidate_with_it(guest: Guest) -> None:
    result = guest("debian-6.12", SCRIPT, memory=(2 * GIB,), append="init_on_alloc=1")
    assert result.status == 0, result.output
    whole, *steps = map(json.loads, (result.results / "steps").read_text().splitlines())
    assert whole["sites"]["zero.alloc"] == "callsite:clear_page"
    assert len(steps) > 10
    for step in steps:
        counted, site = step["counted"], step["sites"]["zero.alloc"]
        assert PAGES <= counted["alloc"] < PAGES + 200, step
        # With init_on_alloc each allocation is cleared, once.  What interrupts a program of ours and
        # allocates may go unseen in one of the two.
        cleared = 0 if site == "inferred:gfp" else counted["alloc"]
        assert abs(counted["zero.alloc"] - cleared) < 10, step
    # Each probe of the call sites was refused once, and the next rung took their place.
    without = [step for step in steps if step["sites"]["zero.alloc"] != whole["sites"]["zero.alloc"]]
    assert len(without) >= 2
