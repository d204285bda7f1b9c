# SPDX-License-Identifier: Apache-2.0
"""The table ``redundant``: pages that were zeroed again after their acceptance."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
import pytest

from memtrace.analyzer.accept.reuse import SPAN, stretches
from memtrace.tests.analyzer.accept.cases import CASES
from memtrace.tests.analyzer.accept.conftest import Tables
from memtrace.tests.analyzer.accept.recorded import (
    BLOCK,
    LEVELS,
    MIB,
    MS,
    PAGES,
    SNP,
    TDX,
    accepting,
    stall,
)
from memtrace.tests.analyzer.recorded import START, aggregated, streamed
from memtrace.traces.run import Fact
from memtrace.traces.schema import Flag
from memtrace.traces.totals import Losses


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
    for written in rows:
        if written["event"] in LEVELS and written["ts_ns"] > START + 40 * MS:
            written["pfn"] = None
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
        ({"losses": Losses(ring_full=5, no_room=0)}, "5 events were lost"),
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
