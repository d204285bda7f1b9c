# SPDX-License-Identifier: Apache-2.0
"""The staged table ``preparations``: calls that prepared memory, at the level that says most."""

from __future__ import annotations

from collections.abc import Callable

from memtrace.tests.analyzer.gmem.host import HUGE, Host, case
from memtrace.tests.analyzer.model.traces import told
from memtrace.tests.analyzer.recorded import Case
from memtrace.traces.reader import Run
from memtrace.traces.schema import Flag

RunOf = Callable[[Case | str], Run]


def test_the_hardware_s_level_is_that_of_a_preparation_where_it_is_known(run_of: RunOf) -> None:
    host, other = Host(), Host(vm=2)
    host.fault(0, HUGE, 9, level=0)
    other.fault(0, 2 * HUGE, 9)
    other.event("prepare", 5, 1, 0, flags=int(Flag.FAILED))
    host.rows += other.rows
    found = told(run_of(case(host)), "preparations", "vm", "event", "level", "gfn")
    assert found == [(1, "gmem.assign", 0, 0), (2, "gmem.prepare", 9, 0)]
