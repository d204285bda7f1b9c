# SPDX-License-Identifier: Apache-2.0
"""Tasks, sites, snapshots and the tracer's cost: what a run says of itself, as tables."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any

from memtrace.analyzer import scan
from memtrace.analyzer.partials import Partials
from memtrace.analyzer.sites import sites
from memtrace.analyzer.snapshots import snapshots
from memtrace.analyzer.summary import view
from memtrace.analyzer.tasks import tasks
from memtrace.analyzer.tracer import apart, tracer
from memtrace.tests.analyzer.cases import CASES
from memtrace.tests.analyzer.recorded import PERIOD, START, Case, header, status, streamed
from memtrace.traces.reader import Run
from memtrace.traces.run import ProbeSite, Refusal, Snapshot
from memtrace.traces.schema import Flag
from memtrace.traces.totals import TaskTotal

RunOf = Callable[[Case | str], Run]


def task_rows(run: Run) -> list[tuple[Any, ...]]:
    with scan.connect(run) as connection:
        return [tuple(row.values())[:6] for row in tasks(run, connection).rows]


def test_the_recorders_totals_are_taken_where_it_kept_them(run_of: RunOf) -> None:
    kept = (TaskTotal("alloc", 7, "cc1", 50, 1 << 20, 900), TaskTotal("alloc", 8, "ld", 60, 2 << 20, 1000))
    case = Case([streamed(dur=1)], header("alloc"), status(tasks=kept))
    assert task_rows(run_of(case)) == [
        ("alloc", "ld", 8, 60, 2 << 20, 1000),
        ("alloc", "cc1", 7, 50, 1 << 20, 900),
    ]


def test_otherwise_they_come_from_the_rows_with_aggregates_unknown(run_of: RunOf) -> None:
    assert task_rows(run_of("aggregated"))[0][:4] == ("alloc", None, None, 12_999_010)
    assert task_rows(run_of("sampled"))[0] == ("alloc", None, None, 40_000, 40_000 * 4096, 25 * PERIOD)


def test_rows_and_totals_agree(run_of: RunOf) -> None:
    case = CASES["streamed"]()
    from_rows = dataclasses.replace(case, status=dataclasses.replace(case.status, tasks=()))
    assert task_rows(run_of(case)) == task_rows(run_of(from_rows))


def test_a_task_without_time_is_unknown_not_nought(run_of: RunOf) -> None:
    case = Case([streamed()], header("alloc"), status(tasks=(TaskTotal("alloc", 1, "a", 5, 4096, None),)))
    run = run_of(case)
    with scan.connect(run) as connection:
        (row,) = tasks(run, connection).rows
    assert (row["total_ns"], row["time"]) == (None, "unknown")


def test_sites_say_how_far_they_are_proven_and_why_there_is_none() -> None:
    refused = (Refusal("fentry:x", "absent"), Refusal("kprobe:x", "notrace", "why"))
    table = sites(
        header(
            manifest=(
                ProbeSite("a", "fentry:a", "fentry", proven=True),
                ProbeSite("b", "kprobe:b", "kprobe", proven=False, time="estimated"),
                ProbeSite("c", "rawtp:c", "rawtp", count="inferred"),
                ProbeSite("d", None, refused=refused),
            )
        )
    )
    assert [row["proof"] for row in table.rows] == ["proven", "FAILED", "unproven", None]
    assert [row["proven"] for row in table.rows] == [True, False, None, None]
    assert [row["event"] for row in table.page()[0]] == ["a", "b", "c"]
    assert table.notes == ("d: no site here (fentry:x: absent; kprobe:x: notrace)",)


def taken(label: str, **counters: int) -> Snapshot:
    return Snapshot(label, START, counters, {"1": {"MemFree": counters["nr_free_pages"] * 4}})


def test_snapshots_tell_the_recorders_doing_from_the_windows(
    run_of: RunOf, partials_of: Callable[..., Partials]
) -> None:
    before = (taken("before_load", nr_free_pages=1000), taken("after_load", nr_free_pages=900))
    at = (*before, taken("start", nr_free_pages=890, gone=1))
    case = Case(
        (), header("alloc", snapshots=at), status(snapshots=(taken("end", nr_free_pages=700, new=2),))
    )
    run = run_of(case)
    assert [tuple(row.values()) for row in snapshots(run).rows] == [
        ("machine", None, "nr_free_pages", "pages", 890, 700, -190, -110),
        ("node 1", 1, "MemFree", "kB", 3560, 2800, -760, -440),
    ]
    # The line of the cost has the same number, in bytes.
    (cost,) = tracer(run, partials_of(case)).rows
    assert cost["loading_bytes"] == 110 * 4096


def test_a_counter_that_was_not_read_before_loading_is_unknown_there(run_of: RunOf) -> None:
    case = Case((), header("alloc", snapshots=(taken("start", nr_free_pages=5),)), status())
    ended = dataclasses.replace(case, status=status(snapshots=(taken("end", nr_free_pages=5),)))
    assert snapshots(run_of(case)).rows == ()
    assert {row["loading"] for row in snapshots(run_of(ended)).rows} == {None}


def test_a_page_shows_what_matters_or_changed(run_of: RunOf) -> None:
    start = taken("start", nr_free_pages=1, thp_fault_alloc=1, pgmajfault=1, numa_hit=1)
    end = taken("end", nr_free_pages=1, thp_fault_alloc=2, pgmajfault=1, numa_hit=9)
    table = snapshots(run_of(Case((), header("alloc", snapshots=(start,)), status(snapshots=(end,)))))
    assert [row["counter"] for row in table.page()[0]] == ["nr_free_pages", "thp_fault_alloc", "MemFree"]
    assert {row["counter"] for row in table.rows} == {*start.vmstat, "MemFree"}


def test_what_the_recorder_caused_is_told_apart(partials_of: Callable[..., Partials]) -> None:
    rows = [
        (r["event"], r["why"], r["count"], r["total_ns"]) for r in apart(partials_of("own_and_failed")).rows
    ]
    assert rows == [("alloc", "recorder", 4, 4 * 9_999), ("alloc", "failed", 1, 5_000)]


def test_an_attempt_of_the_recorders_that_failed_is_told_once(partials_of: Callable[..., Partials]) -> None:
    table = apart(partials_of([streamed(dur=1, flags=int(Flag.TRACER | Flag.FAILED))]))
    assert [(row["why"], row["count"]) for row in table.rows] == [("recorder", 1)]


def test_the_cost_is_of_each_allocation_whatever_else_is_traced_in_it(
    run_of: RunOf, partials_of: Callable[..., Partials]
) -> None:
    (row,) = tracer(run_of("sampled"), partials_of("sampled")).rows
    assert row["added_ns"] == 20 * 40_001
    assert row["cpu_share"] == 12_000_000 / (2 * 2_000_000_000)


def test_an_unknown_cost_is_none(run_of: RunOf, partials_of: Callable[..., Partials]) -> None:
    (row,) = tracer(run_of("tracepoint"), partials_of("tracepoint")).rows
    assert {name: value for name, value in row.items() if value is not None} == {"own_count": 0}


def test_the_share_of_cpu_time_is_exclusive_time_over_all_cpus(run_of: RunOf) -> None:
    table = view(run_of("streamed")).report.table("events")
    assert table is not None
    assert [row["cpu_share"] for row in table.rows] == [row["self_ns"] / 4e9 for row in table.rows]
