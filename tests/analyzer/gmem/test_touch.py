# SPDX-License-Identifier: Apache-2.0
"""The parts of a first touch: they add up, and what was not recorded has no known time."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from memtrace.analyzer.tables import Report
from memtrace.tests.analyzer.gmem.host import EVENTS, PAGE, Host
from memtrace.tests.analyzer.gmem.tables import cells, rows
from memtrace.traces.run import ProbeSite


def test_parts_of_a_first_touch_add_up_to_it(report_of: Callable[..., Report]) -> None:
    host = Host()
    for i in range(10):
        host.fault(i, 100 + i)
    # Again after a conversion: looked up, not prepared, and no first touch.
    host.fault(3, 103, prepare=False)
    parts = {row["part"]: row for row in rows(report_of(host), "first_touch")}
    assert {part: row["total_ns"] for part, row in parts.items()} == {
        "allocation": None, "zeroing": 10 * 200_000, "preparation": 10 * 100_000, "lookup": 10 * 300_000,
        "rest": 10 * 400_000,
    }  # fmt: skip
    assert {row["faults"] for row in parts.values()} == {10}
    assert sum(row["share"] or 0 for row in parts.values()) == pytest.approx(1)


def test_a_preparation_of_unknown_time_is_in_no_mean(report_of: Callable[..., Report]) -> None:
    host = Host()
    host.fault(0, 100)
    host.fault(1, 101)
    for row in host.rows:
        if row["event"] == "gmem.prepare" and row["gfn"] == 1:
            row |= {"dur_ns": None, "total_ns": None, "self_ns": None}
    report = report_of(host)
    shown = ("calls", "bytes", "total_ns", "untimed_calls", "ns_per_call", "ns_per_mib")
    assert cells(report, "levels", *shown) == [(2, 2 * PAGE, 100_000, 1, 100_000, 25_600_000)]
    # Of the second fault nobody can say what was preparation and what look-up.
    parts = {row["part"]: (row["faults"], row["total_ns"]) for row in rows(report, "first_touch")}
    assert parts == {
        "allocation": (1, None), "zeroing": (1, 200_000), "preparation": (1, 100_000), "lookup": (1, 300_000),
        "rest": (1, 400_000),
    }  # fmt: skip
    table = report.table("first_touch")
    assert table is not None and table.notes[-1] == "Left out: 1 of which some part's time is unknown."


def test_a_part_that_was_not_recorded_took_no_known_time(report_of: Callable[..., Report]) -> None:
    host = Host()
    host.fault(0, 100)
    host.rows = [row for row in host.rows if row["event"] != "gmem.zero"]
    seen = tuple(event for event in EVENTS if event != "gmem.zero")
    manifest = tuple(ProbeSite(event, event, "fentry", event, proven=True) for event in seen)
    report = report_of(host, events=seen, manifest=manifest)
    parts = {row["part"]: row["total_ns"] for row in rows(report, "first_touch")}
    assert (parts["zeroing"], parts["lookup"]) == (None, 500_000)
    assert cells(report, "clears", "by_gmem", "per_page") == [(None, None)]


def test_a_fault_that_looks_up_twice_is_one(report_of: Callable[..., Report]) -> None:
    host = Host()
    host.fault(0, 100)
    fault = host.rows[-1]
    # Before the other: 100 us more of look-up, and so less of the rest.
    host.event("get", 0, 1, 0, parent="gmem.fault", pfn=100, ts_ns=fault["ts_ns"] - 900_000, dur_ns=100_000)
    parts = {row["part"]: (row["faults"], row["total_ns"]) for row in rows(report_of(host), "first_touch")}
    assert (parts["lookup"], parts["rest"]) == ((1, 400_000), (1, 300_000))
