# SPDX-License-Identifier: Apache-2.0
"""The staged table ``fault_gaps``: how long no fault of the VM was under way."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from memtrace.tests.analyzer.gmem.host import MS, Host, case
from memtrace.tests.analyzer.model.traces import fault, imported, told
from memtrace.tests.analyzer.recorded import START, Case
from memtrace.traces.reader import Run

COLUMNS = ("number", "last", "gap_ns", "region_gap_ns")
SECOND = 10**9


def test_a_gap_ends_with_a_fault_wherever_it_is(tmp_path: Path) -> None:
    lines = [fault(1, 0), fault(2, 1 << 30, tid=2212, vcpu=1), fault(32, 1 << 32), fault(33, 0x1000)]
    with imported(tmp_path, lines) as run:
        assert told(run, "fault_gaps", *COLUMNS) == [
            (1, None, None, None),
            (2, 1, SECOND, None),
            (3, 2, 30 * SECOND, None),
            (4, 3, SECOND, 32 * SECOND),
        ]


def test_another_vm_s_faults_end_no_gap(tmp_path: Path) -> None:
    lines = [fault(1, 0), fault(11, 0, tid=3311), fault(21, 0), fault(31, 0, tid=3311)]
    with imported(tmp_path, lines) as run:
        gaps = [(number, gap) for number, _, gap, _ in told(run, "fault_gaps", *COLUMNS)]
        assert gaps == [(1, None), (2, None), (3, 20 * SECOND), (4, 20 * SECOND)]


def test_a_fault_under_way_leaves_no_gap(run_of: Callable[[Case | str], Run]) -> None:
    host = Host()
    # From 0 to 10 ms on one vCPU; meanwhile from 1 to 2 ms and from 4 to 5 ms on another; then from 12 ms.
    for begin, end in ((0, 10), (1, 2), (4, 5), (12, 13)):
        host.event("fault", 5, 1, 0, ts_ns=START + end * MS, dur_ns=(end - begin) * MS)
    assert told(run_of(case(host)), "fault_gaps", *COLUMNS) == [
        (1, None, None, None),
        (2, 1, 0, 0),
        (3, 1, 0, 0),
        (4, 1, 2 * MS, 2 * MS),
    ]
