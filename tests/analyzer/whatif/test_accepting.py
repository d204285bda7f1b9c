# SPDX-License-Identifier: Apache-2.0
"""The what-ifs of the accept view, against runs whose answer is known by construction."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
import pytest

from memtrace.analyzer.accept.cost import ns_per_byte
from memtrace.tests.analyzer.accept.cases import CASES, regular
from memtrace.tests.analyzer.accept.conftest import Tables
from memtrace.tests.analyzer.accept.recorded import BLOCK, MIB, MS, PAGES, Who, accepting, stall
from memtrace.tests.analyzer.recorded import SECOND, START


def test_eager_on_one_cpu_takes_all_memory_at_the_measured_rate(tables: Tables) -> None:
    case = regular(0, MS)
    cmdline = "unaccepted_emul=3G@1G unaccepted_emul_cost=1000000"
    told = dataclasses.replace(case.header, kernel_cmdline=cmdline)
    rows = tables(dataclasses.replace(case, header=told))["eager"].rows
    # 3 GiB are 1536 units of 1 ms.
    assert rows[0]["accept_ns"] == rows[0]["accept_max_ns"] == pytest.approx(1536 * MS, rel=1e-6)
    assert rows[0]["bytes"] == 3 << 30


def test_the_rate_of_one_cpu_is_not_that_of_the_accepts_that_are_short_enough_to_be_alone(
    spans_of: Any,
) -> None:
    random = np.random.default_rng(2)
    rows = []
    for cpu in range(4):
        now = START
        for i in range(300):
            now += 6 * MS + int(random.integers(0, 30 * MS))
            took = int(2 * MS * random.lognormal(0, 0.5)) // 2
            pfn = (1 << 16) + (300 * cpu + i) * PAGES
            rows += stall(now, pfn=pfn, who=Who(cpu=cpu, pid=cpu + 1), per_unit=took)
            now += 2 * took
    accepts, _ = spans_of(accepting(rows, (4900, 0)))
    mean = accepts.work.dur.sum() / accepts.work.bytes.sum()
    assert ns_per_byte(accepts) == pytest.approx(mean, rel=0.05)


def test_what_firmware_may_have_accepted_makes_two_bounds(tables: Tables) -> None:
    first = tables(regular(0, MS))["eager"].rows[0]
    assert (first["bytes"], first["bytes_max"]) == (2000 * MIB, 4 << 30)
    assert first["accept_ns"] == 1000 * MS and first["accept_max_ns"] == 2048 * MS


def test_of_a_node_that_the_snapshot_lacks_nothing_is_assumed(tables: Tables) -> None:
    case = accepting(stall(START + 10 * MS), (1024, 1024))
    (start,) = case.header.snapshots
    lacking = dataclasses.replace(start, nodes={"0": start.nodes["0"]})
    told = dataclasses.replace(case.header, snapshots=(lacking,))
    table = tables(dataclasses.replace(case, header=told))["eager"]
    assert table.rows == ()
    assert table.notes == ("unknown: the snapshot at the start does not say what was unaccepted on node 1",)


def test_without_the_memory_of_the_nodes_there_is_no_upper_bound(tables: Tables) -> None:
    case = accepting(stall(START + 10 * MS), (1024, 0))
    unknown = tuple(dataclasses.replace(node, present_bytes=None) for node in case.header.nodes)
    told = dataclasses.replace(case.header, nodes=unknown)
    table = tables(dataclasses.replace(case, header=told))["eager"]
    first = table.rows[0]
    assert (first["bytes"], first["accept_ns"]) == (1024 * MIB, 512 * MS)
    assert {first[name] for name in ("bytes_max", "accept_max_ns", "wall_max_ns")} == {None}
    assert "a lower bound" in table.notes[0]


def test_accepts_that_took_nothing_by_a_coarse_clock_have_no_rate(tables: Tables) -> None:
    found = tables(accepting(stall(START + 10 * MS, per_unit=0), (1024, 0)))
    assert found["eager"].rows == found["background"].rows == ()
    assert "no accept of this run has both its time and its memory" in found["eager"].notes[0]


def test_of_stalls_without_a_node_no_thread_of_a_node_can_say(tables: Tables) -> None:
    rows = [*stall(START + 10 * MS), *stall(START + 50 * MS, pfn=(1 << 16) + PAGES)]
    for row in rows:
        row["nid"] = None if row["ts_ns"] > START + 40 * MS else 0
    table = tables(accepting(rows, (1024, 0)))["background"]
    assert table.rows == () and table.notes[0].startswith("unknown: of some stalls no node")


def test_memory_of_accepts_that_is_unknown_leaves_the_what_ifs_unknown(tables: Tables) -> None:
    for name, table in (("eager_seen", "lazy"), ("two_sizes", "granule")):
        case = CASES[name]()
        rows = [
            row | ({"bytes": None, "bytes_requested": None} if row["ts_ns"] > START + 500 * MS else {})
            for row in case.rows
        ]
        found = tables(dataclasses.replace(case, rows=rows))[table]
        assert "the memory of" in found.notes[0] and "unknown" in found.notes[0]
        assert [row for row in found.rows if row.get("step") != "as recorded"] == []


def test_more_cpus_a_node_take_the_throughput_that_was_seen(tables: Tables) -> None:
    rows = tables("saturated")["eager"].rows
    walls = {row["cpus_per_node"]: row["wall_ns"] for row in rows}
    assert walls[2] == pytest.approx(walls[1] / 2, rel=0.02)
    assert walls[4] == pytest.approx(walls[2], rel=0.02)
    assert 3 not in walls
    busy = {row["cpus_per_node"]: row["accept_ns"] for row in rows}
    assert busy[4] == pytest.approx(2 * busy[2], rel=0.02)


def test_lazy_instead_of_eager_leaves_what_is_in_use(tables: Tables) -> None:
    found = tables("eager_seen")
    (row,) = found["lazy"].rows
    assert (row["stalls"], row["stall_ns"]) == (128, 2 * MS)
    assert (row["later_ns"], row["saved_ns"]) == (256 * MS, 256 * MS)
    assert "eager" not in found


def test_background_takes_the_stalls_that_it_is_fast_enough_for(tables: Tables) -> None:
    rows = []
    for i in range(40):
        rows += stall(START + (100 + 100 * i) * MS, (2,), pfn=(1 << 16) + i * PAGES)
    case = accepting(rows, (400, 0))
    by_budget = {row["budget"]: row for row in tables(case)["background"].rows}
    # A block takes 2 ms of a CPU, and one is needed every 100 ms: 2 % would do.
    assert by_budget[0.0]["stalls_left"] == 40 and by_budget[0.0]["cpu_ns"] == 0
    assert by_budget[0.01]["stalls_left"] == pytest.approx(20, abs=1)
    assert by_budget[0.05]["stalls_left"] == 0 and by_budget[0.05]["lost_ns"] == 0
    # At 5 % of a CPU, 10 s are 500 ms of it: all 100 blocks of 2 ms, the last after 4 s.
    assert by_budget[0.05]["cpu_ns"] == 200 * MS
    assert by_budget[0.05]["done_ns"] == 4 * SECOND
    assert by_budget[0.05]["ahead_bytes"] == 60 * BLOCK


def test_stalls_that_take_no_block_off_the_list_stay_as_they_were(tables: Tables) -> None:
    rows = stall(START + 10 * MS) + stall(START + 30 * MS, pfn=(1 << 16) + PAGES)
    for i in range(4):
        # Conversions: accept_memory() of 5 ms outside of any block.
        at, pfn, levels = START + (100 + 20 * i) * MS, (1 << 17) + i * PAGES, ("accept.call", "accept.arch")
        rows += stall(at, pfn=pfn, per_unit=5 * MS // 2, levels=levels)
    found = tables(accepting(rows, (1024, 0)))
    assert [row["bytes"] for row in found["victims"].rows] == [4 * BLOCK, 2 * BLOCK]
    recorded, *_, whole = found["background"].rows
    assert (recorded["stalls_left"], recorded["vanished"]) == (6, 0)
    assert recorded["lost_ns"] == found["granule"].rows[0]["lost_ns"] == found["window"].rows[0]["lost_ns"]
    # A whole CPU would have had the two blocks ready; nobody can convert ahead.
    assert (whole["stalls_left"], whole["lost_ns"]) == (4, recorded["lost_ns"] - 2 * 2_004_000)


def test_a_burst_too_large_for_the_stock_shrinks(tables: Tables) -> None:
    rows = stall(START + 1000 * MS, (2,) * 20)
    by_budget = {row["budget"]: row for row in tables(accepting(rows))["background"].rows}
    # After a second at 1 %: 10 ms of a CPU, 5 of the 20 blocks.
    assert by_budget[0.01]["stalls_left"] == 1
    assert by_budget[0.01]["lost_ns"] == pytest.approx(by_budget[0.0]["lost_ns"] * 15 / 20, rel=1e-6)


def test_the_cost_of_a_call_comes_apart_by_sizes(tables: Tables) -> None:
    table = tables(regular(500_000, MS))["granule"]
    assert "a call takes 500us +/- 0ns, and 1.00ms +/- 0ns for each 2 MiB" in table.notes[0]
    recorded, predicted = table.rows
    assert (recorded["steps"], predicted["steps"]) == (120, 240)
    assert predicted["p50_ns"] == predicted["max_ns"] == 1_500_000
    assert predicted["lost_ns"] == pytest.approx(recorded["lost_ns"] * 360 / 300)
    # Of 120 stalls 40 accepted a single unit, which no smaller step divides.
    assert (predicted["stalls"], predicted["stalls_min"]) == (200, 120)
    assert predicted["steps_min"] == 240 - 80


def test_of_one_size_nothing_is_predicted(tables: Tables) -> None:
    rows = [row for i in range(50) for row in stall(START + 9 * i * MS, pfn=(1 << 16) + i * PAGES)]
    table = tables(accepting(rows))["granule"]
    assert len(table.rows) == 1
    assert table.notes[0].startswith("2 MiB unknown") and "50 of 4 MiB" in table.notes[0]


def test_of_sizes_that_scatter_nothing_is_predicted(tables: Tables) -> None:
    random = np.random.default_rng(3)
    rows = []
    for i in range(60):
        units = 1 + (i % 12 == 0)
        cost = int(MS * random.lognormal(0, 1))
        rows += stall(START + 50 * i * MS, (units,), pfn=(1 << 16) + i * PAGES, per_unit=cost)
    table = tables(accepting(rows))["granule"]
    assert len(table.rows) == 1 and "do not tell it well enough" in table.notes[0]
