# SPDX-License-Identifier: Apache-2.0
"""Each table of the accept view against runs whose answer is known by construction."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
import pytest

from memtrace.analyzer.accept.cost import ns_per_byte
from memtrace.analyzer.tables import Table
from memtrace.analyzer.views import Choice
from memtrace.tests.analyzer.accept.cases import (
    ALL,
    BLOCK,
    CASES,
    MIB,
    MS,
    PAGES,
    SNP,
    START,
    TDX,
    Who,
    accepting,
    regular,
    snapshots,
    stall,
)
from memtrace.tests.analyzer.accept.conftest import Tables
from memtrace.tests.analyzer.cases import SECOND, Case, aggregated, streamed
from memtrace.traces.run import Fact, Losses
from memtrace.traces.schema import Flag


def column(table: Table, name: str) -> list[Any]:
    return [row[name] for row in table.rows]


def row_of(table: Table, **keys: Any) -> dict[str, Any]:
    (row,) = [row for row in table.rows if all(row[k] == v for k, v in keys.items())]
    return dict(row)


# calls


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


# progress


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


def test_accepts_that_no_probe_saw_are_said(report_of: Any) -> None:
    text = {c.id: c.text for c in report_of("silent").caveats}["accepts-missed"]
    assert "fell by 412Mi, and accepts of 0B were seen" in text


# victims


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


# steps


def test_refused_page_sizes_are_shown_beside_those_taken(tables: Tables) -> None:
    small, huge = tables("lazy")["steps"].rows
    assert (small["page_bytes"], small["accepted"], small["refused"]) == (4096, 1024, 0)
    assert (huge["page_bytes"], huge["accepted"], huge["refused_share"]) == (2 * MIB, 0, 1.0)
    assert "steps" not in tables("snp")


# parallel


def test_throughput_by_cpus_shows_where_it_saturates(tables: Tables) -> None:
    table = tables("saturated")["parallel"]
    node = [row for row in table.rows if row["nid"] == 0]
    assert [row["cpus"] for row in node] == [1, 2, 4]
    one, two, four = (row["gib_per_s"] for row in node)
    assert one == pytest.approx(4 / 1024 / 0.002, rel=0.01)
    assert two == pytest.approx(2 * one, rel=0.01) and four == pytest.approx(two, rel=0.01)
    assert [row["calls"] for row in node] == [60, 120, 240]
    assert any(note.startswith("node 0: saturated at 2 (3.9") for note in table.notes)
    assert any(note.startswith("node 1: cannot be told") for note in table.notes)


def test_waiting_is_apart_from_accepting(tables: Tables) -> None:
    rows = []
    for i in range(40):
        at, pfn = START + 10 * i * MS, (1 << 16) + 2 * i * PAGES
        rows += stall(at, pfn=pfn, who=Who(cpu=0, pid=1))
        # The second CPU waits for the first one's 2 ms, then accepts for 2 ms.
        rows += stall(at, pfn=pfn + PAGES, who=Who(cpu=1, pid=2), wait=2 * MS)
    alone, both = tables(accepting(rows))["parallel"].rows
    assert both["wait_share"] == pytest.approx(0.5, abs=0.01)
    assert alone["wait_share"] == pytest.approx(0, abs=0.01)
    assert both["gib_per_s"] == pytest.approx(alone["gib_per_s"], rel=0.01)
    assert both["marginal"] == pytest.approx(0, abs=0.01)


def test_few_calls_at_once_are_no_evidence(tables: Tables) -> None:
    rows = []
    for cpu in (0, 1):
        rows += stall(START, pfn=(1 << 16) + cpu * PAGES, who=Who(cpu=cpu, pid=cpu + 1))
    table = tables(accepting(rows))["parallel"]
    assert set(column(table, "marginal")) == {None}
    assert "cannot be told" in table.notes[0]


# redundant


def test_pages_zeroed_at_their_first_use_are_counted_once(tables: Tables) -> None:
    (row,) = tables("lazy")["redundant"].rows
    # 22 blocks on node 0 were accepted beyond their first 2 MiB; 64 pages of each were zeroed.
    assert (row["bound"], row["zeroed_bytes"]) == ("exact", 22 * 64 * 4096)
    assert row["zero_ns"] == row["saving_ns"] == 22 * 64 * 250
    # A unit of 2 MiB takes 1 ms, a page of 4 KiB 250 ns to zero.
    assert (row["accept_block_ns"], row["zero_block_ns"]) == (2 * MS, 1024 * 250)


def test_a_page_used_before_it_was_zeroed_or_zeroed_before_its_accept_is_not(tables: Tables) -> None:
    rows = stall(START + 10 * MS, pfn=1 << 16)
    zeroing = int(Flag.ZEROED)
    page = 1 << 16
    for pfn, before, after in ((page + 1, None, 0), (page + 2, zeroing, None), (page + 3, 0, zeroing)):
        for at, flags in ((START, before), (START + 50 * MS, after), (START + 60 * MS, zeroing)):
            if flags is not None:
                rows.append(streamed("alloc", 0, 500, ts_ns=at, pfn=pfn, flags=flags))
    (row,) = tables(accepting(rows))["redundant"].rows
    # Of page 1 the first use was not zeroed; of 2 and 3 it was.  The victim's own page 0 was not.
    assert row["zeroed_bytes"] == 2 * 4096
    assert row["used_bytes"] == 4 * 4096


def test_a_huge_page_counts_each_of_its_pages(tables: Tables) -> None:
    rows = stall(START + 10 * MS, pfn=1 << 16)
    rows.append(streamed("alloc", 9, 9000, ts_ns=START + 50 * MS, pfn=(1 << 16) + 512, flags=1))
    (row,) = tables(accepting(rows))["redundant"].rows
    assert row["zeroed_bytes"] == 2 * MIB


def test_sums_give_a_bound(tables: Tables) -> None:
    rows = stall(START + 10 * MS)
    rows.append(aggregated("alloc", 300, 250, flags=int(Flag.AGGREGATED | Flag.ZEROED)))
    (row,) = tables(accepting(rows))["redundant"].rows
    assert (row["bound"], row["zeroed_bytes"], row["used_bytes"]) == ("at most", 300 * 4096, None)
    assert row["zero_ns"] is None


@pytest.mark.parametrize(
    ("facts", "cmdline", "clears", "saving"),
    [
        (TDX, "", "yes", 22 * 64 * 250),
        (SNP, "", "no", 0),
        (TDX[1:], "unaccepted_emul=2G@4G unaccepted_emul_cost=1000000", "no", 0),
        (TDX[1:], "unaccepted_emul=2G@4G unaccepted_emul_cost=1000000,0,1", "yes", 22 * 64 * 250),
        ((Fact("confidential", "unknown"), *TDX[1:]), "", "unknown", None),
    ],
)
def test_a_saving_is_claimed_only_where_acceptance_clears(
    facts: tuple[Fact, ...], cmdline: str, clears: str, saving: int | None, tables: Tables
) -> None:
    case = CASES["lazy"]()
    told = dataclasses.replace(case.header, facts=facts, kernel_cmdline=cmdline)
    (row,) = tables(dataclasses.replace(case, header=told))["redundant"].rows
    assert (row["accept_clears"], row["saving_ns"]) == (clears, saving)


# what if


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
    accepts, _ = spans_of(accepting(rows, (1900, 0)))
    mean = accepts.arch.dur.sum() / accepts.arch.bytes.sum()
    assert ns_per_byte(accepts) == pytest.approx(mean, rel=0.05)


def test_what_firmware_may_have_accepted_makes_two_bounds(tables: Tables) -> None:
    first = tables(regular(0, MS))["eager"].rows[0]
    assert (first["bytes"], first["bytes_max"]) == (2000 * MIB, 4 << 30)
    assert first["accept_ns"] == 1000 * MS and first["accept_max_ns"] == 2048 * MS


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
    assert (predicted["stalls"], predicted["stalls_min"]) == (240, 120)


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


def test_what_chance_may_have_done_is_no_saturation(tables: Tables) -> None:
    random = np.random.default_rng(5)
    rows, now = [], START
    for i in range(80):
        # Two CPUs at once take 1.6 times as long each: one more adds about a quarter.
        took = int(MS * random.lognormal(0, 0.6) * (1.6 if i % 2 else 1))
        for cpu in range(1 + i % 2):
            pfn = (1 << 16) + len(rows) * PAGES
            rows += stall(now, pfn=pfn, who=Who(cpu=cpu, pid=cpu + 1), per_unit=took)
        now += 3 * took
    table = tables(accepting(rows, (2000, 0)))["parallel"]
    low, high = table.rows[1]["marginal_low"], table.rows[1]["marginal_high"]
    assert low < 0.25 < high
    assert table.notes[0].startswith("node 0: cannot be told whether it saturates at 1: one more adds")


# window


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


# not applicable


@pytest.mark.parametrize(
    ("name", "why"),
    [
        ("plain", "no confidential guest"),
        ("eager", "accepted eagerly"),
        ("paravisor", "a paravisor accepts"),
        ("old_kernel", "built without support"),
        ("all_accepted", "had been accepted before recording began"),
    ],
)
def test_where_nothing_can_be_accepted_that_is_all_that_is_said(name: str, why: str, report_of: Any) -> None:
    report = report_of(name)
    (table,) = report.tables
    assert table.rows[0]["applicable"] == "no"
    assert table.notes[0].startswith("not applicable, because") and why in table.notes[0]


def test_a_run_that_cannot_know_says_so(report_of: Any) -> None:
    (table,) = report_of("unrecorded").tables
    assert table.rows[0]["applicable"] == "unknown" and "cannot be told" in table.notes[0]


def test_unaccepted_memory_makes_it_applicable_on_any_platform(report_of: Any) -> None:
    case = accepting([streamed("alloc", 0, 500)], (0, 4), (0, 4), facts=(Fact("confidential", "plain"),))
    assert "window" in {t.name for t in report_of(case).tables}


def test_the_unseen_share_is_a_caveat(report_of: Any) -> None:
    case = CASES["lazy"]()
    loaded = dataclasses.replace(
        case.header,
        snapshots=(snapshots("before_load", START - SECOND, 420, 300), *case.header.snapshots),
    )
    texts = {c.id: c.text for c in report_of(dataclasses.replace(case, header=loaded)).caveats}
    assert texts["unseen"].startswith("not observed: 3.32Gi accepted before recording")
    assert "20.0Mi accepted" in texts["unseen-loading"]


def test_losses_of_the_recording_are_a_caveat(report_of: Any) -> None:
    case: Case = accepting(stall(START + MS), losses=Losses(ring_full=9))
    assert "losses" in {c.id for c in report_of(case).caveats}


def test_a_task_that_is_unknown_is_told_by_its_cpu(tables: Tables) -> None:
    rows = stall(START + MS, levels=("accept.call",), who=Who(cpu=3))
    rows[0] |= {"tid": None, "pid": None, "comm": None}
    (row,) = tables(accepting(rows, levels=("accept.call",)))["window"].rows
    assert (row["task"], row["tasks"]) == ("an unknown task on CPU 3", 1)


def test_only_the_allocations_that_waited_are_no_account_of_zeroing(tables: Tables) -> None:
    # record -e accept streams these, and no others.
    case = accepting(stall(START + MS))
    told = dataclasses.replace(case.header, events=("accept.call", "accept.arch"))
    found = tables(dataclasses.replace(case, header=told))
    assert found["victims"].rows[0]["order"] == 0
    assert (found["redundant"].rows[0]["bound"], found["redundant"].rows[0]["zeroed_bytes"]) == (
        "unknown",
        None,
    )
    assert found["window"].rows[0]["alloc_share"] is None


def test_memory_that_no_row_tells_is_unknown_everywhere(tables: Tables) -> None:
    levels = ("alloc", "accept.call")
    rows = [row for i in range(40) for row in stall(START + 9 * i * MS, levels=levels)]
    for row in rows:
        if row["event"] == "accept.call":
            row |= {"bytes": None, "bytes_requested": None, "pfn": None, "flags": int(Flag.ESTIMATED)}
    found = tables(accepting(rows, levels=levels))
    for name, unknown in (
        ("calls", ("size_bytes", "bytes", "gib_per_s")),
        ("victims", ("bytes",)),
        ("worst", ("bytes",)),
        ("parallel", ("bytes", "gib_per_s")),
        ("redundant", ("accepted_bytes", "zeroed_bytes", "saving_ns")),
    ):
        assert {found[name].rows[0][column] for column in unknown} == {None}, name
    assert found["calls"].rows[0]["time"] == "estimated"
    assert any("memory is unknown" in note for note in found["calls"].notes)
    assert found["eager"].rows == ()
