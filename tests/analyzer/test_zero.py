# SPDX-License-Identifier: Apache-2.0
"""The zero view: what is counted, what is called redundant, what the what-ifs say."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from memtrace.analyzer.keys import parse_keys
from memtrace.analyzer.report import Request, make
from memtrace.analyzer.scan import connect
from memtrace.analyzer.tables import Report, Row
from memtrace.analyzer.views import Choice, view
from memtrace.analyzer.zero import accounts
from memtrace.analyzer.zero.kinds import Counted, kind_of
from memtrace.analyzer.zero.redundant import AGAIN, OVER, UNASKED, UNSEEN, UNSURE, redundant
from memtrace.errors import MemtraceError
from memtrace.tests.analyzer.cases import CASES, START, Case, aggregated, header, status, streamed, total
from memtrace.traces.reader import Run
from memtrace.traces.run import LEFT_TO_ALLOCATOR, Fact, Node, ProbeSite, RootTotal
from memtrace.traces.schema import Flag

RunOf = Callable[[Case | str], Run]


def report(run: Run) -> Report:
    return view(run, "zero").report


def rows(run: Run, name: str) -> tuple[Row, ...]:
    table = report(run).table(name)
    assert table is not None
    return table.rows


def one(run: Run, name: str, **where: Any) -> Row:
    (found,) = (row for row in rows(run, name) if all(row[k] == v for k, v in where.items()))
    return found


@pytest.mark.parametrize(
    ("kind", "event", "fields"),
    [
        ("anonymous", "zero.alloc", {"asked": True, "movable": True}),
        ("anonymous", "zero.alloc", {"asked": True, "root": "root.pin"}),
        ("anonymous, huge", "zero.alloc", {"asked": False, "order": 9, "within": "root.thp_fault"}),
        ("anonymous, huge", "zero.alloc", {"asked": False, "order": 4}),
        ("anonymous, huge", "zero.user", {"order": 9, "within": "root.thp_fault"}),
        ("copied or read", "zero.alloc", {"asked": False, "within": "root.cow"}),
        ("hugetlb", "zero.user", {"order": 9, "within": "root.hugetlb_fault"}),
        ("hugetlb", "zero.alloc", {"order": 9, "within": "root.hugetlb_pool", "root": "root.hugetlb_pool"}),
        ("unknown", "zero.alloc", {"asked": None}),
        ("unknown", "alloc", {"asked": None, "order": 4}),
        ("anonymous, huge", "alloc", {"asked": None, "order": 9, "within": "root.thp_fault"}),
        ("page tables", "alloc", {"asked": True, "within": "root.page_table"}),
        ("other kernel", "alloc", {"asked": True, "within": None, "root": None}),
        ("freed", "zero.free", {"within": "root.fault"}),
    ],
)
def test_what_memory_was_for(kind: str, event: str, fields: dict[str, Any]) -> None:
    assert kind_of(total(event, 512, 1, **fields)) == kind


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


def test_what_ifs_are_the_wall_time_less_what_they_say(run_of: RunOf) -> None:
    case = CASES["zeroing"]()
    eight = tuple(range(8))
    made = dataclasses.replace(case, header=dataclasses.replace(case.header, nodes=(Node(0, eight),), cpus=8))
    run = run_of(made)
    then = {(row["root"], row["what"]): row["then_ns"] for row in rows(run, "whatifs")}
    assert then[("fault", "pool, 50% hits")] == 700_000 - 150_000
    assert then[("fault", "pool, 100% hits")] == 400_000
    assert then[("fault", "4 threads")] == 700_000 - 225_000
    assert then[("fault", "zero on free")] == 500_000
    assert then[("fault", "no second clear")] == 500_000
    assert then[("populate", "zero on free")] == 450_000
    # 4 MiB of the run's clears were large, in 300 us; the small ones took 150 us for 2 MiB: no gain.
    assert ("populate", "batch") not in then
    assert ("populate", "4 threads") not in then


def traced(site: str, *, alloc: int, clears: int, more: tuple[RootTotal, ...] = ()) -> Case:
    """512 pages of order 9 allocated and cleared in a fault of 10 ms, with `clears` ns in the clears."""
    manifest = (ProbeSite("zero.alloc", site, "callsite", proven=True),)
    inside = {"order": 9, "within": "root.thp_fault", "asked": False}
    roots = (
        dataclasses.replace(total("root.fault", 0, 10_000_000), zeroed=False, bytes=0),
        total("alloc", 512, alloc, **inside),
        total("zero.alloc", 512, clears, **inside),
        *more,
    )
    return Case((), header("alloc", "zero.alloc", "root.fault", manifest=manifest), status(roots=roots))


def test_a_clear_that_is_not_made_is_not_traced_either(run_of: RunOf) -> None:
    case = traced("callsite:clear_page", alloc=2_048_000, clears=1_024_000)
    pool = one(run_of(case), "whatifs", what="pool, 100% hits")
    # 2000 ns of tracing around each of 512 pages.
    assert pool["wall_ns"] == 10_000_000 - 1_024_000
    assert (pool["saved_ns"], pool["then_ns"]) == (1_024_000, 7_952_000)


@pytest.mark.parametrize(
    "case",
    [
        traced("kprobe:kernel_init_pages", alloc=2_048_000, clears=1_024_000),
        traced("callsite:clear_page", alloc=0, clears=1_024_000),
        traced(
            "callsite:clear_page",
            alloc=2_048_000,
            clears=1_024_000,
            more=(total("accept.call", 512, 900_000, root=None, within=None),),
        ),
    ],
    ids=["one pair for all pages", "nothing left over", "acceptance in between"],
)
def test_what_cannot_be_told_to_be_tracing_is_left_in_the_wall_time(case: Case, run_of: RunOf) -> None:
    pool = one(run_of(case), "whatifs", what="pool, 100% hits")
    assert (pool["wall_ns"], pool["then_ns"]) == (10_000_000, 8_976_000)


def test_batch_is_at_the_speed_of_the_same_clearer(run_of: RunOf) -> None:
    huge = {"order": 9, "within": "root.thp_fault", "asked": False}
    small = total("zero.alloc", 512, 2_000_000, asked=True)
    slow, quick = total("zero.alloc", 512, 1_000_000, **huge), total("zero.user", 512, 500_000, **huge)
    fault = dataclasses.replace(total("root.fault", 0, 10_000_000), zeroed=False, bytes=0)

    def saved(*clears: RootTotal) -> int | None:
        case = Case((), header("zero.alloc", "root.fault"), status(roots=(fault, small, *clears)))
        found = [r["saved_ns"] for r in rows(run_of(case), "whatifs") if r["what"] == "batch"]
        return found[0] if found else None

    assert saved() is None
    assert saved(slow, quick) == 1_000_000
    assert saved(quick) == 1_500_000


def test_threads_are_bounded_by_the_cpus_of_the_node(run_of: RunOf) -> None:
    assert not [row for row in rows(run_of("zeroing"), "whatifs") if "threads" in row["what"]]


def test_derived_clearing_is_marked_and_has_no_time(run_of: RunOf) -> None:
    inferred = ProbeSite("zero.alloc", "inferred:gfp", "inferred", time="unknown", count="inferred")
    none = {"root": None, "within": None}
    roots = (
        total("alloc", 100, None, asked=True, movable=True, **none),
        total("alloc", 50, None, asked=False, movable=False, zeroed=False, **none),
    )
    case = Case((), header("alloc", manifest=(inferred,)), status(roots=roots))
    run = run_of(case)
    row = one(run, "main", by_allocator=100)
    assert (row["kind"], row["pages"], row["derived"]) == ("user or file, asked", 100, True)
    assert (row["by_caller"], row["clears_is"], row["total_ns"]) == (None, "at least", None)
    assert one(run, "main", by_allocator=0)["kind"] == "kernel"
    assert rows(run, "roots") == ()
    assert rows(run, "whatifs") == ()
    assert one(run, "coverage", path="allocation")["seen"] == "derived"
    assert one(run, "coverage", path="compaction's targets")["seen"] == "no"


@pytest.mark.parametrize(
    ("unproven", "init", "seen", "by"),
    [
        (LEFT_TO_ALLOCATOR, "yes", "yes", "fentry:leaf"),
        ("", "yes", "yes", "fentry:user"),
        ("", "no", None, None),
    ],
)
def test_which_clears_of_huge_pages_are_seen_where(
    run_of: RunOf, unproven: str, init: str, seen: str | None, by: str | None
) -> None:
    manifest = (
        ProbeSite("zero.alloc", "fentry:leaf", "fentry", "leaf", proven=True),
        ProbeSite("zero.user", "fentry:user", "fentry", "user", unproven=unproven),
    )
    head = header("zero.alloc", "zero.user", manifest=manifest)
    head = dataclasses.replace(head, facts=(Fact("init_on_alloc", init),))
    run = run_of(Case((), head, status(roots=())))
    found = {row["path"]: row for row in rows(run, "coverage")}
    if seen is None:
        assert found["huge pages, hugetlb"]["by"] == "fentry:user"
        return
    assert (found["huge pages"]["seen"], found["huge pages"]["by"]) == (seen, by)
    assert "zero.alloc" in found["huge pages"]["why"]
    assert (found["hugetlb, at faults"]["seen"], found["hugetlb, at faults"]["by"]) == ("yes", "fentry:user")


def thp_without_a_site(caller_seen: bool, small_only: bool = False) -> Case:
    """10 huge and 1000 small pages by faults with init_on_alloc; the allocator's clears are only derived."""
    inferred = ProbeSite("zero.alloc", "inferred:gfp", "inferred", time="unknown", count="inferred")
    user = "fentry:folio_zero_user" if caller_seen else None
    sites = [ProbeSite(name, f"fentry:{name}", "fentry") for name in ("alloc", "root.fault", "zero.page")]
    huge = {"order": 9, "within": "root.thp_fault"}
    roots: tuple[RootTotal, ...] = (
        total("alloc", 1000, 400_000, asked=True, movable=True),
        dataclasses.replace(total("root.fault", 0, 4_000_000, count=1010), zeroed=False, bytes=0),
    )
    if not small_only:
        roots += (total("alloc", 5120, 2_200_000, asked=False, movable=True, **huge),)
        roots += (total("zero.user", 5120, 1_000_000, **huge),) if caller_seen else ()
    manifest = (*sites, inferred, ProbeSite("zero.user", user, "fentry" if user else None))
    facts = (Fact("init_on_alloc", "yes"),)
    return Case(
        (), header("alloc", "zero.alloc", "zero.user", manifest=manifest, facts=facts), status(roots=roots)
    )


