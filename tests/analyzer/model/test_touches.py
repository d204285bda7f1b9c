# SPDX-License-Identifier: Apache-2.0
"""The staged table ``touches``: the parts of a first touch."""

from __future__ import annotations

from collections.abc import Callable

from memtrace.tests.analyzer.gmem.host import Host, case
from memtrace.tests.analyzer.model.traces import told
from memtrace.tests.analyzer.recorded import Case
from memtrace.traces.reader import Run

RunOf = Callable[[Case | str], Run]


def test_a_first_touch_by_part(run_of: RunOf) -> None:
    host = Host()
    host.fault(0, 100)
    host.fault(0, 100, prepare=False)
    parts = ("allocation_ns", "zeroing_ns", "preparation_ns", "lookup_ns", "rest_ns")
    assert told(run_of(case(host)), "touches", "number", "timed", "dur_ns", *parts) == [
        (1, True, 1_000_000, 0, 200_000, 100_000, 300_000, 400_000)
    ]
