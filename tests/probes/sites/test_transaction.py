# SPDX-License-Identifier: Apache-2.0
"""What a refused candidate had attached is detached again, so that nothing is counted twice (root)."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from memtrace.probes.programs.module import Module
from memtrace.probes.programs.refusal import RefusedError
from memtrace.probes.sites.ladder import Candidate, Ladder, climb
from memtrace.tests.probes.recorder.known import PAGES, counting

pytestmark = [
    pytest.mark.live,
    pytest.mark.skipif(os.geteuid() != 0, reason="recording needs root"),
]


def descriptors() -> int:
    return len(list(Path("/proc/self/fd").iterdir()))


def again(module: Module) -> None:
    module.attach_rawtp("mm_page_alloc", "mt_alloc_rawtp")


def again_and_refused(module: Module) -> None:
    again(module)
    module.hooked.add("a function of the candidate")
    raise RefusedError("failed", "the second of its probes")


def test_a_candidate_is_attached_whole_or_not_at_all() -> None:
    with counting("alloc") as known:
        once = known.touched()["alloc"]
        before = descriptors()
        refused = Ladder("alloc", (Candidate("alloc", "some", "rawtp", None, again_and_refused, ""),))
        site, chosen = climb(refused, known.attached.module)
        assert (site.site, chosen, site.refused[0].detail) == (None, (), "the second of its probes")
        assert descriptors() == before
        assert "a function of the candidate" not in known.attached.module.hooked
        assert abs(known.touched()["alloc"] - once) < PAGES // 2

        # That is no empty assertion: what stays attached does count twice.
        _, chosen = climb(
            Ladder("alloc", (Candidate("alloc", "some", "rawtp", None, again, ""),)), known.attached.module
        )
        assert chosen
        assert known.touched()["alloc"] >= 2 * PAGES
