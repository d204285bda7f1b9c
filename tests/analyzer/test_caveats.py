# SPDX-License-Identifier: Apache-2.0
"""Each caveat appears when its facts are there, and not otherwise."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable

import pytest

from memtrace.analyzer.keys import DEFAULT, parse_keys
from memtrace.analyzer.render import render
from memtrace.analyzer.summary import view
from memtrace.analyzer.views import Choice
from memtrace.tests.analyzer.cases import CASES
from memtrace.tests.analyzer.recorded import (
    NOT_ON_FREE,
    PERIOD,
    Case,
    aggregated,
    counters,
    header,
    status,
    streamed,
    time_only,
)
from memtrace.traces.reader import Run
from memtrace.traces.run import Fact, TracerCost
from memtrace.traces.totals import Losses

RunOf = Callable[[Case | str], Run]
ROWS = tuple(streamed(dur=5000, pfn=i) for i in range(40))
CLEAN = Case(ROWS, header("alloc"), status(counters=counters(ROWS, "alloc")))
PLAIN_COST = TracerCost(1_000_000, 1 << 20, 1, probe_ns=1)


def texts(run: Run, by: str | None = None) -> dict[str, str]:
    found = view(run, Choice(parse_keys(by) if by else DEFAULT)).report.caveats
    assert len({c.id for c in found if c.id != "cost-probe"}) == len(
        [c for c in found if c.id != "cost-probe"]
    )
    return {c.id: c.text for c in found}


def with_status(**fields: object) -> Case:
    return dataclasses.replace(CLEAN, status=dataclasses.replace(CLEAN.status, **fields))  # type: ignore[arg-type]


def with_header(**fields: object) -> Case:
    return dataclasses.replace(CLEAN, header=dataclasses.replace(CLEAN.header, **fields))  # type: ignore[arg-type]


def with_site(**fields: object) -> Case:
    return with_header(manifest=(dataclasses.replace(CLEAN.header.manifest[0], **fields),))  # type: ignore[arg-type]


def test_allocations_that_were_followed_for_acceptance_are_not_all(run_of: RunOf) -> None:
    only = with_header(events=("accept.call", "accept.arch"))
    assert "only allocations that had to accept" in texts(run_of(only))["victims-only"]
    for events in (("accept.call", "alloc"), ("accept.call", "zero.alloc"), ("alloc",), ()):
        assert "victims-only" not in texts(run_of(with_header(events=events)))


def test_a_clean_run_has_none(run_of: RunOf) -> None:
    assert texts(run_of(CLEAN)) == {}


@pytest.mark.parametrize(
    ("case", "id_", "text"),
    [
        (dataclasses.replace(CLEAN, cut_short=True), "cut-short", "this is the run up to its last flush"),
        (
            with_status(counters=counters(ROWS, "alloc", seen=41)),
            "counters-differ",
            "alloc count differs by -1",
        ),
        (
            with_status(losses=Losses(kretprobe_missed=10, no_room=0)),
            "losses",
            "lost 10 of 50 (20.00%): kretprobe missed 10",
        ),
        (with_status(losses=Losses(recursion=None, no_room=0)), "losses-unknown", "this kernel does not"),
        (with_status(tasks_dropped=3), "tasks-full", "3 occurrences have no process"),
        (with_site(proven=False), "site-failed", "do not trust these"),
        (with_site(proven=None), "site-unproven", "not checked against known work): alloc"),
        (with_site(site=None), "site-absent", "no site here: alloc"),
        (with_site(count="inferred"), "inferred", "not observed: alloc"),
        (with_header(facts=(NOT_ON_FREE,)), "init-on-alloc", "unknown"),
        (with_header(facts=(Fact("init_on_alloc", "no"),)), "init-on-free", "what the allocator clears"),
        (with_header(facts=(Fact("init_on_alloc", "yes"), NOT_ON_FREE)), "init-on-alloc", "clears all pages"),
        (with_header(config={}), "config-unknown", "configuration is unknown"),
        (
            with_header(kernel_cmdline="quiet memtrace.clock=instructions", cpus=1),
            "clock-instructions",
            "counted instructions, 1 ns each",
        ),
        (with_status(cost=None), "cost-unknown", "what recording itself took is unknown"),
        (
            with_status(cost=dataclasses.replace(PLAIN_COST, recorder_cpu_ns=400_000_000)),
            "cost-recorder",
            "10.0% of all CPU time",
        ),
        (with_status(cost=dataclasses.replace(PLAIN_COST, probe_ns=None)), "cost-probe", "was not measured"),
        (
            with_status(cost=dataclasses.replace(PLAIN_COST, probe_ns=500)),
            "cost-probe",
            "500 ns to a page fault, in and around its alloc: the mean alloc here took 5000 ns",
        ),
    ],
)
def test_a_fact_brings_its_caveat_and_no_other(case: Case, id_: str, text: str, run_of: RunOf) -> None:
    found = texts(run_of(case))
    assert set(found) == {id_}
    assert text in found[id_]


def test_a_run_without_its_end_does_not_tell_what_lost_its_end(run_of: RunOf) -> None:
    losses = Losses(kretprobe_missed=None, recursion=None, entry_without_exit=None, no_room=0)
    case = dataclasses.replace(with_status(complete=False, losses=losses), cut_short=True)
    text = texts(run_of(case))["losses-unknown"]
    assert text == (
        "this kernel does not tell how many were lost to recursion;"
        " a run without its end does not tell how many were lost to kretprobe_missed and entry_without_exit"
    )


@pytest.mark.parametrize(("cpus", "told"), [(2, "2 CPUs took turns"), (0, "CPUs took turns"), (1, None)])
def test_cpus_that_share_a_clock_of_instructions_are_told(cpus: int, told: str | None, run_of: RunOf) -> None:
    found = texts(run_of(with_header(kernel_cmdline="memtrace.clock=instructions", cpus=cpus)))
    assert "clock-instructions" in found
    assert told in found["clock-shared"] if told else "clock-shared" not in found


@pytest.mark.parametrize(
    ("name", "id_", "text"),
    [
        ("tracepoint", "time-unknown", "no time, of alloc, zero.alloc"),
        ("sampled", "time-estimated", "of alloc, zero.alloc, zero.user"),
        ("empty", "empty", "no occurrence was recorded"),
        ("stacks", "few", "of 2 rows rest on fewer than 30"),
    ],
)
def test_rows_bring_theirs(name: str, id_: str, text: str, run_of: RunOf) -> None:
    assert text in texts(run_of(CASES[name]()))[id_]


def test_time_known_for_a_part_only(run_of: RunOf) -> None:
    rows = [*ROWS, streamed(dur=None), streamed(dur=None)]
    case = dataclasses.replace(CLEAN, rows=rows, status=status(cost=PLAIN_COST))
    assert "alloc (4.8%): totals are lower bounds" in texts(run_of(case))["time-partial"]


def test_grouping_by_what_aggregates_do_not_have(run_of: RunOf) -> None:
    rows = [*ROWS, aggregated("alloc", 60, 5000)]
    run = run_of(dataclasses.replace(CLEAN, rows=rows, status=status(cost=PLAIN_COST)))
    assert texts(run) == {}
    text = texts(run, "comm,pid,order")["aggregated"]
    assert text.startswith("60.0% of the occurrences were summed, inferred or sampled, without comm, pid:")


def test_bytes_after_the_last_flush_are_told(run_of: RunOf) -> None:
    run = dataclasses.replace(run_of(dataclasses.replace(CLEAN, cut_short=True)), dropped_bytes=77)
    assert "77 bytes after it were not read" in texts(run)["cut-short"]
    run.close()


def test_an_older_schema_is_told(run_of: RunOf) -> None:
    run = run_of(CLEAN)
    older = dataclasses.replace(run, schema_version=0, columns=tuple(c for c in run.columns if c != "gfp"))
    assert texts(older)["schema"] == "the file has schema 0 (current: 2), without gfp"


def test_a_recorder_that_costs_little_is_not_mentioned(run_of: RunOf) -> None:
    assert texts(run_of(with_status(cost=dataclasses.replace(PLAIN_COST, probe_ns=200)))) == {}


@pytest.mark.parametrize(
    ("taken", "filters", "told"), [(1500, {}, True), (3900, {}, False), (1500, {"pid": "7"}, False)]
)
def test_samples_that_were_not_taken(
    run_of: Callable[[Case | str], Run], taken: int, filters: dict[str, str], told: bool
) -> None:
    # Two CPUs for two seconds, a sample due each millisecond.
    samples = {"period_ns": 1_000_000, "all": taken}
    case = dataclasses.replace(
        CLEAN,
        header=dataclasses.replace(CLEAN.header, filters=filters),
        status=dataclasses.replace(CLEAN.status, samples=samples),
    )
    assert ("samples-missing" in texts(run_of(case))) == told


def test_times_for_which_samples_are_missing_are_lower_bounds_on_the_page(
    run_of: Callable[[Case | str], Run],
) -> None:
    # 205 of the samples of 1 ms; of the 4000 due half were taken.
    rows = [aggregated("alloc", 10_000, None), time_only("alloc", 205)]
    told = status(samples={"period_ns": PERIOD, "all": 2000})
    report = view(run_of(Case(rows, header("alloc"), told))).report
    page = render(report, "text")
    assert ">206ms" in page and "~206ms" not in page and "7.0%" not in page
    (events,) = (table.rows for table in report.tables if table.name == "events")
    assert (events[0]["total_is"], events[0]["total_rel_error"]) == ("at least", None)
    assert "estimated times are lower bounds, marked >" in page