def test_clearing_that_is_only_derived_is_in_the_roots_and_its_time_is_not_0(run_of: RunOf) -> None:
    names = ("clearing_ns", "share", "time", "pages", "pages_are")
    for case, expected in (
        (thp_without_a_site(True), (1_000_000, 0.25, "part", 11_240, "derived")),
        (thp_without_a_site(True, small_only=True), (None, None, "unknown", 1000, "derived")),
        (thp_without_a_site(False), (None, None, "unknown", 6120, "part")),
    ):
        (row,) = rows(run_of(case), "roots")
        assert tuple(row[name] for name in names) == expected
    text = make(Request((str(run_of(thp_without_a_site(True)).path),), view="zero"))
    assert re.search(r"fault +1010 +4.00ms +>1.00ms +>25.0% +~11240", text)


def test_what_ifs_of_clearing_that_is_only_derived_are_lower_bounds(run_of: RunOf) -> None:
    run = run_of(thp_without_a_site(True))
    found = {row["what"]: (row["saved_ns"], row["at_least"]) for row in rows(run, "whatifs")}
    assert found == {f"pool, {hits}% hits": (hits * 10_000, True) for hits in (50, 90, 100)}
    text = make(Request((str(run.path),), view="zero"))
    assert re.search(r"pool, 100% hits +4.00ms +>1.00ms +3.00ms +>1.33", text)
    assert "zero on free: unknown" in text
    for case in (thp_without_a_site(True, small_only=True), thp_without_a_site(False)):
        assert rows(run_of(case), "whatifs") == ()


