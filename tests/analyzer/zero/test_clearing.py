# SPDX-License-Identifier: Apache-2.0
"""Clearing by what it was for and by the root that paid: each page and each nanosecond once."""

from __future__ import annotations

import dataclasses
import re
from typing import Any

import pytest

from memtrace.analyzer.report import Request, make
from memtrace.analyzer.views import Choice, view
from memtrace.analyzer.zero.redundant import UNSURE
from memtrace.tests.analyzer.cases import CASES
from memtrace.tests.analyzer.recorded import START, Case, aggregated, header, status, streamed, total
from memtrace.tests.analyzer.zero.tables import RunOf, one, report, rows
from memtrace.traces.run import Fact, ProbeSite
from memtrace.traces.schema import Flag


def test_a_huge_page_is_cleared_twice_and_a_small_one_once(run_of: RunOf) -> None:
    run = run_of("zeroing")
    huge = one(run, "main", kind="anonymous, huge", order=9, nid=0)
    assert (huge["pages"], huge["by_allocator"], huge["by_caller"], huge["clears_per_page"]) == (
        512,
        512,
        512,
        2.0,
    )
    assert huge["total_ns"] == 300_000
    assert huge["ns_per_4kib"] == pytest.approx(300_000 / 1024)
    small = one(run, "main", kind="anonymous", order=0, nid=1)
    assert (small["pages"], small["clears_per_page"], small["remote_share"]) == (512, 1.0, 1.0)
    assert small["remote_ns_per_4kib"] == pytest.approx(150_000 / 512)


def test_a_root_has_its_wall_time_and_the_clearing_in_it_once(run_of: RunOf) -> None:
    run = run_of("zeroing")
    fault, populate = one(run, "roots", root="fault"), one(run, "roots", root="populate")
    # The huge page fault lies in the fault: its time is not added.
    assert (fault["calls"], fault["wall_ns"], fault["clearing_ns"], fault["pages"]) == (
        1,
        700_000,
        300_000,
        1024,
    )
    assert fault["share"] == pytest.approx(3 / 7)
    assert (populate["wall_ns"], populate["clearing_ns"]) == (600_000, 150_000)
    assert len(rows(run, "roots")) == 2


def test_a_root_inside_one_of_its_own_kind_is_in_its_time_already(run_of: RunOf) -> None:
    case = CASES["zeroing"]()
    nested = total("root.fault", 0, 200_000, within="root.thp_fault", count=2, order=None, nid=None)
    run = run_of(
        dataclasses.replace(case, status=dataclasses.replace(case.status, roots=(*case.status.roots, nested)))
    )
    fault = one(run, "roots", root="fault")
    assert (fault["calls"], fault["wall_ns"]) == (1, 700_000)
    assert one(run, "whatifs", root="fault", what="pool, 100% hits")["wall_ns"] == 700_000


def cut_short(init_on_alloc: str) -> Case:
    """Order 0 summed by the kernel, and no sums by root: no gfp flags, no CPU."""
    zeroed = int(Flag.AGGREGATED | Flag.ZEROED)
    summed = [
        aggregated("alloc", 1000, 400, flags=zeroed),
        aggregated("alloc", 3000, 300),
        aggregated("zero.alloc", 1000, 200, flags=zeroed, parent="alloc"),
    ]
    facts = (Fact("init_on_alloc", init_on_alloc),)
    return Case(summed, header("alloc", "zero.alloc", facts=facts), status())


def test_what_is_unknown_of_summed_rows_is_neither_unasked_nor_local(run_of: RunOf) -> None:
    run = run_of(cut_short("unknown"))
    (row,) = rows(run, "main")
    assert (row["kind"], row["by_allocator"], row["asked"], row["remote_share"]) == (
        "unknown",
        1000,
        None,
        None,
    )
    assert [(r["why"], r["redundant"]) for r in rows(run, "redundant")] == [(UNSURE, None)]
    # Without init_on_alloc whatever the allocator clears was asked for.
    run = run_of(cut_short("no"))
    assert rows(run, "main")[0]["asked"] == 1000
    assert rows(run, "redundant") == ()


def test_the_remote_share_is_of_what_has_a_known_cpu(run_of: RunOf) -> None:
    known = [
        total("zero.user", pages, 10, order=0, remote=remote) for pages, remote in ((1, True), (3, False))
    ]
    case = Case((), header("zero.user"), status(roots=(*known, total("zero.user", 4, 10, remote=None))))
    assert rows(run_of(case), "main")[0]["remote_share"] == 0.25


def test_clears_per_page_of_a_pool_filled_before_are_over_the_pages_cleared(run_of: RunOf) -> None:
    pool = {"order": 9, "root": "root.hugetlb_pool", "within": "root.hugetlb_pool", "asked": False}
    roots = (
        total("alloc", 512, 100, **pool),
        total("zero.alloc", 512, 90, **pool),
        # One page was added; 63 of the 64 faulted were there before.
        total("zero.user", 64 * 512, 64 * 90, order=9, within="root.hugetlb_fault"),
    )
    case = Case((), header("alloc", "zero.alloc", "zero.user"), status(roots=roots))
    (row,) = rows(run_of(case), "main")
    assert (row["pages"], row["clears_per_page"], row["clears_is"]) == (512, 65 / 64, "at least")


