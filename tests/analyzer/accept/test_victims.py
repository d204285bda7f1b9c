# SPDX-License-Identifier: Apache-2.0
"""The tables ``victims``, ``worst`` and ``bursts``: who waited, for how many accepts, how long."""

from __future__ import annotations

import pytest

from memtrace.tests.analyzer.accept.conftest import Tables
from memtrace.tests.analyzer.accept.recorded import (
    ALL,
    BLOCK,
    MIB,
    MS,
    PAGES,
    Who,
    accepting,
    stall,
)
from memtrace.tests.analyzer.accept.tables import column, row_of
from memtrace.tests.analyzer.recorded import SECOND, START
from memtrace.traces.schema import Flag


def test_the_task_that_lost_most_is_first_with_what_it_asked_for(tables: Tables) -> None:
    rows = []
    for i in range(3):
        pfn = (1 << 16) + 2 * i * PAGES
        rows += stall(START + 20 * i * MS, (2, 2), pfn=pfn, who=Who("victim", 300, 9, 0x40))
        rows += stall(START + (10 + 20 * i) * MS, (1,), pfn=(1 << 17) + i * PAGES, who=Who("other", 400))
    first, second = tables(accepting(rows))["victims"].rows
    assert (first["comm"], first["pid"], first["order"], first["gfp"]) == ("victim", 300, 9, "__GFP_IO")
    assert (first["stalls"], first["accepts"], first["bytes"]) == (3, 6, 6 * BLOCK)
    # Two blocks of 2 ms, 2 us around each and 2 us of the burst.
    assert (first["lost_ns"], first["worst_ns"]) == (3 * 4_006_000, 4_006_000)
    assert (second["comm"], second["cgroup"], second["stalls"]) == ("other", "/db.slice", 3)


@pytest.mark.parametrize(
    "levels",
    [
        ("alloc", "accept.call"),
        ("alloc", "accept.block", "accept.call"),
        ("alloc", "accept.call", "accept.arch"),
        ("alloc", "accept.burst", "accept.call"),
        ALL,
    ],
)
def test_a_burst_is_one_stall_whatever_the_kernel_offers(levels: tuple[str, ...], tables: Tables) -> None:
    rows = []
    for i in range(5):
        rows += stall(START + 50 * i * MS, (2, 2, 2), pfn=(1 << 16) + 3 * i * PAGES, levels=levels)
    found = tables(accepting(rows, levels=levels))
    (victim,) = found["victims"].rows
    assert (victim["stalls"], victim["accepts"], victim["bytes"]) == (5, 15, 15 * BLOCK)
    assert victim["lost_ns"] == pytest.approx(5 * 6 * MS, rel=0.01)
    (burst,) = found["bursts"].rows
    assert (burst["accepts"], burst["stalls"]) == ("3-4", 5)


def test_without_allocations_each_accept_is_a_stall_and_the_request_unknown(tables: Tables) -> None:
    levels = ("accept.call",)
    rows = [row for i in range(4) for row in stall(START + 9 * i * MS, (2, 2), levels=levels)]
    found = tables(accepting(rows, levels=levels))
    (victim,) = found["victims"].rows
    assert (victim["stalls"], victim["order"], victim["gfp"]) == (8, None, None)
    assert found["bursts"].rows == () and "unknown" in found["bursts"].notes[0]


def test_an_allocation_that_failed_has_waited_too(tables: Tables) -> None:
    rows = stall(START + MS, flags=0)
    rows[-1]["flags"] |= int(Flag.FAILED)
    (victim,) = tables(accepting(rows))["victims"].rows
    assert (victim["order"], victim["stalls"]) == (0, 1)


def test_the_recorders_own_stalls_are_no_victims_and_still_memory(tables: Tables) -> None:
    found = tables("lazy")
    assert "memtrace" not in column(found["victims"], "comm")
    assert "recorder's own stalls (1)" in found["victims"].notes[0]
    assert row_of(found["calls"], nid=1, size_bytes=2 * MIB)["calls"] == 1


def test_the_longest_stall_comes_with_its_moment_and_stack(tables: Tables) -> None:
    table = tables("lazy")["worst"]
    worst = table.rows[0]
    assert (worst["comm"], worst["accepts"], worst["caller"]) == ("kworker/0:1", 5, "do_anonymous_page")
    assert worst["at_ns"] // MS == (START + 5 * SECOND) // MS
    assert "get_page_from_freelist < alloc_anon_folio < do_anonymous_page" in table.notes[0]


def test_bursts_are_counted_by_their_accepts(tables: Tables) -> None:
    table = tables("lazy")["bursts"]
    assert column(table, "accepts") == ["1", "2", "5-8"]
    assert column(table, "stalls") == [20, 10, 1]
    assert sum(column(table, "share")) == pytest.approx(1)
