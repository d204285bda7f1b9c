# SPDX-License-Identifier: Apache-2.0
"""The table ``progress``: when how much was accepted, and what nobody can know of it."""

from __future__ import annotations

from typing import Any

from memtrace.tests.analyzer.accept.conftest import Tables
from memtrace.tests.analyzer.accept.recorded import (
    BLOCK,
    LEVELS,
    MIB,
    MS,
    PAGES,
    accepting,
    stall,
)
from memtrace.tests.analyzer.accept.tables import column
from memtrace.tests.analyzer.recorded import START, aggregated


def test_progress_says_when_so_much_was_accepted(tables: Tables) -> None:
    rows = []
    for i in range(100):
        rows += stall(START + 100 * i * MS, pfn=(1 << 16) + i * PAGES)
    machine, node = tables(accepting(rows, (400, 0)))["progress"].rows
    # Block number n ends its call 100 * (n - 1) ms and a little after the start.
    assert machine["to_50_ns"] // MS == 4902 and machine["to_90_ns"] // MS == 8902
    assert machine["to_99_ns"] // MS == 9802 and machine["last_ns"] // MS == 9902
    assert machine["boot_50_ns"] == START + machine["to_50_ns"]
    assert (machine["fell_bytes"], machine["seen_bytes"], machine["accepted_share"]) == (
        400 * MIB,
        400 * MIB,
        1.0,
    )
    assert node["nid"] == 0 and node["to_50_ns"] == machine["to_50_ns"]


def test_what_was_not_reached_is_unknown(tables: Tables) -> None:
    table = tables("lazy")["progress"]
    assert set(column(table, "to_50_ns")) == {None}
    assert column(table, "seen_bytes") == [184 * MIB, 100 * MIB, 84 * MIB]
    assert column(table, "end_bytes") == [516 * MIB, 300 * MIB, 216 * MIB]


def test_a_counter_that_grows_is_said_and_gives_no_share(report_of: Any) -> None:
    report = report_of("grown")
    assert "unaccepted-grew" in {c.id for c in report.caveats}
    table = report.table("progress")
    assert column(table, "fell_bytes") == [-508 * MIB, 4 * MIB, -512 * MIB]
    assert column(table, "accepted_share") == [None, 4 / 512, None]
    assert "memory was added while recording" in table.notes[0]


def test_where_one_node_grew_and_another_fell_the_machines_share_is_unknown(tables: Tables) -> None:
    rows = [row for i in range(100) for row in stall(START + 20 * i * MS, pfn=(1 << 16) + i * PAGES)]
    table = tables(accepting(rows, (400, 0), (0, 100)))["progress"]
    assert column(table, "fell_bytes") == [300 * MIB, 400 * MIB, -100 * MIB]
    assert column(table, "accepted_share") == [None, 1.0, None]
    assert [at is None for at in column(table, "to_50_ns")] == [True, False, True]


def test_where_the_memory_of_some_accepts_is_unknown_so_is_when_so_much_was_accepted(tables: Tables) -> None:
    levels = ("accept.call",)
    rows = []
    for i in range(10):
        (call,) = stall(START + (10 + 20 * i) * MS, pfn=(1 << 16) + i * PAGES, levels=levels)
        rows.append(call | ({"bytes": None, "bytes_requested": None} if i % 2 else {}))
    found = tables(accepting(rows, (40, 0), (0, 0), levels=levels))
    for row in found["progress"].rows:
        assert (row["accepted_share"], row["seen_bytes"], row["to_50_ns"]) == (1.0, None, None)
    assert found["progress"].notes[0] == (
        "100% was accepted while recording; by when is unknown, since the memory of 5 accepts is unknown"
    )
    (victim,) = found["victims"].rows
    assert (victim["bytes"], victim["unsized"]) == (5 * BLOCK, 5)


def test_accepts_without_a_node_make_the_nodes_unknown_and_not_the_machine(tables: Tables) -> None:
    rows = [row for i in range(10) for row in stall(START + 20 * i * MS, pfn=(1 << 16) + i * PAGES)]
    for row in rows:
        row["nid"] = None if row["event"] in LEVELS and row["ts_ns"] > START + 100 * MS else row["nid"]
    machine, node = tables(accepting(rows, (40, 0), (0, 0)))["progress"].rows
    assert (machine["seen_bytes"], node["seen_bytes"]) == (10 * BLOCK, None)
    assert machine["to_90_ns"] is not None
    assert (node["to_50_ns"], node["last_ns"], node["accepted_share"]) == (None, None, 1.0)


def test_accepts_summed_in_the_kernel_have_no_time(tables: Tables) -> None:
    rows = [aggregated("accept.call", 100, 2 * MS, None, bytes=100 * BLOCK)]
    table = tables(accepting(rows, (400, 0), (0, 0), levels=("accept.call",)))["progress"]
    for row in table.rows:
        assert {row[name] for name in ("seen_bytes", "to_50_ns", "last_ns")} == {None}
        assert row["accepted_share"] == 1
    assert "summed in the kernel" in table.notes[0]


def test_times_by_less_than_was_accepted_are_upper_bounds(tables: Tables) -> None:
    rows = [row for i in range(60) for row in stall(START + 20 * i * MS, pfn=(1 << 16) + i * PAGES)]
    table = tables(accepting(rows, (400, 0), (0, 0)))["progress"]
    assert table.rows[0]["to_50_ns"] is not None and table.rows[0]["to_90_ns"] is None
    assert "when 90% was is unknown" in table.notes[0]
    assert table.notes[1] == "of 400Mi accepted 240Mi were seen: the times are upper bounds"


def test_accepts_that_no_probe_saw_are_said(report_of: Any) -> None:
    text = {c.id: c.text for c in report_of("silent").caveats}["accepts-missed"]
    assert "fell by 412Mi, and accepts of 0B were seen" in text
