# SPDX-License-Identifier: Apache-2.0
"""Where there is no clear: that there was none is said only where one would have been seen."""

from __future__ import annotations

import dataclasses
from typing import Any

import pytest

from memtrace.analyzer.keys import DEFAULT
from memtrace.analyzer.render import render
from memtrace.analyzer.views import Choice, view
from memtrace.analyzer.zero.unseen import no_clear
from memtrace.tests.analyzer.cases import CASES
from memtrace.tests.analyzer.recorded import Case, header, status, streamed
from memtrace.tests.analyzer.zero.tables import RunOf, report, rows
from memtrace.traces.run import Fact, ProbeSite
from memtrace.traces.schema import Flag

CLAIM = "cleared nothing that it was not asked to clear"
ALLOC = ProbeSite("alloc", "fentry:alloc", "fentry", proven=True)
WAYS = ("zero.alloc", "zero.user", "zero.page")


def run_with(*sites: ProbeSite, asked: tuple[str, ...] = (), rows: Any = (), on_alloc: str = "yes") -> Case:
    facts = (Fact("init_on_alloc", on_alloc), Fact("init_on_free", "no"))
    made = header("alloc", *asked, manifest=(ALLOC, *sites), facts=facts)
    return Case(rows or [streamed("alloc", dur=100)], made, status())


def site(event: str, kind: str = "fentry", **fields: Any) -> ProbeSite:
    return ProbeSite(event, f"{kind}:x", kind, proven=True, **fields)


NO_SITE = tuple(ProbeSite(event, None) for event in WAYS)
UNKNOWN = {
    "not asked for": run_with(),
    "no site": run_with(*NO_SITE, asked=WAYS),
    "silent site": run_with(dataclasses.replace(site("zero.alloc"), proven=False), asked=WAYS),
    "callers alone": run_with(site("zero.user"), asked=("zero.user",)),
    "sampled": run_with(site("zero.alloc", "sampling", count="unknown"), asked=WAYS),
    "derived, no gfp": run_with(site("zero.alloc", "inferred", count="inferred"), asked=WAYS),
    "not even alloc": Case([streamed("accept.call", None, 9)], header("accept.call"), status()),
    "empty": CASES["empty"](),
    "init_on_alloc off": run_with(on_alloc="no"),
}


@pytest.mark.parametrize("name", sorted(UNKNOWN))
def test_of_clearing_that_was_not_traced_nothing_is_claimed(run_of: RunOf, name: str) -> None:
    found = report(run_of(UNKNOWN[name]))
    page = render(found, "text")
    assert CLAIM not in " ".join(page.split())
    table = found.table("redundant")
    assert table is not None and table.notes[0].startswith("unknown: ")


def test_that_the_allocator_clears_what_it_is_asked_to_is_known_where_init_on_alloc_is_off(
    run_of: RunOf,
) -> None:
    table = report(run_of(UNKNOWN["init_on_alloc off"])).table("redundant")
    assert table is not None and "init_on_alloc is off" in table.notes[0]


def test_what_was_seen_and_asked_for_is_said_to_be(run_of: RunOf) -> None:
    zeroed = {"flags": int(Flag.ZEROED), "gfp": 0x100}
    clears = [streamed("alloc", dur=100, **zeroed), streamed("zero.alloc", dur=50, **zeroed)]
    found = report(run_of(run_with(site("zero.alloc"), asked=("zero.alloc",), rows=clears)))
    table = found.table("redundant")
    assert table is not None
    assert table.notes == (f"of what was seen, the allocator {CLAIM}",)


def test_that_there_was_no_clear_is_said_where_one_would_have_been_seen(run_of: RunOf) -> None:
    sites = tuple(site(event) for event in WAYS)
    found = report(run_of(run_with(*sites, asked=WAYS)))
    for name, note in (
        ("redundant", "no clear by the allocator was seen"),
        ("bandwidth", "no clear was seen"),
    ):
        table = found.table(name)
        assert table is not None and table.notes[0] == note


@pytest.mark.parametrize(
    ("sites", "said"),
    [
        ((), "unknown: clearing was not recorded"),
        (NO_SITE, "unknown: clearing was asked for, and no site sees it"),
        ((site("zero.user", "sampling"),), "unknown: clearing was sampled"),
        ((site("zero.alloc", "inferred"),), "unknown: no site sees a clear here"),
        ((site("zero.user"),), "no clear was seen by zero.user; of zero.alloc, zero.page nothing is known"),
    ],
)
def test_the_sentence_says_why(sites: tuple[ProbeSite, ...], said: str) -> None:
    asked = tuple(one.event for one in sites)
    assert no_clear(run_with(*sites, asked=asked).header).startswith(said)


@pytest.mark.parametrize("word", ["tree", "task", "cgroup", "stack"])
def test_the_groupings_say_the_same(run_of: RunOf, word: str) -> None:
    page = render(
        view(run_of(UNKNOWN["not even alloc"]), "zero", Choice(by=DEFAULT, grouping=word)).report, "text"
    )
    assert "unknown: clearing was not recorded" in " ".join(page.split())


def test_pages_cleared_at_the_free_are_unknown_where_nobody_looked(run_of: RunOf) -> None:
    for on_free, wanted in (("no", 0), ("yes", None)):
        case = run_with()
        facts = (Fact("init_on_free", on_free),)
        run = run_of(dataclasses.replace(case, header=dataclasses.replace(case.header, facts=facts)))
        (row,) = rows(run, "main")
        assert (row["on_free"], row["bytes"]) == (wanted, None)
