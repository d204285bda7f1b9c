# SPDX-License-Identifier: Apache-2.0
"""The file against the kernel side's counters."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from typing import Any

import pytest

from memtrace.analyzer.integrity import disagreements, integrity, needs_pfn
from memtrace.analyzer.partials import Partials
from memtrace.analyzer.tables import Table
from memtrace.tests.analyzer.recorded import Row, aggregated, counters, status, streamed
from memtrace.traces.schema import Flag

Check = Callable[..., Table]
ROWS = [streamed(order=i % 4, dur=i, pfn=1000 * i) for i in range(20)]
SUMMED = [*ROWS, aggregated("alloc", 50, 100)]


@pytest.fixture
def check(partials_of: Callable[..., Partials]) -> Check:
    """The table for rows, with some of the kernel's numbers changed."""

    def make(rows: Sequence[Row], *events: str, **changes: Any) -> Table:
        told = counters(rows, *(events or ("alloc",)), **changes)
        return integrity(partials_of(rows, with_pfn=True), status(counters=told))

    return make


def test_they_agree(check: Check) -> None:
    table = check(ROWS)
    assert table.notes == ("file and kernel agree: 20 events",)
    assert table.rows[0]["checked"] == "count, sum of order, sum of pfn"
    assert disagreements(table) == ()


@pytest.mark.parametrize(
    ("changes", "verdict"),
    [
        ({"seen": 21}, "count differs by -1"),
        ({"seen": 18}, "count differs by +2"),
        ({"sum_order": 31}, "sum of order differs by -1"),
        ({"sum_pfn": 0}, "sum of pfn differs by +190000"),
        ({"sum_pfn": (1 << 64) - 1}, "sum of pfn differs by +190001"),
        ({"seen": 21, "sum_pfn": 190_001}, "count differs by -1; sum of pfn differs by -1"),
    ],
)
def test_what_differs_is_said_and_by_how_much(changes: dict[str, int], verdict: str, check: Check) -> None:
    table = check(ROWS, **changes)
    assert disagreements(table) == (f"alloc {verdict}",)
    assert table.notes == (f"file and kernel DIFFER: alloc {verdict}",)


def test_lost_events_complete_the_count_and_spoil_the_sums(check: Check) -> None:
    table = check(ROWS, seen=23, ring_full=3, sum_order=99, sum_pfn=99)
    assert table.notes == ("file and kernel agree: 23 events, 3 of them lost because a ring was full",)
    assert table.rows[0]["checked"] == "count"


@pytest.mark.parametrize(
    ("seen", "before", "verdict"),
    [
        (20, 20, "agree"),
        (23, 20, "agree"),
        (20, 17, "agree"),
        (25, 15, "agree"),
        (25, 21, "count differs by -1"),
        (18, 17, "count differs by +2"),
        (18, 18, "count differs by +2"),
    ],
)
def test_rows_of_a_checkpoint_are_between_two_readings(
    check: Check, seen: int, before: int, verdict: str
) -> None:
    table = check(ROWS, seen=seen, seen_before=before)
    assert table.rows[0]["verdict"].split("; sum")[0] == verdict
    assert (table.rows[0]["checked"] == "count") == (seen > before)
    if verdict == "agree" and seen > before:
        (note,) = table.notes
        assert note.endswith(f"; {seen - before} of them came while the last rows were taken, "
                             "and may not be among these")  # fmt: skip


def test_aggregates_have_orders_but_no_pfn(check: Check) -> None:
    assert check(SUMMED).rows[0]["checked"] == "count, sum of order"
    assert disagreements(check(SUMMED, sum_order=29)) == ("alloc sum of order differs by +1",)


def test_inferred_rows_are_not_held_against_what_programs_saw(check: Check) -> None:
    inferred = aggregated("zero.alloc", 9, flags=int(Flag.AGGREGATED | Flag.INFERRED))
    table = check([*ROWS, inferred], "alloc", "zero.alloc")
    assert [row["file_count"] for row in table.rows] == [20, 0]
    assert disagreements(table) == ()


def test_the_recorders_own_rows_count(check: Check) -> None:
    assert disagreements(check([*ROWS, streamed(dur=1, flags=int(Flag.TRACER))])) == ()


def test_without_counters_there_is_nothing_to_hold_it_against(partials_of: Callable[..., Partials]) -> None:
    table = integrity(partials_of(ROWS), status())
    assert table.rows == () and "nothing to hold the file against" in table.notes[0]


def test_pfn_is_read_only_where_it_can_be_compared() -> None:
    (told,) = counters(ROWS, "alloc")
    assert needs_pfn(status(counters=(told,)))
    assert not needs_pfn(status(counters=(dataclasses.replace(told, aggregated=1),)))
    assert not needs_pfn(status(counters=(dataclasses.replace(told, ring_full=1),)))
    assert not needs_pfn(status(counters=counters((), "alloc")))
    assert not needs_pfn(status())
