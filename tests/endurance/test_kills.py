# SPDX-License-Identifier: Apache-2.0
"""Some recorders killed while they start and while they write; `make kills` is the long form."""

from __future__ import annotations

import os

import pytest

from memtrace.tests.endurance.kills import at_a_checkpoint, load, table, trial, while_starting

pytestmark = [pytest.mark.live, pytest.mark.skipif(os.geteuid() != 0, reason="recording needs root")]


def test_what_killed_recorders_leave_opens_and_agrees_with_the_kernel() -> None:
    with load():
        left = [trial(kill, f"test/{i}") for i in range(2) for kill in (while_starting, at_a_checkpoint)]
    assert all(one.good for one in left), table(left)
    assert any(one.state == "cut short" for one in left), table(left)
