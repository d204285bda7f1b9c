# SPDX-License-Identifier: Apache-2.0
"""What the what-ifs say: the wall time less what they save."""

from __future__ import annotations

import dataclasses

import pytest

from memtrace.tests.analyzer.cases import CASES
from memtrace.tests.analyzer.recorded import Case, header, status, total
from memtrace.tests.analyzer.zero.tables import RunOf, one, rows
from memtrace.traces.run import Node, ProbeSite
from memtrace.traces.totals import RootTotal


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
