# SPDX-License-Identifier: Apache-2.0
"""Whose events pass the gate, on the running kernel (root)."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from memtrace.tests.probes.recorder.known import PAGES, counting

pytestmark = [
    pytest.mark.live,
    pytest.mark.skipif(os.geteuid() != 0, reason="recording needs root"),
]

NEIGHBOUR = (
    f"import mmap; m = mmap.mmap(-1, {PAGES} << 12); m.madvise(mmap.MADV_NOHUGEPAGE)\n"
    f"for page in range({PAGES}): m[page << 12] = 1"
)


def test_known_work_is_our_own_and_nobody_elses_page_faults_prove_a_site() -> None:
    with counting("alloc") as known:
        known.gate.own(True)
        subprocess.run((sys.executable, "-c", NEIGHBOUR), check=True)
        others = known.seen()["alloc"]
        assert known.touched()["alloc"] >= PAGES
        # To fork takes pages too: some hundreds, of page tables.
        assert others < PAGES
        before = known.seen()["alloc"]
        known.gate.set(True)
        subprocess.run((sys.executable, "-c", NEIGHBOUR), check=True)
        assert known.seen()["alloc"] - before >= PAGES
