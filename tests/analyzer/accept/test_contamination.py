# SPDX-License-Identifier: Apache-2.0
"""What of a window acceptance disturbed, and when it may be called clean."""

from __future__ import annotations

from typing import Any

import pytest

from memtrace.analyzer.views import Choice
from memtrace.tests.analyzer.accept.cases import (
    ALL,
    BLOCK,
    MS,
    PAGES,
    START,
    accepting,
    stall,
)
from memtrace.tests.analyzer.accept.conftest import Tables
from memtrace.tests.analyzer.cases import SECOND, streamed
from memtrace.traces.run import Losses
from memtrace.traces.schema import Flag


def test_a_window_that_acceptance_fills_is_a_magnet(tables: Tables) -> None:
    rows = [row for i in range(100) for row in stall(START + 20 * i * MS, pfn=(1 << 16) + i * PAGES)]
    table = tables(accepting(rows, seconds=2.0))["window"]
    (row,) = table.rows
    assert row["verdict"] == "contaminated" and table.notes[0].startswith("bisection magnet")
    assert row["wall_share"] == row["task_share"] == pytest.approx(100 * 2.004 / 2000, rel=0.001)
    assert row["cpu_share"] == pytest.approx(row["wall_share"] / 4)
    assert (row["accepts"], row["stalls"], row["tasks"], row["task"]) == (100, 100, 1, "redis[100]")
    assert row["alloc_share"] == 1.0


def test_half_a_stall_in_the_window_counts_by_half(tables: Tables) -> None:
    case = accepting(stall(START + 1000 * MS, per_unit=500 * MS), seconds=10.0)
    window = (START + 1500 * MS, START + 2500 * MS)
    (row,) = tables(case, Choice(window=window))["window"].rows
    assert row["wall_share"] == pytest.approx(0.5, abs=0.001)
    assert row["stalls"] == 1


def test_of_a_stall_that_ends_after_the_window_only_what_is_in_it_is_lost_there(tables: Tables) -> None:
    # 40 allocations of 1 ms one after the other; a stall of 100 ms that begins 1 ms before the end.
    rows = [streamed("alloc", 0, MS, ts_ns=START + i * MS) for i in range(1, 41)]
    rows += stall(START + 49 * MS, per_unit=50 * MS)
    case = accepting(rows, (1024, 0))
    (row,) = tables(case, Choice(window=(START, START + 50 * MS)))["window"].rows
    assert row["lost_ns"] == 999_000
    assert row["alloc_share"] == 1 / 41
    assert row["alloc_time_share"] == 999_000 / (41 * MS)
    (late,) = tables(case, Choice(window=(START + 60 * MS, START + 70 * MS)))["window"].rows
    assert (late["lost_ns"], late["alloc_share"], late["alloc_time_share"]) == (10 * MS, 1.0, 1.0)


def test_what_waited_and_failed_is_an_allocation_and_memory_coming_online_is_none(tables: Tables) -> None:
    failed = stall(START + 100 * MS)
    failed[-1]["flags"] |= int(Flag.FAILED)
    online = stall(START + 200 * MS, pfn=1 << 17)
    online[-1]["event"] = "hot.online"
    for row in online[:-1]:
        row["parent"] = "hot.online" if row["parent"] == "alloc" else row["parent"]
    rows = [*failed, *online, streamed("alloc", 0, 800, ts_ns=START + MS)]
    (row,) = tables(accepting(rows, levels=("hot.online", *ALL)))["window"].rows
    assert (row["stalls"], row["alloc_share"]) == (2, 0.5)
    assert row["alloc_time_share"] == pytest.approx(2_004_000 / (2_014_000 + 800), rel=1e-3)


def test_beside_the_accepts_a_window_is_clean(tables: Tables) -> None:
    case = accepting(stall(START + 1000 * MS), seconds=10.0)
    found = tables(case, Choice(window=(START + 5 * SECOND, START + 6 * SECOND)))
    (row,) = found["window"].rows
    assert row["verdict"] == "clean" and row["accepts"] == 0
    assert found["calls"].rows == () and found["calls"].notes == ("no accept in this window",)
    assert found["progress"].rows[0]["seen_bytes"] == BLOCK


def test_shares_below_a_hundredth_are_told_as_such(tables: Tables) -> None:
    (row,) = tables(accepting(stall(START + 1000 * MS), seconds=10.0))["window"].rows
    assert row["verdict"] == "touched" and 0 < row["wall_share"] < 0.001


@pytest.mark.parametrize(
    ("changes", "why"),
    [
        ({"losses": Losses(ring_full=3)}, "3 events were lost"),
        ({"filters": {"pid": "7"}}, "filters were on"),
        ({"snapshots": ()}, "no counter confirms"),
        ({"after": (512, 100)}, "Unaccepted fell by 412Mi"),
        ({"levels": ("alloc",)}, "no site of acceptance"),
    ],
)
def test_what_could_have_passed_unseen_forbids_the_verdict_clean(
    changes: dict[str, Any], why: str, tables: Tables
) -> None:
    rows = [streamed("alloc", 0, 500)]
    table = tables(accepting(rows, **{"before": (512, 512), "after": (512, 512), **changes}))["window"]
    assert table.rows[0]["verdict"] == "unknown"
    assert table.notes[0].startswith("cannot be told") and why in table.notes[0]


def test_nothing_lost_nothing_seen_nothing_fallen_is_clean(tables: Tables) -> None:
    found = tables("clean")
    assert found["window"].rows[0]["verdict"] == "clean"
    assert set(found) == {"window", "progress"}
