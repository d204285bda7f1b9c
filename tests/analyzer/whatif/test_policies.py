# SPDX-License-Identifier: Apache-2.0
"""What-ifs of the gmem view: each policy on runs where what it must say can be counted by hand."""

from __future__ import annotations

import dataclasses
import random
from collections import defaultdict
from collections.abc import Callable
from typing import Any

import pytest

from memtrace.analyzer.tables import Table
from memtrace.analyzer.views import Choice, view
from memtrace.tests.analyzer.gmem.host import EVENTS, HUGE, MS, PAGE, Host, case
from memtrace.tests.analyzer.recorded import Case, header
from memtrace.traces.reader import Run
from memtrace.traces.run import ProbeSite

BASE = 1 << 20
FAULT, CLEAR, PREPARE = 700_000, 200_000, 100_000
"""Of Host.fault(): the fault without what is inside, and that."""
HUGE_POLICIES = ("huge+fallback", "huge only")


@pytest.fixture
def table_of(run_of: Callable[[Case | str], Run]) -> Callable[..., Table]:
    def make(host: Host, *seen: str, kind: str = "snp") -> Table:
        made = case(host, kind)
        if seen:
            sites = tuple(ProbeSite(e, f"fentry:{e}", "fentry", e, proven=True) for e in seen)
            made = dataclasses.replace(made, header=header(*seen, manifest=sites))
        table = view(run_of(made), "gmem", Choice(what_if=True)).report.table("whatif")
        assert table is not None
        return table

    return make


def of(table: Table, policy: str) -> dict[str, Any]:
    (row,) = (row for row in table.rows if row["policy"] == policy)
    return dict(row)


