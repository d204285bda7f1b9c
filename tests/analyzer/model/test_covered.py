# SPDX-License-Identifier: Apache-2.0
"""The staged table ``covered``: for how long a range was in a page of 2 MiB."""

from __future__ import annotations

from collections.abc import Callable

from memtrace.tests.analyzer.gmem.host import HUGE, MS, Host, case
from memtrace.tests.analyzer.model.traces import told
from memtrace.tests.analyzer.recorded import START, Case
from memtrace.traces.reader import Run

RunOf = Callable[[Case | str], Run]


def test_a_range_is_covered_until_a_part_of_it_goes(run_of: RunOf) -> None:
    host = Host()
    begun = host.event("assign", 0, 2 * HUGE, 9, pfn=0) and START + MS
    host.event("assign", HUGE, HUGE, 9, pfn=HUGE)
    ended = host.event("convert", HUGE + 1, 1, bytes_requested=4096, flags=0)
    assert told(run_of(case(host)), "covered", "range", "ts_ns", "end_ns", "cause") == [
        (0, begun, None, None),
        (1, begun + MS, ended, "part shared"),
    ]