def test_the_ledger_accounts_for_every_nanosecond_once(run_of: RunOf) -> None:
    (row,) = rows(run_of("zeroing"), "ledger")
    assert row == {"intervals": 5, "union_ns": 700_000, "self_sum_ns": 700_000, "crossing": 0, "differs": 0}


def stepped(*sums: tuple[int, int]) -> Case:
    """An allocation of 3 us and in it an acceptance with steps of (count, ns); self times as recorded."""
    inside = {"tid": 9, "pid": 9, "cpu": 0, "nid": 1, "bytes": 4 << 20}
    ended, took = START + 2_050, sum(ns for _, ns in sums)
    steps = [
        aggregated("accept.step", n, None, 9, parent="accept.arch", **inside)
        | {"ts_ns": ended, "total_ns": ns, "self_ns": ns, "dur_ns": ns if n == 1 else None}
        for n, ns in sums
    ]
    rows = [
        streamed("accept.arch", None, 1_900, ts_ns=ended, self_ns=1_900 - took, **inside),
        *steps,
        streamed("accept.call", None, 2_000, ts_ns=START + 2_100, self_ns=100, **inside),
        streamed("zero.alloc", 0, 100, ts_ns=START + 2_500, flags=1, **inside),
        streamed("alloc", 0, 3_000, ts_ns=START + 3_000, self_ns=900, flags=1, **inside),
    ]
    events = ("alloc", "zero.alloc", "accept.call", "accept.arch", "accept.step")
    return Case(rows, header(*events, stream_all=True), status())


