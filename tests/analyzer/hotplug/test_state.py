# SPDX-License-Identifier: Apache-2.0
"""What the kernel's counters say of each hot-add, and when they say nothing."""

from __future__ import annotations

import dataclasses

import pytest

from memtrace.tests.analyzer.hotplug.recorded import (
    BLOCK,
    EVENTS,
    FIRST,
    MIB,
    MS,
    OTHER,
    added,
    case,
    hot,
    onlined,
    taken,
)
from memtrace.tests.analyzer.hotplug.tables import RunOf, report_of, rows_of
from memtrace.traces.schema import Flag


def test_witnesses_that_agree_and_one_that_does_not(run_of: RunOf) -> None:
    before, after = taken(-1, 1000, memmap=0), taken(15, 1000, memmap=1024)
    report = report_of(run_of, case(added(0), before, after))
    assert rows_of(report, "witnesses", "counted_bytes", "verdict") == [(4 * MIB, "agree")]
    wrong = taken(15, 1000, memmap=1030)
    report = report_of(run_of, case(added(0), before, wrong))
    assert rows_of(report, "witnesses", "verdict") == [("DIFFER: counted +24576",)]


def test_counters_of_a_node_are_explained_to_the_page(run_of: RunOf) -> None:
    rows = [*added(0), *onlined(20, FIRST), *onlined(30, FIRST + BLOCK // 4096)]
    before = taken(-1, 900_000, 0, total_kb=(1 << 20, 0))
    gap = taken(15, 895_904, 0, total_kb=(1 << 20, 0))
    after = taken(35, 895_900, 256 << 10, total_kb=(1 << 20, 256 << 10))
    report = report_of(run_of, case(rows, before, gap, after))
    assert rows_of(report, "nodes", "nid", "counter", "change_bytes", "explained_bytes", "rest_pages") == [
        (0, "MemFree", -4100 << 10, -4 * MIB, -1),
        (1, "MemTotal", 2 * BLOCK, 2 * BLOCK, 0),
        (1, "MemFree", 2 * BLOCK, 2 * BLOCK, 0),
    ]
    assert rows_of(report, "dip", "nid", "dip_bytes", "low_bytes", "samples", "late_ns") == [
        (0, 4 * MIB, 1000 << 10, 1, 5 * MS)
    ]


def test_free_memory_is_not_explained_where_struct_pages_were_not_seen(run_of: RunOf) -> None:
    rows = [row for row in [*added(0), *onlined(20, FIRST)] if row["event"] != "hot.memmap"]
    events = [event for event in EVENTS if event != "hot.memmap"]
    snapshots = (
        taken(-1, 900_000, 0, total_kb=(1 << 20, 0)),
        taken(35, 895_904, 128 << 10, total_kb=(1 << 20, 128 << 10)),
    )
    report = report_of(run_of, case(rows, *snapshots, events=events))
    assert rows_of(report, "nodes", "nid", "counter", "explained_bytes", "rest_bytes") == [
        (0, "MemFree", None, None),
        (1, "MemTotal", BLOCK, 0),
        (1, "MemFree", None, None),
    ]


def test_hot_adds_with_no_snapshot_between_them_are_counted_together(run_of: RunOf) -> None:
    rows = [*added(0), *added(20, OTHER), *added(100, OTHER + BLOCK)]
    for memmap, verdict in ((2048, "agree"), (1024, "DIFFER: counted -4194304 over 1-2")):
        later = taken(120, 800_000, memmap=memmap + 1024)
        report = report_of(run_of, case(rows, taken(-1, 900_000), taken(50, 800_000, memmap=memmap), later))
        assert rows_of(report, "nodes", "adds", "change_bytes", "explained_bytes", "alone") == [
            ("1-2", -100_000 << 10, -8 * MIB, True),
            ("3", 0, -4 * MIB, True),
        ]
        assert rows_of(report, "witnesses", "counted_bytes", "counted_over", "verdict") == [
            *[(memmap * 4096, "1-2", verdict)] * 2,
            (4 * MIB, None, "agree"),
        ]


@pytest.mark.parametrize("failed", [False, True])
def test_nothing_is_explained_where_other_hotplug_lies_between(run_of: RunOf, failed: bool) -> None:
    flags = int(Flag.FAILED) if failed else 0
    rows = [*added(0), hot("offline", 20, 30, BLOCK, pfn=OTHER, flags=flags)]
    report = report_of(run_of, case(rows, taken(-1, 900_000), taken(50, 800_000, memmap=1024)))
    assert set(rows_of(report, "nodes", "alone", "explained_bytes")) == {(False, None)}
    assert rows_of(report, "witnesses", "counted_bytes", "verdict") == [(None, "agree (no counted)")]


def test_a_snapshot_still_being_read_is_not_one_before(run_of: RunOf) -> None:
    # Begun before the hot-add, read after it: its counters say what the hot-add did.
    slow = dataclasses.replace(taken(-1, 800_000, memmap=1024), took_ns=20 * MS)
    after = taken(50, 800_000, memmap=1024)
    report = report_of(run_of, case(added(0), taken(-5, 900_000), slow, after))
    assert rows_of(report, "witnesses", "counted_bytes", "verdict") == [(4 * MIB, "agree")]
    # How long one took that an older recorder wrote is not known: until the next one at most.
    old = dataclasses.replace(taken(5, 800_000, memmap=1024), took_ns=None)
    report = report_of(run_of, case(added(10), taken(-5, 900_000), old, after))
    assert rows_of(report, "witnesses", "counted_bytes", "verdict") == [(4 * MIB, "agree")]
