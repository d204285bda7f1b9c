# SPDX-License-Identifier: Apache-2.0
"""The staged table ``life``: what memory of a guest was prepared when."""

from __future__ import annotations

from collections.abc import Callable

from memtrace.tests.analyzer.gmem.host import HUGE, Host, case
from memtrace.tests.analyzer.model.traces import told
from memtrace.tests.analyzer.recorded import Case
from memtrace.traces.reader import Run

RunOf = Callable[[Case | str], Run]


def test_a_unit_is_a_range_until_something_happens_to_a_part_of_it(run_of: RunOf) -> None:
    host = Host()
    whole = host.event("prepare", 0, HUGE, 9, pfn=HUGE)
    host.event("prepare", HUGE, HUGE, 9, pfn=2 * HUGE)
    freed = host.event("free", HUGE + 3, 1, 0, pfn=2 * HUGE + 3)
    units = told(run_of(case(host)), "life", "gfn", "pages", "made", "ts_ns", "held")
    assert units[0] == (0, HUGE, True, whole, False)
    assert len(units) == 1 + HUGE + 1 and {pages for _, pages, *_ in units[1:]} == {1}
    assert (HUGE + 3, 1, False, freed, True) in units


def test_a_hole_that_gave_a_page_back_is_known(run_of: RunOf) -> None:
    host = Host()
    host.event("prepare", 5, 1, 0, pfn=100)
    host.punch(4, 4, {5: 100})
    host.event("free", 6, 1, 0, pfn=101)
    gone = [row for row in told(run_of(case(host)), "life", "gfn", "made", "part", "small") if not row[1]]
    assert gone == [(5, False, True, True), (6, False, None, None)]
