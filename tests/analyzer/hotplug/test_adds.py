# SPDX-License-Identifier: Apache-2.0
"""Which rows make up one hot-add, also where several overlap or a part is removed."""

from __future__ import annotations

from memtrace.tests.analyzer.hotplug.recorded import (
    BLOCK,
    FIRST,
    MIB,
    MS,
    added,
    case,
    gone,
    hot,
    onlined,
    taken,
)
from memtrace.tests.analyzer.hotplug.tables import RunOf, report_of, rows_of
from memtrace.traces.schema import Flag


def test_two_hot_adds_that_overlap_are_told_apart_by_their_range(run_of: RunOf) -> None:
    other = FIRST + 4 * BLOCK // 4096
    rows = [
        *added(0), *added(20, other, blocks=1), *onlined(40, other), *onlined(50, FIRST),
    ]  # fmt: skip
    report = report_of(run_of, case(rows))
    assert rows_of(report, "adds", "add", "pfn", "blocks", "total_ns", "result") == [
        (1, FIRST, 1, 54 * MS, "partly"),
        (2, other, 1, 24 * MS, "online"),
    ]
    assert rows_of(report, "blocks", "add", "gap_ns") == [(1, 40 * MS), (2, 10 * MS)]


def test_two_threads_at_once_are_told_apart_too(run_of: RunOf) -> None:
    other = FIRST + 4 * BLOCK // 4096
    rows = [*added(0), *added(1, other, tid=8)]
    report = report_of(run_of, case(rows))
    assert rows_of(report, "memmap", "add", "bytes") == [(1, 4 * MIB), (2, 4 * MIB)]


def test_without_the_request_ranges_that_follow_each_other_are_one_hot_add(run_of: RunOf) -> None:
    rows = [hot("add", 3 * i, 3 * i + 2, BLOCK, pfn=FIRST + i * BLOCK // 4096) for i in range(4)]
    report = report_of(run_of, case(rows))
    assert rows_of(report, "adds", "bytes", "request_ns", "origin") == [(4 * BLOCK, None, "unknown")]
    assert "no-request" in {caveat.id for caveat in report.caveats}


def test_a_block_that_comes_online_again_is_no_block_more(run_of: RunOf) -> None:
    second = FIRST + BLOCK // 4096
    refused = {"flags": int(Flag.FAILED), "bytes": 0, "bytes_requested": BLOCK, "error": 16}
    rows = [
        *added(0), *onlined(20, FIRST), *onlined(30, second),
        hot("offline", 100, 101, pfn=FIRST, **refused), hot("offline", 102, 103, BLOCK, pfn=second),
    ]  # fmt: skip
    columns = ("blocks", "again", "total_ns", "result")
    assert rows_of(report_of(run_of, case(rows)), "adds", *columns) == [(2, 0, 34 * MS, "partly")]
    rows += onlined(110, second)
    report = report_of(run_of, case(rows))
    assert rows_of(report, "adds", *columns) == [(2, 1, 34 * MS, "online")]
    assert rows_of(report, "blocks", "pfn") == [(FIRST,), (second,)]


def test_a_hot_add_of_which_a_part_is_removed_is_not_removed(run_of: RunOf) -> None:
    rows = added(0, blocks=4)
    for i in range(3):
        rows += onlined(20 + 5 * i, FIRST + i * BLOCK // 4096)
    rows += [hot("offline", 60, 61, BLOCK, tid=9), gone(62, 0)]
    # The rest of it is its own still, and comes online later.
    rows += onlined(70, FIRST + 3 * BLOCK // 4096)
    report = report_of(run_of, case(rows))
    columns = ("blocks", "total_ns", "result", "removed_bytes")
    assert rows_of(report, "adds", *columns) == [(4, 74 * MS, "partly removed", BLOCK)]
    assert report.table("cycles") is None
    rows += [gone(80, 1), gone(90, 2, blocks=2)]
    report = report_of(run_of, case(rows, taken(-1, 900_000), taken(100, 899_000)))
    assert rows_of(report, "adds", *columns) == [(4, 74 * MS, "removed", 4 * BLOCK)]
    assert rows_of(report, "cycles", "bytes", "lost_bytes", "alone") == [(4 * BLOCK, 1000 << 10, True)]


def test_a_part_that_is_added_again_is_another_hot_add(run_of: RunOf) -> None:
    again = FIRST + BLOCK // 4096
    rows = [*added(0, blocks=4), *onlined(20, FIRST), gone(40, 1), *added(50, again, blocks=1)]
    rows += [*onlined(70, again), *onlined(80, again + BLOCK // 4096)]
    report = report_of(run_of, case(rows))
    assert rows_of(report, "adds", "pfn", "blocks", "result") == [
        (FIRST, 2, "partly removed"),
        (again, 1, "online"),
    ]
    # A removal is of what was added last.
    rows.append(gone(100, 1))
    report = report_of(run_of, case(rows))
    assert rows_of(report, "adds", "result", "removed_bytes") == [
        ("partly removed", BLOCK),
        ("removed", BLOCK),
    ]
