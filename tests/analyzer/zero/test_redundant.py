# SPDX-License-Identifier: Apache-2.0
"""What is called redundant, and what nobody can know to be."""

from __future__ import annotations

import pytest

from memtrace.analyzer.zero.kinds import Counted
from memtrace.analyzer.zero.redundant import AGAIN, OVER, UNASKED, UNSEEN, UNSURE, redundant
from memtrace.tests.analyzer.accept.recorded import ZEROING
from memtrace.tests.analyzer.recorded import START, Case, header, status, streamed, total
from memtrace.tests.analyzer.zero.tables import RunOf, rows
from memtrace.traces.run import Fact
from memtrace.traces.schema import Flag


def test_the_second_clear_of_a_huge_page_is_redundant_and_no_other(run_of: RunOf) -> None:
    (again,) = rows(run_of("zeroing"), "redundant")
    assert (again["why"], again["kind"], again["bytes"], again["total_ns"]) == (
        AGAIN,
        "anonymous, huge",
        2 << 20,
        200_000,
    )
    assert again["share"] == pytest.approx(200 / 450)


def test_redundant_is_what_is_written_again_before_it_can_be_read() -> None:
    shmem = {"within": "root.shmem", "asked": False}
    totals = [
        total("zero.alloc", 30, 300, **shmem),
        # Of 30 shared pages a fault cleared 10; the others a write filled.
        total("zero.page", 10, 90, within="root.shmem"),
        total("zero.alloc", 5, 50, within="root.cow", asked=False),
        total("zero.alloc", 7, 70, within="root.slab", asked=False),
        total("zero.alloc", 9, 90, within="root.fault", asked=True),
        total("zero.alloc", 512, 800, within="root.hugetlb_pool", asked=False, order=9),
    ]
    found = {(r["why"], r["kind"]): (r["bytes"] // 4096, r["total_ns"]) for r in redundant(totals, False)}
    assert found == {
        (AGAIN, "shmem"): (10, 100),
        (OVER, "shmem"): (20, 200),
        (OVER, "copied or read"): (5, 50),
        (UNASKED, "slab"): (7, 70),
        (AGAIN, "hugetlb"): (512, 800),
    }


def test_what_nobody_saw_the_gfp_flags_of_is_not_called_unasked() -> None:
    slab = {"within": "root.slab"}
    totals = [total("zero.alloc", 3, 30, asked=False, **slab), total("zero.alloc", 4, 80, asked=None, **slab)]
    assert [
        (r["why"], r["bytes"] // 4096, r["total_ns"], r["redundant"]) for r in redundant(totals, False)
    ] == [
        (UNASKED, 3, 30, False),
        (UNSURE, 4, 80, None),
    ]


def test_a_clear_by_a_caller_that_was_not_counted_may_have_been_the_second() -> None:
    huge = total("zero.alloc", 512, 100, asked=False, order=9, within="root.thp_fault")
    (row,) = redundant([huge], False, Counted(user=False))
    assert (row["why"], row["bytes"], row["redundant"]) == (UNSEEN, 2 << 20, None)
    # Counted, and none was seen: the caller left it to the allocator.
    assert redundant([huge], False)[0]["why"] == UNASKED


@pytest.mark.parametrize(("platform", "found"), [("TDX", 1), ("SEV-SNP", 0), ("plain", 0)])
def test_a_clear_after_acceptance_is_redundant_where_accepting_zeroes(
    run_of: RunOf, platform: str, found: int
) -> None:
    accepted = streamed("accept.call", None, 900, pfn=1024, bytes=4 << 20, ts_ns=START + 1000)
    flags = int(Flag.ZEROED)
    taken = streamed("alloc", 9, 100, pfn=1536, flags=flags, ts_ns=START + 2000)
    cleared = streamed("zero.alloc", 9, 70, pfn=1536, ts_ns=START + 1990)
    again = [{**taken, "ts_ns": START + 3000}, {**cleared, "ts_ns": START + 2990}]
    elsewhere = [{**taken, "pfn": 4096}, {**cleared, "pfn": 4096}]
    case = Case(
        [accepted, taken, cleared, *again, *elsewhere],
        header("alloc", "zero.alloc", "accept.call", facts=(Fact("confidential", platform), *ZEROING)),
        status(),
    )
    after = [row for row in rows(run_of(case), "redundant") if row["why"] == "after acceptance"]
    assert [(row["bytes"], row["total_ns"]) for row in after] == [(2 << 20, 70)] * found
