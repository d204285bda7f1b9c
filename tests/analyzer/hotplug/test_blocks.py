# SPDX-License-Identifier: Apache-2.0
"""Memory blocks: the first against the rest, and what is left of each in one piece."""

from __future__ import annotations

from memtrace.tests.analyzer.hotplug.recorded import (
    BLOCK,
    EVENTS,
    FIRST,
    MIB,
    MS,
    added,
    case,
    hot,
    onlined,
)
from memtrace.tests.analyzer.hotplug.tables import RunOf, report_of, rows_of
from memtrace.tests.analyzer.recorded import START
from memtrace.traces.schema import Flag


def test_a_first_block_is_no_part_of_the_rest(run_of: RunOf) -> None:
    slow = onlined(20, FIRST)
    slow[0] |= {"ts_ns": START + 60 * MS, "dur_ns": 40 * MS}
    rows = [*added(0), *slow, *onlined(70, FIRST + BLOCK // 4096, size=64 * MIB)]
    report = report_of(run_of, case(rows))
    assert rows_of(report, "firsts", "first_ns", "rest_p50_ns", "rest_max_ns", "partly_online") == [
        (40 * MS, 4 * MS, 4 * MS, 1)
    ]


def test_a_first_block_without_a_time_is_not_the_second(run_of: RunOf) -> None:
    first, second = (onlined(at, FIRST + i * BLOCK // 4096)[1] for i, at in enumerate((20, 30)))
    first |= {"dur_ns": None, "total_ns": None}
    report = report_of(run_of, case([*added(0), first, second]))
    assert rows_of(report, "firsts", "first_ns", "rest_p50_ns", "rest_max_ns") == [(None, 3 * MS, 3 * MS)]
    online = {row[0]: row[1:] for row in rows_of(report, "phases", "phase", "self_ns", "at_least")}["online"]
    assert online == (3 * MS, True)


def test_struct_pages_in_the_block_cut_gigantic_ranges(run_of: RunOf) -> None:
    size = 2 << 30
    altmap = hot("altmap", 21, 22, 32 * MIB, tid=9)
    block = hot("block", 20, 40, size, tid=9)
    online = hot("online", 22, 39, size - 32 * MIB, bytes_requested=size - 32 * MIB, tid=9)
    request = [hot("request", 0, 10, size), hot("add", 1, 9, size)]
    report = report_of(run_of, case([*request, block, altmap, online]))
    assert rows_of(report, "blocks", "in_block_bytes", "contiguous_bytes") == [(32 * MIB, size - 32 * MIB)]
    assert rows_of(report, "firsts", "gigantic_without", "gigantic", "partly_online") == [(2, 1, 0)]


def test_struct_pages_in_a_block_that_nobody_saw_are_unknown(run_of: RunOf) -> None:
    events = [event for event in EVENTS if event != "hot.altmap"]
    for flags, known in ((int(Flag.ALTMAP), False), (0, True)):
        rows = [row | {"flags": flags} if row["event"] == "hot.section" else row for row in added(0)]
        report = report_of(run_of, case([*rows, *onlined(20, FIRST)], events=events))
        assert rows_of(report, "blocks", "in_block_bytes", "contiguous_bytes") == [
            (0, BLOCK) if known else (None, None)
        ]
        assert rows_of(report, "firsts", "partly_online", "gigantic") == [(0, 0) if known else (None, None)]
