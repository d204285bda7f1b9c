# SPDX-License-Identifier: Apache-2.0
"""Clearing by task and cgroup: exact sums, and what is said where a run does not hold them."""

from __future__ import annotations

import dataclasses

from memtrace.tests.analyzer.cases import CASES
from memtrace.tests.analyzer.recorded import Case, between, header, status
from memtrace.tests.analyzer.zero.by.tables import HUGE, RunOf, main, notes
from memtrace.traces.totals import TaskTotal


def test_the_tasks_of_a_run_that_was_cut_short_are_said_to_be_few(run_of: RunOf) -> None:
    case = CASES["clears-summed"]()
    short = dataclasses.replace(case, status=dataclasses.replace(case.status, complete=False), cut_short=True)
    assert "largest sums" in notes(run_of(short), "task")


def test_tasks_of_a_stream_are_threads_by_name(run_of: RunOf) -> None:
    names = ("comm", "pid", "tid", "clears", "bytes", "total_ns", "ns_per_4kib", "root")
    assert [tuple(row[name] for name in names) for row in main(run_of("clears"), "task").rows] == [
        ("beta", 400, 400, 1, HUGE, 3000, 3000 / 512, "fault"),
        ("alpha", 300, 301, 2, 8192, 300, 150, "populate"),
        ("kworker/1:2", 5, 5, 1, 4096, 50, 50, "vmalloc"),
    ]


def test_tasks_of_sums_are_processes_without_the_recorder(run_of: RunOf) -> None:
    run = run_of("clears-summed")
    names = ("comm", "pid", "tid", "clears", "bytes", "total_ns", "root")
    assert [tuple(row[name] for name in names) for row in main(run, "task").rows] == [
        ("alpha", 300, None, 1000, 1000 * 4096, 200_000, "populate"),
        # By the name and the root of most of it.
        ("beta", 400, None, 111, HUGE + 110 * 4096, 20_000, "fault"),
    ]
    assert "28.0Ki that the recorder itself" in notes(run, "task")
    assert "record --stream all" in notes(run, "task")


def test_cgroups_are_paths_and_what_has_none_is_unknown(run_of: RunOf) -> None:
    found = {
        row["cgroup"]: (row["clears"], row["bytes"], row["root"])
        for row in main(run_of("clears"), "cgroup").rows
    }
    assert found == {
        "/huge": (1, HUGE, "fault"),
        "/lab/small": (2, 8192, "populate"),
        None: (1, 4096, "vmalloc"),
    }
    assert "no room in the programs' table" in notes(run_of("clears"), "cgroup")


def test_the_cgroup_of_what_the_kernel_summed_is_unknown_and_how_to_have_it_said(run_of: RunOf) -> None:
    run = run_of("clears-summed")
    found = {row["cgroup"]: (row["clears"], row["bytes"]) for row in main(run, "cgroup").rows}
    assert found == {None: (1110, 1110 * 4096), "/huge": (1, HUGE)}
    assert "unknown of 4.34Mi that the kernel summed (order 0); `memtrace record --stream all`" in notes(
        run, "cgroup"
    )


def test_a_run_without_any_cgroup_says_why(run_of: RunOf) -> None:
    case = Case([between("zero.alloc", 0, 10, 10, order=0)], header("zero.alloc", stream_all=True), status())
    assert "no cgroup v2 hierarchy" in notes(run_of(case), "cgroup")


def test_an_older_run_may_count_its_recorder(run_of: RunOf) -> None:
    case = CASES["clears-summed"]()
    tasks = (TaskTotal("zero.alloc", 9, "memtrace", 7, 7 * 4096, 700),)
    older = dataclasses.replace(case, status=dataclasses.replace(case.status, tasks=tasks))
    assert "recorder's own clears may be among them" in notes(run_of(older), "task")
