# SPDX-License-Identifier: Apache-2.0
"""The staged table ``stalls``: what one allocation, or one lone acceptance, kept a task for."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import pytest

from memtrace.analyzer.model.staged import model
from memtrace.tests.analyzer.accept.recorded import BLOCK, MS, UNIT, Who, accepting, stall
from memtrace.tests.analyzer.recorded import START, Case, Row
from memtrace.traces.reader import Run
from memtrace.traces.schema import Flag

Found = Callable[[Sequence[Row], str], list[tuple[Any, ...]]]


@pytest.fixture
def found(run_of: Callable[[Case], Run]) -> Found:
    """Columns of the stalls of a run of these rows."""

    def make(rows: Sequence[Row], sql: str) -> list[tuple[Any, ...]]:
        with model(run_of(accepting(rows))) as made:
            made.need("stalls")
            return [tuple(row.values()) for row in made.query(sql)]

    return make


def test_what_one_allocation_accepts_is_one_stall_of_its_request(found: Found) -> None:
    rows = stall(START + MS, (2, 2), who=Who("redis", 9, order=3, gfp=0x40))
    # Two blocks of 2 ms with 2 us around each, and 2 us of the burst.
    sql = 'SELECT accepts, blocks, bytes, lost_ns, "order", gfp, held, request FROM stalls'
    assert found(rows, sql) == [(2, 2, 2 * BLOCK, 4 * MS + 6000, 3, 0x40, True, True)]


def test_two_bursts_of_one_allocation_are_one_stall_without_the_time_between(found: Found) -> None:
    first, second = stall(START + 2 * MS), stall(START + 12 * MS, pfn=1 << 17)
    (alloc,) = (row for row in first if row["event"] == "alloc")
    around = alloc | {"ts_ns": START + 20 * MS, "dur_ns": 19 * MS, "total_ns": 19 * MS, "self_ns": 0}
    rows = [row for row in (*first, *second) if row["event"] != "alloc"] + [around]
    # Each burst is a block of 2 ms, 2 us around it and 2 us of its own.
    sql = "SELECT accepts, lost_ns, end_ns - begin_ns > 10000000 FROM stalls"
    assert found(rows, sql) == [(2, 2 * (2 * MS + 4000), True)]


def test_where_one_size_is_unknown_so_is_the_memory_and_not_the_time(found: Found) -> None:
    rows = [
        row | {"bytes": None, "bytes_requested": None}
        for row in stall(START + MS, (2, 2), levels=("alloc", "accept.burst", "accept.call"))
    ]
    assert found(rows, "SELECT accepts, bytes, lost_ns > 0 FROM stalls") == [(2, None, True)]


def test_an_allocation_that_failed_has_waited_too(found: Found) -> None:
    rows = stall(START + MS)
    rows[-1]["flags"] |= int(Flag.FAILED)
    assert found(rows, 'SELECT held, "order" FROM stalls') == [(True, 0)]


def test_older_runs_have_the_allocation_that_is_long_and_holds_something(found: Found) -> None:
    rows = stall(START + MS)
    rows[-1]["flags"] &= ~int(Flag.VICTIM)
    assert found(rows, "SELECT held, bytes FROM stalls") == [(True, 2 * UNIT)]
