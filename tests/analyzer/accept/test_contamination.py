# SPDX-License-Identifier: Apache-2.0
"""What of a window acceptance disturbed, and when it may be called clean."""

from __future__ import annotations

import dataclasses
from typing import Any

import pytest

from memtrace.analyzer.views import Choice
from memtrace.tests.analyzer.accept.conftest import Tables
from memtrace.tests.analyzer.accept.recorded import ALL, BLOCK, MS, PAGES, Who, accepting, snapshots, stall
from memtrace.tests.analyzer.recorded import SECOND, START, Case, aggregated, streamed
from memtrace.traces.run import Snapshot
from memtrace.traces.schema import Flag
from memtrace.traces.totals import Losses


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
    for inside in online[:-1]:
        inside["parent"] = "hot.online" if inside["parent"] == "alloc" else inside["parent"]
    rows = [*failed, *online, streamed("alloc", 0, 800, ts_ns=START + MS)]
    (row,) = tables(accepting(rows, levels=("hot.online", *ALL)))["window"].rows
    assert (row["stalls"], row["alloc_share"]) == (2, 0.5)
    assert row["alloc_time_share"] == pytest.approx(2_004_000 / (2_014_000 + 800), rel=1e-3)


def test_a_stall_that_is_partly_in_the_window_is_listed_as_a_whole(tables: Tables) -> None:
    rows = [*stall(START + 50 * MS), *stall(START + 100 * MS, (2, 2, 2), pfn=1 << 17)]
    end = max(row["ts_ns"] for row in rows if row["event"] == "accept.burst")
    found = tables(accepting(rows, (1024, 0)), Choice(window=(end - MS, end + 100 * MS)))
    (victim,) = found["victims"].rows
    assert (victim["stalls"], victim["accepts"], victim["bytes"]) == (1, 3, 3 * BLOCK)
    assert victim["lost_ns"] == 6_008_000
    assert [row["accepts"] for row in found["bursts"].rows] == ["3-4"]
    (window,) = found["window"].rows
    assert (window["stalls"], window["lost_ns"], window["tasks"]) == (1, MS, 1)


def test_of_cpus_at_once_only_what_lies_in_the_window_counts(tables: Tables) -> None:
    # CPU 0 accepts from 50 ms before the end of the window on; three others begin after it.
    rows = stall(START + 50 * MS, per_unit=50 * MS)
    for cpu in (1, 2, 3):
        who = Who(cpu=cpu, pid=cpu + 1)
        rows += stall(START + 101 * MS, per_unit=20 * MS, pfn=(1 << 16) + cpu * PAGES, who=who)
    case = accepting(rows, (1024, 0))
    (row,) = tables(case, Choice(window=(START, START + 100 * MS)))["parallel"].rows
    assert (row["cpus"], row["calls"]) == (1, 0)
    assert row["wall_ns"] == pytest.approx(50 * MS, rel=1e-3)
    assert row["bytes"] == pytest.approx(BLOCK / 2, rel=1e-3)
    # All of the four are in the next 50 ms.
    found = tables(case, Choice(window=(START + 100 * MS, START + 149 * MS)))["parallel"]
    assert [(row["cpus"], row["calls"]) for row in found.rows] == [(1, 0), (4, 3)]


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
        ({"losses": Losses(ring_full=3, no_room=0)}, "3 events were lost"),
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


WINDOW = Choice(window=(START + 5 * SECOND, START + 6 * SECOND))


def changes(*readings: tuple[float, int]) -> tuple[Snapshot, ...]:
    """Unaccepted of node 0 in MiB as it changed, so many seconds after the start."""
    return tuple(snapshots("change", START + round(at * SECOND), mib, 0) for at, mib in readings)


def with_readings(case: Case, *readings: tuple[float, int]) -> Case:
    taken = (*changes(*readings), *case.status.snapshots)
    return dataclasses.replace(case, status=dataclasses.replace(case.status, snapshots=taken))


