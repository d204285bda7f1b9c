# SPDX-License-Identifier: Apache-2.0
"""Each table of what was recorded, against runs whose answer is known by construction."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
import pytest

from memtrace.analyzer.accept.reuse import SPAN, stretches
from memtrace.tests.analyzer.accept.cases import (
    ALL,
    BLOCK,
    CASES,
    LEVELS,
    MIB,
    MS,
    PAGES,
    SNP,
    START,
    TDX,
    Who,
    accepting,
    stall,
)
from memtrace.tests.analyzer.accept.conftest import Tables
from memtrace.tests.analyzer.accept.tables import column, row_of
from memtrace.tests.analyzer.cases import SECOND, aggregated, streamed
from memtrace.traces.run import Fact, Losses
from memtrace.traces.schema import Flag

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


def test_where_cpus_took_turns_on_a_clock_of_instructions_nothing_is_said_of_waiting(tables: Tables) -> None:
    case = CASES["saturated"]()
    header = dataclasses.replace(case.header, kernel_cmdline="memtrace.clock=instructions")
    found = tables(dataclasses.replace(case, header=header))
    by_host = tables(case)
    (note,) = found["parallel"].notes
    assert "cannot be told what one more CPU adds" in note and "took turns" in note
    assert not any("saturated at" in note for note in found["parallel"].notes)
    for row, other in zip(found["parallel"].rows, by_host["parallel"].rows, strict=True):
        assert row["wait_share"] is row["marginal"] is row["marginal_low"] is row["marginal_high"] is None
        assert row["gib_per_s"] == (other["gib_per_s"] if row["cpus"] == 1 else None)
        assert (row["calls"], row["bytes"]) == (other["calls"], other["bytes"])
    assert {row["cpus_per_node"] for row in found["eager"].rows} <= {None, 1}
    # One CPU waits for nobody.
    alone = dataclasses.replace(case, header=dataclasses.replace(header, cpus=1))
    assert tables(alone)["parallel"].notes == by_host["parallel"].notes


def test_accepts_of_an_unknown_node_are_the_machines(tables: Tables) -> None:
    rows = [row for i in range(40) for row in stall(START + 10 * i * MS, pfn=(1 << 16) + i * PAGES)]
    for row in rows:
        row["nid"] = None if row["ts_ns"] > START + 100 * MS else 0
    machine, node = tables(accepting(rows, (1024, 0)))["parallel"].rows
    assert (machine["of"], machine["calls"], machine["bytes"]) == ("machine", 40, 40 * BLOCK)
    assert (node["of"], node["calls"]) == ("node 0", 10)


def test_few_calls_at_once_are_no_evidence(tables: Tables) -> None:
    rows = []
    for cpu in (0, 1):
        rows += stall(START, pfn=(1 << 16) + cpu * PAGES, who=Who(cpu=cpu, pid=cpu + 1))
    table = tables(accepting(rows))["parallel"]
    assert set(column(table, "marginal")) == {None}
    assert "cannot be told" in table.notes[0]


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


@pytest.mark.parametrize(("far", "number"), [(1 << 17, 1), (1 << 25, 2)])
def test_a_block_accepted_more_than_once_beside_one_far_away_counts_its_pages_once(
    far: int, number: int, tables: Tables
) -> None:
    # Three accepts of one block: it was removed and added again.
    rows = [row for i in range(3) for row in stall(START + (10 + 20 * i) * MS, pfn=1 << 16)]
    rows += stall(START + 200 * MS, pfn=far)
    for page in (1 << 16, (1 << 16) + 9, far + 9):
        rows.append(streamed("alloc", 0, 500, ts_ns=START + 300 * MS, pfn=page, flags=int(Flag.ZEROED)))
    (row,) = tables(accepting(rows, (1024, 0)))["redundant"].rows
    # The victims themselves took the first page of either, and did not have it zeroed.
    assert (row["used_bytes"], row["zeroed_bytes"]) == (4 * 4096, 2 * 4096)
    ends = np.array([far, 1 << 16, 1 << 16]) + PAGES
    assert len(list(stretches(ends - PAGES, ends))) == number


def test_memory_is_looked_at_in_stretches_that_share_no_page_and_miss_none() -> None:
    first = np.array([5 * SPAN, 0, 0, SPAN // 2, 9 * SPAN])
    end = first + np.array([10, 100, 2 * SPAN + 1, 100, SPAN])
    found = list(stretches(first, end))
    assert found == [
        (0, SPAN),
        (SPAN, 2 * SPAN),
        (2 * SPAN, 2 * SPAN + 1),
        (5 * SPAN, 5 * SPAN + 10),
        (9 * SPAN, 10 * SPAN),
    ]


def test_accepts_whose_place_is_unknown_make_it_a_lower_bound(tables: Tables) -> None:
    rows = [*stall(START + 10 * MS), *stall(START + 50 * MS, pfn=(1 << 16) + PAGES)]
    for row in rows:
        if row["event"] in LEVELS and row["ts_ns"] > START + 40 * MS:
            row["pfn"] = None
    rows.append(streamed("alloc", 0, 500, ts_ns=START + 80 * MS, pfn=(1 << 16) + 3, flags=int(Flag.ZEROED)))
    (row,) = tables(accepting(rows))["redundant"].rows
    assert (row["bound"], row["zeroed_bytes"], row["used_bytes"]) == ("at least", 4096, 2 * 4096)
    assert (row["accepted_bytes"], row["accepted_partial"]) == (BLOCK, True)
    summed = [*rows, aggregated("alloc", 300, 250, flags=int(Flag.AGGREGATED | Flag.ZEROED))]
    (row,) = tables(accepting(summed))["redundant"].rows
    assert (row["bound"], row["zeroed_bytes"]) == ("unknown", None)


@pytest.mark.parametrize(
    ("told", "why"),
    [
        ({"losses": Losses(ring_full=5)}, "5 events were lost"),
        ({"filters": {"pid": "7"}}, "filters were on (pid)"),
    ],
)
def test_where_a_first_use_may_have_passed_unseen_nothing_is_exact(
    told: dict[str, Any], why: str, tables: Tables
) -> None:
    rows = [
        *stall(START + 10 * MS),
        streamed("alloc", 0, 500, ts_ns=START + 80 * MS, pfn=(1 << 16) + 3, flags=1),
    ]
    table = tables(accepting(rows, **told))["redundant"]
    assert (table.rows[0]["bound"], table.rows[0]["zeroed_bytes"]) == ("estimated", 4096)
    assert any(why in note for note in table.notes)


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
