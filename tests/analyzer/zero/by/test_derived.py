# SPDX-License-Identifier: Apache-2.0
"""Clears that gfp flags alone tell: their task and cgroup, and no time."""

from __future__ import annotations

from typing import Any

from memtrace.tests.analyzer.cleared import ANON_STACK
from memtrace.tests.analyzer.recorded import Case, Row, header, status, streamed
from memtrace.tests.analyzer.zero.by.tables import RunOf, frames_of, main, notes
from memtrace.traces.run import ProbeSite
from memtrace.traces.schema import Flag
from memtrace.traces.totals import TaskTotal


def derived(rows: list[Row], **of_status: Any) -> Case:
    """A run whose kernel hides clears: only allocations, by a tracepoint, were seen."""
    manifest = (
        ProbeSite("alloc", "rawtp:kmem:mm_page_alloc", "rawtp", time="unknown", proven=True),
        ProbeSite("zero.alloc", "inferred:gfp", "inferred", time="unknown", count="inferred"),
    )
    return Case(rows, header("alloc", "zero.alloc", manifest=manifest), status(**of_status))


def test_derived_clears_have_their_task_and_cgroup_and_no_time(run_of: RunOf) -> None:
    untimed: Row = {"dur": None, "self_ns": None, "pid": 7, "tid": 8, "comm": "a", "cgroup": "/a"}
    rows = [
        streamed("alloc", 0, flags=int(Flag.ZEROED), **untimed),
        streamed("alloc", 2, flags=int(Flag.ZEROED), **untimed),
        streamed("alloc", 0, **untimed),
    ]
    run = run_of(derived([row | {"stack": ANON_STACK} for row in rows]))
    (stack,) = main(run, "stack").rows
    assert (stack["event"], stack["caller"], stack["clears"]) == ("zero.alloc", "do_anonymous_page", 2)
    (task,), (cgroup,) = main(run, "task").rows, main(run, "cgroup").rows
    for row in (task, cgroup):
        assert (row["clears"], row["bytes"], row["derived_bytes"], row["total_ns"]) == (
            2,
            5 << 12,
            5 << 12,
            None,
        )
    assert (task["comm"], task["tid"], cgroup["cgroup"], task["root"]) == ("a", 8, "/a", None)
    assert "derived from gfp flags" in notes(run, "task") and "functions can be hooked" in notes(run, "task")
    assert frames_of(run) == {
        "alloc": (3, 6 << 12, 5 << 12, None, None),
        "alloc > zero.alloc": (2, 5 << 12, 5 << 12, None, None),
    }


def test_derived_clears_of_sums_are_the_kernels_by_process(run_of: RunOf) -> None:
    summed = int(Flag.AGGREGATED)
    rows = [streamed("alloc", 0, None, count=9, bytes=9 << 12, pid=None, comm=None, flags=summed)]
    task = TaskTotal("alloc", 7, "a", 9, 9 << 12, None, "", 5, 5 << 12)
    run = run_of(derived(rows, tasks=(task,)))
    (row,) = main(run, "task").rows
    assert (row["pid"], row["clears"], row["bytes"], row["derived_bytes"]) == (7, 5, 5 << 12, 5 << 12)


def test_an_older_run_does_not_know_whose_the_derived_clears_were(run_of: RunOf) -> None:
    summed = {"pid": None, "comm": None, "flags": int(Flag.AGGREGATED | Flag.ZEROED)}
    rows = [streamed("alloc", 0, None, count=9, bytes=9 << 12, **summed)]
    run = run_of(derived(rows, tasks=(TaskTotal("alloc", 7, "a", 9, 9 << 12, None),)))
    (row,) = main(run, "task").rows
    assert (row["comm"], row["pid"], row["bytes"]) == (None, None, 9 << 12)
    assert "task: unknown of 36.0Ki" in notes(run, "task")