def test_beside_accepts_that_the_counter_knows_of_and_no_probe_saw_no_window_is_clean(tables: Tables) -> None:
    case = accepting(stall(START + 100 * MS), (1024, 0), (624, 0))
    table = tables(case, WINDOW)["window"]
    (row,) = table.rows
    assert row["verdict"] == "unknown"
    assert {row[name] for name in ("wall_share", "cpu_share", "task_share", "lost_ns")} == {None}
    assert "Unaccepted fell by 400Mi from 1000.000 to 1010.000 s" in table.notes[0]
    assert "accepts of 4.00Mi were seen then" in table.notes[0]


@pytest.mark.parametrize(
    ("readings", "verdict"),
    [
        # The fall lies before the window, or after it, by readings in between.
        ([(1, 1024), (2, 624)], "clean"),
        ([(7, 1020), (8, 624)], "clean"),
        # It lies around the window, or in it.
        ([(4.5, 1020), (7, 624)], "unknown"),
        ([(5.5, 1020), (5.6, 624)], "unknown"),
    ],
)
def test_a_fall_outside_of_the_readings_around_the_window_does_not_doubt_it(
    readings: list[tuple[float, int]], verdict: str, tables: Tables
) -> None:
    case = accepting(stall(START + 100 * MS), (1024, 0), (624, 0))
    (row,) = tables(with_readings(case, *readings), WINDOW)["window"].rows
    assert row["verdict"] == verdict


def test_a_block_that_is_being_accepted_as_the_counter_is_read_may_be_on_either_side(tables: Tables) -> None:
    # The accept begins 2 ms before the reading at 4 s, which counts its block still.
    case = accepting(stall(START + 3998 * MS, per_unit=5 * MS), (1024, 0))
    (row,) = tables(with_readings(case, (4, 1024)), WINDOW)["window"].rows
    assert row["verdict"] == "clean"
    # Without an accept near a reading there is no such block.
    case = accepting(stall(START + 1000 * MS), (1024, 0), (1016, 0))
    (row,) = tables(case, WINDOW)["window"].rows
    assert row["verdict"] == "unknown"


def test_what_one_node_saw_too_much_does_not_make_up_for_another(tables: Tables) -> None:
    rows = [row for i in range(10) for row in stall(START + (100 + i) * MS, pfn=(1 << 16) + i * PAGES)]
    # Of node 0 nothing fell: its calls had another reason.  Of node 1 a block fell unseen.
    (row,) = tables(accepting(rows, (1024, 512), (1024, 508)), WINDOW)["window"].rows
    assert row["verdict"] == "unknown"


def test_memory_of_accepts_that_is_unknown_makes_up_for_nothing(tables: Tables) -> None:
    levels = ("alloc", "accept.call")
    rows = stall(START + 100 * MS, levels=levels)
    rows[0] |= {"bytes": None, "bytes_requested": None}
    table = tables(accepting(rows, (1024, 0), (1020, 0), levels=levels), WINDOW)["window"]
    assert table.rows[0]["verdict"] == "unknown" and "is unknown" in table.notes[0]


def test_accepts_that_the_kernel_summed_are_somewhere_in_the_run(tables: Tables) -> None:
    rows = [aggregated("accept.call", 100, 2 * MS, None, bytes=100 * BLOCK), streamed("alloc", 0, 800)]
    found = tables(accepting(rows, (1024, 0), (624, 0), levels=("alloc", "accept.call")))
    (row,) = found["window"].rows
    assert (row["verdict"], row["wall_share"]) == ("unknown", None)
    for name in ("window", "calls", "victims", "bursts", "parallel"):
        assert "100 accepts" in found[name].notes[0] and "summed in the kernel" in found[name].notes[0], name


def test_where_memory_was_added_the_counter_does_not_say_that_nothing_was_accepted(tables: Tables) -> None:
    table = tables(accepting([streamed("alloc", 0, 500)], (512, 512), (512, 1024)))["window"]
    assert table.rows[0]["verdict"] == "unknown" and "memory was added" in table.notes[0]


def test_nothing_lost_nothing_seen_nothing_fallen_is_clean(tables: Tables) -> None:
    found = tables("clean")
    assert found["window"].rows[0]["verdict"] == "clean"
    assert set(found) == {"window", "progress"}
