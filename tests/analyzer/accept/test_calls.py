# SPDX-License-Identifier: Apache-2.0
"""The table ``calls`` against runs whose answer is known by construction."""

from __future__ import annotations

import pytest

from memtrace.tests.analyzer.accept.conftest import Tables
from memtrace.tests.analyzer.accept.recorded import (
    BLOCK,
    MS,
    PAGES,
    accepting,
    stall,
)
from memtrace.tests.analyzer.recorded import START


def test_calls_are_counted_by_node_and_size_with_exact_quantiles(tables: Tables) -> None:
    rows = []
    for i in range(100):
        rows += stall(START + 10 * i * MS, pfn=(1 << 16) + i * PAGES, per_unit=50_000 * (i + 1))
    table = tables(accepting(rows))["calls"]
    (row,) = table.rows
    assert (row["event"], row["nid"], row["size_bytes"], row["calls"]) == ("accept.arch", 0, BLOCK, 100)
    # Durations are 0.1, 0.2, … 10 ms.
    assert row["total_ns"] == sum(100_000 * (i + 1) for i in range(100))
    assert [row[f"p{q}_ns"] for q in (50, 90, 99)] == [5 * MS, 9 * MS, 99 * MS // 10]
    assert (row["max_ns"], row["over_100us"], row["over_1ms"], row["over_10ms"]) == (10 * MS, 0.99, 0.9, 0)
    assert row["gib_per_s"] == pytest.approx(100 * BLOCK / 2**30 / (row["total_ns"] / 1e9))
    assert row["bytes_are"] == "accepted"


def test_without_the_platforms_accept_the_call_is_shown_and_its_memory_is_what_was_asked(
    tables: Tables,
) -> None:
    table = tables("snp")["calls"]
    (row,) = table.rows
    assert (row["event"], row["bytes"], row["bytes_are"]) == ("accept.call", 12 * BLOCK, "asked for")
    assert any("upper bound" in n or "more than interrupts were off" in n for n in table.notes)


def test_without_durations_times_are_unknown_and_not_nought(tables: Tables) -> None:
    (row,) = tables("stamps")["calls"].rows
    assert (row["calls"], row["bytes"], row["nid"]) == (50, 50 * BLOCK, None)
    assert {row[n] for n in ("total_ns", "gib_per_s", "over_1ms", "p50_ns", "max_ns")} == {None}