def test_clears_that_were_not_recorded_are_unknown(run_of: RunOf) -> None:
    fault = dataclasses.replace(total("root.fault", 0, 10_000), zeroed=False, bytes=0)
    small = total("alloc", 100, 900, asked=True)
    shared = total("alloc", 100, 900, asked=False, within="root.shmem")

    def seen(*events: str) -> dict[str, Any]:
        made = Case((), header("alloc", "root.fault", *events), status(roots=(fault, small, shared)))
        run = run_of(made)
        kinds = {row["kind"]: row for row in rows(run, "main")}
        names = ("by_allocator", "by_caller", "clears_is")
        return {kind: tuple(row[name] for name in names) for kind, row in kinds.items()} | {
            "root": tuple(
                one(run, "roots", root="fault")[n] for n in ("clearing_ns", "share", "pages", "time")
            )
        }

    assert seen() == {
        "anonymous": (None, None, None),
        "shmem": (None, None, None),
        "root": (None, None, None, "unknown"),
    }
    assert seen("zero.alloc", "zero.user") == {
        "anonymous": (0, 0, "exact"),
        "shmem": (0, None, "at least"),
        "root": (None, None, None, "unknown"),
    }
    assert seen("zero.alloc", "zero.user", "zero.page") == {
        "anonymous": (0, 0, "exact"),
        "shmem": (0, 0, "exact"),
        "root": (0, 0.0, 0, "exact"),
    }


def test_without_allocations_clears_of_each_page_are_unknown(run_of: RunOf) -> None:
    cleared = total("zero.alloc", 100, 50, asked=True)
    (row,) = rows(run_of(Case((), header("zero.alloc", "zero.user"), status(roots=(cleared,)))), "main")
    assert (row["pages"], row["by_allocator"], row["clears_per_page"]) == (None, 100, None)


def test_what_has_no_known_root_is_in_none_and_in_no_what_if(run_of: RunOf) -> None:
    # Killed: the sums by root are lost, and of order 0 there are sums by event alone.
    case = CASES["clears-summed"]()
    fault = streamed("root.fault", None, 9_000, ts_ns=START + 9_000, pfn=None, nid=None, tid=400)
    rows_ = [*case.rows, fault, streamed("zero.user", 9, 800, ts_ns=START + 8_000, tid=400)]
    run = run_of(dataclasses.replace(case, rows=rows_, status=dataclasses.replace(case.status, roots=())))
    assert one(run, "main", order=0)["kind"] == "unknown"
    names = ("calls", "wall_ns", "clearing_ns", "time", "share", "pages_are")
    assert {row["root"]: tuple(row[name] for name in names) for row in rows(run, "roots")} == {
        "unknown": (None, None, 214_000, "exact", None, "exact"),
        "no root": (None, None, 6_000, "part", None, "part"),
        "fault": (1, 9_000, 800, "part", None, "part"),
    }
    assert rows(run, "whatifs") == ()
    text = make(Request((str(run.path),), view="zero"))
    assert re.search(r"fault +>1 +>9.00us +>800ns +>512", text)
    sites = view(run, "zero", Choice(grouping="stack")).report.table("callsites")
    assert sites and {row["within"] for row in sites.rows} == {None, "none", "fault"}


def test_call_sites_in_shared_memory_alone_do_not_count_khugepageds_holes(run_of: RunOf) -> None:
    calls = ProbeSite("zero.page", "callsite:clear_page", "callsite", "shmem_get_folio_gfp")
    plain = [ProbeSite(name, f"fentry:{name}", "fentry") for name in ("alloc", "zero.alloc", "zero.user")]
    roots = (
        total("alloc", 100, 900, within="root.shmem"),
        total("alloc", 512, 900, within="root.khugepaged"),
    )
    case = Case((), header("alloc", "zero.page", manifest=(*plain, calls)), status(roots=roots))
    found = {row["kind"]: row["by_caller"] for row in rows(run_of(case), "main")}
    assert found == {"shmem": 0, "khugepaged": None}


def test_hugetlb_from_a_pool_filled_before_is_cleared_at_least_once(run_of: RunOf) -> None:
    fault = {"within": "root.hugetlb_fault", "order": 9}
    case = Case((), header("alloc", "zero.user"), status(roots=(total("zero.user", 512, 100, **fault),)))
    (row,) = rows(run_of(case), "main")
    assert (row["pages"], row["clears_per_page"], row["clears_is"]) == (0, 1.0, "at least")


def test_the_bulk_allocators_pages_are_those_it_cleared(run_of: RunOf) -> None:
    vmalloc = {"within": "root.vmalloc", "root": "root.vmalloc", "asked": False}
    case = Case((), header("alloc", "zero.alloc"), status(roots=(total("zero.alloc", 100, 50, **vmalloc),)))
    (row,) = rows(run_of(case), "main")
    assert (row["kind"], row["pages"], row["clears_per_page"]) == ("vmalloc", 100, 1.0)


def test_without_the_recorders_sums_the_ledger_finds_the_roots(run_of: RunOf) -> None:
    case = CASES["zeroing"]()
    bare = dataclasses.replace(case, status=dataclasses.replace(case.status, roots=()))
    run = run_of(bare)
    huge = one(run, "main", kind="anonymous, huge", order=9, nid=0)
    assert (huge["pages"], huge["by_allocator"], huge["by_caller"], huge["total_ns"]) == (
        512,
        512,
        512,
        300_000,
    )
    fault = one(run, "roots", root="fault")
    assert (fault["calls"], fault["wall_ns"], fault["clearing_ns"]) == (1, 700_000, 300_000)
    assert "no-roots" in {caveat.id for caveat in report(run).caveats}