def test_the_steps_of_an_acceptance_have_their_place_in_the_ledger_and_the_tree(run_of: RunOf) -> None:
    # 1 GiB refused, 2 MiB refused and accepted, 512 times 4 KiB: one row each, all of one accept.arch.
    run = run_of(stepped((1, 100), (1, 150), (1, 250), (512, 1_200)))
    (row,) = rows(run, "ledger")
    assert row == {"intervals": 4, "union_ns": 3000, "self_sum_ns": 3000, "crossing": 0, "differs": 0}
    tree = {r["path"]: r for r in view(run, "zero", Choice(grouping="tree")).report.tables[0].rows}
    arch = "alloc > accept.call > accept.arch"
    assert (tree[arch]["total_ns"], tree[arch]["self_ns"]) == (1_900, 200)
    step = tree[f"{arch} > accept.step"]
    assert (step["count"], step["total_ns"], step["self_ns"]) == (515, 1_700, 1_700)
    # What the recorder wrote is still checked.
    sound = stepped((2, 1_800))
    wrong = [row | {"self_ns": 200} if row["event"] == "accept.arch" else row for row in sound.rows]
    assert rows(run_of(dataclasses.replace(sound, rows=wrong)), "ledger")[0]["differs"] == 1


def test_a_self_time_that_nesting_does_not_bear_out_is_told(run_of: RunOf) -> None:
    case = CASES["zeroing"]()
    wrong = [{**row, "self_ns": row["total_ns"]} for row in case.rows]
    run = run_of(dataclasses.replace(case, rows=wrong))
    assert rows(run, "ledger")[0]["differs"] == 3
    assert "ledger" in {caveat.id for caveat in report(run).caveats}


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
        header("alloc", "zero.alloc", "accept.call", facts=(Fact("confidential", platform),)),
        status(),
    )
    after = [row for row in rows(run_of(case), "redundant") if row["why"] == "after acceptance"]
    assert [(row["bytes"], row["total_ns"]) for row in after] == [(2 << 20, 70)] * found


def test_cpus_that_clear_at_once_are_counted_and_not_clears(run_of: RunOf) -> None:
    def clear(begin: int, end: int, cpu: int) -> dict[str, Any]:
        return streamed("zero.user", 9, end - begin, ts_ns=START + end, cpu=cpu, tid=100 + cpu)

    def at_once(*clears: dict[str, Any]) -> int | None:
        run = run_of(Case(clears, header("zero.user"), status()))
        with connect(run) as connection:
            return accounts.at_once(run, connection)

    # An interrupt's in the middle of another, and one right after it on the same CPU.
    assert at_once(clear(0, 100, 0), clear(40, 50, 0), clear(100, 200, 0)) == 1
    assert at_once(clear(0, 100, 0), clear(40, 50, 0), clear(90, 120, 1), clear(110, 130, 2)) == 2
    assert at_once() is None


def test_the_first_clear_of_a_frame_is_told_from_later_ones(run_of: RunOf) -> None:
    cleared = [
        streamed("zero.user", 9, ns, pfn=pfn, ts_ns=START + i)
        for i, (pfn, ns) in enumerate([(512, 9000), (512, 1000), (1024, 7000), (512, 3000)])
    ]
    (row,) = rows(run_of(Case(cleared, header("zero.user"), status())), "touches")
    assert (row["first_bytes"], row["again_bytes"]) == (4 << 20, 4 << 20)
    assert row["first_ns_per_4kib"] == pytest.approx(16000 / 1024)
    assert row["again_ns_per_4kib"] == pytest.approx(4000 / 1024)


def test_clears_streamed_for_their_length_say_nothing_of_first_touches(run_of: RunOf) -> None:
    found = [
        streamed("zero.user", 9, 9000, pfn=512),
        streamed("zero.alloc", 0, 200_000, pfn=7),
        aggregated("zero.alloc", 100, 300),
    ]
    run = run_of(Case(found, header("zero.user", "zero.alloc"), status()))
    assert [(row["event"], row["order"]) for row in rows(run, "touches")] == [("zero.user", 9)]
    table = report(run).table("touches")
    assert table is not None and "order 0, which was summed in the kernel" in table.notes[-1]


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


def test_what_the_view_has_not_is_refused(run_of: RunOf) -> None:
    run = run_of("zeroing")
    for choice in (Choice(by=parse_keys("comm")), Choice(window=(START, START + 1))):
        with pytest.raises(MemtraceError, match="the zero view"):
            view(run, "zero", choice)


@pytest.mark.parametrize("case", sorted(CASES))
def test_every_kind_of_run_has_a_view_and_a_figure(run_of: RunOf, case: str, tmp_path: Path) -> None:
    result = view(run_of(case), "zero")
    figure = tmp_path / "zero.png"
    result.draw(figure)
    assert figure.stat().st_size > 10_000
    assert {table.name for table in result.report.tables} >= {"main", "roots", "ledger", "coverage"}