def counts(table: Table, policy: str) -> tuple[int, int, int, int]:
    """Faults, preparations, pages cleared, pages in use beyond the recorded ones."""
    row = of(table, policy)
    pages = (row[name] // PAGE for name in ("cleared_bytes", "extra_bytes"))
    return (row["faults"], row["preparations"], *pages)


def test_a_hole_over_all_of_a_broken_range_makes_it_whole_again(table_of: Callable[..., Table]) -> None:
    host = Host()
    for i in range(4):
        host.fault(i, BASE + i)
    host.punch(1, 1, {1: BASE + 1})
    host.fault(1, BASE + 1)
    host.punch(0, HUGE, {i: BASE + i for i in range(4)})
    for i in range(100):
        host.fault(i, BASE + 1000 + i)
    # One huge page, one small one while it was broken, one huge page; at the end 100 pages were in use.
    assert counts(table_of(host), "huge+fallback") == (3, 3, 2 * HUGE + 1, HUGE - 100)
    assert counts(table_of(host), "huge only") == (2, 2, 2 * HUGE, HUGE - 100)


@pytest.mark.parametrize("order", [9, 18])
def test_a_run_of_huge_pages_would_have_been_the_same_with_huge_pages(
    table_of: Callable[..., Table], order: int
) -> None:
    host, pages = Host(), 1 << order
    for i in range(10):
        host.fault(i * pages, BASE + i * pages, order, level=order)
    table = table_of(host)
    for policy in HUGE_POLICIES:
        assert counts(table, policy) == (10, 10, 10 * pages, 0)
        assert of(table, policy)["time_ns"] == 10 * MS


def test_a_fault_less_is_all_of_its_time_less(table_of: Callable[..., Table]) -> None:
    """Of a VM whose pages the RMP takes: its time is inside that of the hook."""
    host = Host()
    for i in range(10):
        host.fault(i, BASE + i, level=0)
    time = of(table_of(host), "huge only")["time_ns"]
    assert time == FAULT + HUGE * CLEAR + PREPARE


def test_a_refused_hole_keeps_its_pages_until_a_larger_one(table_of: Callable[..., Table]) -> None:
    host = Host()
    for i in range(4):
        host.fault(i, BASE + i)
    host.punch(1, 1, {1: BASE + 1})
    host.punch(2, 1, {2: BASE + 2})
    # Kept, so that it need not be prepared now.
    host.fault(2, BASE + 2)
    host.punch(0, HUGE, {0: BASE, 2: BASE + 2, 3: BASE + 3})
    for i in range(4):
        host.fault(i, BASE + i)
    table = table_of(host)
    assert counts(table, "no small holes") == (9, 8, 8, 0)
    assert of(table, "no small holes")["holes_refused"] == 2


def test_a_huge_page_over_one_that_was_kept_is_still_prepared(table_of: Callable[..., Table]) -> None:
    host = Host()
    host.fault(1, BASE + 1)
    host.punch(1, 1, {1: BASE + 1})
    host.fault(0, BASE + HUGE, 9, level=9)
    assert counts(table_of(host), "no small holes") == (2, 2, HUGE, 0)


def test_overlapping_prefaults_make_each_page_once(table_of: Callable[..., Table]) -> None:
    host = Host()
    host.fault(5000, BASE + 5000)
    host.convert(0, 100, private=True)
    host.convert(50, 100, private=True)
    host.convert(HUGE - 10, 20, private=True)
    assert counts(table_of(host), "prefault") == (1, 171, 171, 170)


def test_a_hole_takes_what_a_prefault_made(table_of: Callable[..., Table]) -> None:
    host = Host()
    host.convert(0, 16, private=True)
    host.punch(0, 16, {})
    host.fault(3, BASE)
    # 16 pages for nothing, gone again, and one that is faulted in.
    table = table_of(host)
    assert counts(table, "prefault") == (1, 17, 17, 0)
    assert of(table, "prefault")["time_ns"] == MS + 16 * (CLEAR + PREPARE)


def test_a_conversion_to_shared_takes_the_mapping_only(table_of: Callable[..., Table]) -> None:
    host = Host()
    host.convert(0, 4, private=True)
    host.convert(0, 4, private=False)
    host.fault(1, BASE)
    host.convert(0, 4, private=True)
    host.fault(1, BASE, prepare=False)
    host.fault(1, BASE, prepare=False)
    # Of the three faults the second has been prefaulted; of the four pages three nobody asked for.
    assert counts(table_of(host), "prefault") == (2, 4, 4, 3)


def test_a_prefault_of_memory_that_is_there_makes_nothing(table_of: Callable[..., Table]) -> None:
    host = Host()
    host.fault(0, BASE, 9, level=9)
    host.convert(16, 16, private=True)
    assert counts(table_of(host), "prefault") == (1, 1, HUGE, 0)


def test_prefaults_page_by_page(table_of: Callable[..., Table]) -> None:
    """Against a model that knows of each page whether it is made, and whether the prefault mapped it."""
    for seed in range(12):
        host, draw = Host(), random.Random(seed)
        held: dict[int, int] = {}
        made: dict[int, set[str]] = defaultdict(set)
        mapped: set[int] = set()
        saved = unasked = faults = prepared = 0

        def settle(pages: range, made: dict[int, set[str]] = made) -> int:
            """Pages of an epoch that ends here which only a prefault has made."""
            return sum(made.pop(gfn, set()) == {"prefault"} for gfn in pages)

        for _ in range(draw.randint(10, 80)):
            first, many = draw.choice(((0, 8), (4, 8), (0, HUGE), (500, 24), (HUGE, HUGE), (6, 1)))
            pages = range(first, first + many)
            action = draw.random()
            if action < 0.5:
                gfn = draw.choice(pages[:12])
                host.fault(gfn, held.setdefault(gfn, BASE + len(host.rows)), prepare="run" not in made[gfn])
                prepared += "run" not in made[gfn]
                made[gfn].add("run")
                saved += gfn in mapped
                faults += 1
                mapped.discard(gfn)
            elif action < 0.65:
                host.punch(first, many, {gfn: held.pop(gfn) for gfn in pages if gfn in held})
                unasked += settle(pages)
                mapped -= set(pages)
            else:
                private = draw.random() < 0.6
                host.convert(first, many, private)
                for gfn in pages if private else ():
                    made[gfn].add("prefault")
                mapped = mapped | set(pages) if private else mapped - set(pages)
        if not faults:
            continue
        extra = settle(range(4 * HUGE))
        row = counts(table_of(host), "prefault")
        assert row == (faults - saved, prepared + unasked + extra, prepared + unasked + extra, extra), seed


def test_only_what_was_allocated_in_faults_is_saved_there(table_of: Callable[..., Table]) -> None:
    host = Host()
    host.fault(0, BASE)
    alloc = {"event": "alloc", "vm": None, "parent": "gmem.get", "dur_ns": 50_000, "flags": 0}
    end = host.rows[-1]["ts_ns"]
    host.event("x", None, 1, 0, **alloc, ts_ns=end - 800_000)
    # By KVM_PRE_FAULT_MEMORY, which is not a fault.
    host.event("x", None, 1, 0, **alloc, ts_ns=end + 10 * MS)
    host.event("get", 9, 1, 0, parent="gmem.prefault", ts_ns=end + 10 * MS + 10_000, dur_ns=MS)
    host.event("prefault", 9, 1, 0, ts_ns=end + 10 * MS + 20_000, dur_ns=2 * MS)
    # And in a fault that the guest takes again, whose time is in no sum.
    host.event("x", None, 1, 0, **alloc, ts_ns=end + 20 * MS)
    host.event("get", 8, 1, 0, parent="gmem.fault", ts_ns=end + 20 * MS + 10_000, dur_ns=MS)
    host.event("fault", 8, 0, 0, ts_ns=end + 20 * MS + 20_000, dur_ns=2 * MS, flags=1 << 12 | 1 << 13)
    assert of(table_of(host, *EVENTS, "alloc"), "preallocated")["time_ns"] == MS - 50_000


def test_what_was_not_recorded_is_unknown(table_of: Callable[..., Table]) -> None:
    host = Host()
    host.fault(0, BASE)
    host.rows = [row for row in host.rows if row["event"] == "gmem.fault"]
    table = table_of(host, "gmem.fault")
    shown = ("faults", "preparations", "cleared_bytes", "time_ns", "extra_bytes")
    assert [of(table, "as recorded")[name] for name in shown] == [1, None, None, MS, 0]
    for policy in (*HUGE_POLICIES, "no small holes", "prefault"):
        assert {of(table, policy)[name] for name in shown} == {None}


def test_without_the_clears_their_price_is_unknown(table_of: Callable[..., Table]) -> None:
    """TDX on a kernel without the hook, by whose entry clears are known."""
    host = Host()
    for i in range(4):
        host.event("assign", i, 1, 0, parent="gmem.fault", dur_ns=100)
        host.event("fault", i, 1, 0, dur_ns=2 * MS)
    seen = tuple(f"gmem.{name}" for name in ("fault", "assign", "punch", "free", "convert"))
    row = of(table_of(host, *seen, kind="tdx"), "huge only")
    assert (row["faults"], row["preparations"], row["extra_bytes"]) == (1, 1, (HUGE - 4) * PAGE)
    assert row["cleared_bytes"] is row["time_ns"] is None


def test_a_fault_of_unknown_time_leaves_all_times_unknown(table_of: Callable[..., Table]) -> None:
    host = Host()
    for i in range(2):
        host.fault(i, BASE + i)
    host.rows[-1] |= {"dur_ns": None, "total_ns": None, "self_ns": None}
    assert {row["time_ns"] for row in table_of(host).rows} == {None}


def test_holes_of_unknown_place_are_said_to_be_left_out(table_of: Callable[..., Table]) -> None:
    host = Host()
    host.fault(0, BASE)
    host.event("punch", None, 1, bytes_requested=PAGE)
    table = table_of(host)
    # Too small for a whole range wherever it was.
    assert of(table, "huge only")["holes_refused"] == 1
    assert table.notes[-1] == "Left out, as their place is not known: holes 1."
    host.event("punch", None, 1, bytes_requested=2 << 20)
    assert of(table_of(host), "huge only")["holes_refused"] is None
