# SPDX-License-Identifier: Apache-2.0
"""Clearing that no probe saw and gfp flags tell: its time is unknown, and never 0."""

from __future__ import annotations

import dataclasses
import re

from memtrace.analyzer.report import Request, make
from memtrace.tests.analyzer.recorded import Case, header, status, total
from memtrace.tests.analyzer.zero.tables import RunOf, one, rows
from memtrace.traces.run import Fact, ProbeSite
from memtrace.traces.totals import RootTotal


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
    text = make(Request((str(run.path),), view="zero", what_if=True))
    assert re.search(r"pool, 100% hits +4.00ms +>1.00ms +3.00ms +>1.33", text)
    assert "zero on free: unknown" in text
    for case in (thp_without_a_site(True, small_only=True), thp_without_a_site(False)):
        assert rows(run_of(case), "whatifs") == ()
