# SPDX-License-Identifier: Apache-2.0
"""How often a page is cleared on its way into a guest, where that can be known."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable

import pytest

from memtrace.analyzer.tables import Report
from memtrace.analyzer.views import PLAIN, view
from memtrace.tests.analyzer.gmem.host import HUGE, MS, Host, case
from memtrace.tests.analyzer.gmem.tables import cells
from memtrace.tests.analyzer.recorded import START, Case, header
from memtrace.traces.reader import Run
from memtrace.traces.run import Fact
from memtrace.traces.schema import Flag


def test_clears_of_a_page(report_of: Callable[..., Report]) -> None:
    host = Host()
    host.fault(0, 100)
    facts = (Fact("init_on_alloc", "yes"), Fact("init_on_free", "no"))
    assert cells(report_of(host, facts=facts), "clears", "pages", "by_gmem", "per_page", "is_expected") == [
        (1, 1, 2.0, True)
    ]
    known = dataclasses.replace(header(), facts=(Fact("init_on_alloc", "unknown"),)).facts
    assert cells(report_of(host, facts=known), "clears", "per_page", "is_expected") == [(None, False)]
    alloc = {"event": "alloc", "parent": "gmem.get", "pfn": 100, "ts_ns": START + MS - 800_000, "vm": None}
    host.event("x", None, 1, 0, **alloc, flags=int(Flag.ZEROED), dur_ns=1)
    assert cells(report_of(host, facts=known), "clears", "by_allocator", "per_page") == [(1, 2.0)]


@pytest.mark.parametrize("orders", [(0,) * 4, (9,) * 4, (9, 9, 0, 0)], ids=str)
def test_clears_are_of_pages_and_not_of_folios(
    run_of: Callable[[Case | str], Run], orders: tuple[int, ...]
) -> None:
    host = Host()
    for i, order in enumerate(orders):
        pfn = (1 << 20) + i * HUGE
        of_folio = {"event": "alloc", "parent": "gmem.get", "pfn": pfn, "vm": None}
        host.event("x", None, 1 << order, order, **of_folio, flags=int(Flag.ZEROED), dur_ns=1)
        host.fault(i * HUGE, pfn, order)
    facts = (Fact("init_on_alloc", "yes"), Fact("init_on_free", "no"))
    report = view(run_of(case(host, facts=facts)), "gmem", PLAIN).report
    pages = sum(1 << order for order in orders)
    assert cells(report, "clears", "pages", "by_gmem", "by_allocator", "per_page", "is_expected") == [
        (pages, pages, pages, 2.0, False)
    ]


def test_the_allocator_s_part_is_unknown_where_it_may_clear_when_freed(
    report_of: Callable[..., Report],
) -> None:
    host = Host()
    host.fault(0, 100)
    for on_alloc, on_free, per_page in (
        ("yes", "yes", 1.0), ("yes", "unknown", None), ("no", "unknown", 1.0), ("unknown", "yes", 1.0),
    ):  # fmt: skip
        facts = (Fact("init_on_alloc", on_alloc), Fact("init_on_free", on_free))
        assert cells(report_of(host, facts=facts), "clears", "per_page") == [(per_page,)]
