# SPDX-License-Identifier: Apache-2.0
"""The phases of a boot, and which accepts belong to which."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence

from matplotlib.patches import Rectangle

from memtrace.analyzer.boot.plot import boot_figure
from memtrace.analyzer.tables import Row
from memtrace.analyzer.views import view
from memtrace.tests.analyzer.recorded import START, Case, header, status, streamed
from memtrace.tests.analyzer.recorded import Row as CaseRow
from memtrace.traces.reader import Run
from memtrace.traces.run import Phase, TraceSource
from memtrace.traces.schema import Flag

RunOf = Callable[[Case | str], Run]
MS = 1_000_000


def call(begin_ms: int, end_ms: int | None, **columns: object) -> CaseRow:
    dur = None if end_ms is None else (end_ms - begin_ms) * MS
    at = begin_ms if end_ms is None else end_ms
    base: CaseRow = {"ts_ns": at * MS, "bytes": None, "nid": None}
    return streamed("accept.call", None, dur, **(base | columns))


def phases_of(
    run_of: RunOf, phases: Sequence[Phase], rows: Sequence[CaseRow], traced: bool = True
) -> list[Row]:
    sources = (TraceSource("trace", "tracefs", 9),) if traced else ()
    made = dataclasses.replace(
        header("accept.call"), phases=tuple(phases), origin="collected", sources=sources
    )
    table = view(run_of(Case(rows, made, status())), "boot").report.table("phases")
    assert table is not None
    return list(table.rows)


def test_an_accept_is_of_the_phase_in_which_it_began(run_of: RunOf) -> None:
    phases = [Phase("core", 100 * MS, 200 * MS, "dmesg"), Phase("initcalls", 200 * MS, 300 * MS, "dmesg")]
    found = phases_of(run_of, phases, [call(199, 205), call(250, 251), call(400, 401)])
    assert [(r["phase"], r["calls"], r["time_ns"]) for r in found] == [
        ("core", 1, 6 * MS),
        ("initcalls", 1, MS),
        ("(no phase)", 1, MS),
    ]
    assert [r["share"] for r in found] == [0.5, 0.5, None]


def test_phases_stand_in_the_order_of_the_boot_and_by_node(run_of: RunOf) -> None:
    names = [("userspace", None), ("deferred", 1), ("firmware", None), ("deferred", 0)]
    phases = [Phase(name, 0, MS, "x", nid=nid) for name, nid in names]
    found = phases_of(run_of, phases, [])
    assert [(r["phase"], r["nid"]) for r in found] == [
        ("firmware", None),
        ("deferred", 0),
        ("deferred", 1),
        ("userspace", None),
    ]


def test_deferred_init_has_its_own_nodes_accepts_by_the_threads_name(run_of: RunOf) -> None:
    phases = [Phase("deferred", 0, 100 * MS, "ftrace", nid=nid) for nid in (0, 1)]
    rows = [call(10, 12, comm="pgdatinit0"), call(10, 12, comm="pgdatinit1"), call(20, 22, nid=1, comm="x")]
    assert [r["calls"] for r in phases_of(run_of, phases, rows)] == [1, 2]


def test_what_a_source_does_not_tell_is_unknown_not_zero(run_of: RunOf) -> None:
    (found,) = phases_of(run_of, [Phase("early", None, 50 * MS, "dmesg")], [])
    assert (found["length_ns"], found["share"], found["calls"], found["time_ns"]) == (None,) * 4


def test_what_no_tracer_can_see_is_unknown_not_zero(run_of: RunOf) -> None:
    phases = [Phase(name, i * MS, (i + 1) * MS, "x") for i, name in enumerate(("memory", "core"))]
    assert [r["calls"] for r in phases_of(run_of, phases, [call(5, 6)])] == [None, 0, 1]


def test_without_a_boot_trace_phases_before_the_recording_are_unknown(run_of: RunOf) -> None:
    started = START // MS
    phases = [
        Phase("core", 0, 5 * MS, "x"),
        Phase("initcalls", START - MS, START + 9 * MS, "x"),
        Phase("userspace", START + 9 * MS, START + 20 * MS, "x"),
    ]
    rows = [call(started + 2, started + 3), call(started + 10, started + 11)]
    found = phases_of(run_of, phases, rows, traced=False)
    assert [(r["calls"], r["time_partial"]) for r in found] == [(None, False), (1, True), (1, False)]


def test_a_time_that_is_an_estimate_says_so(run_of: RunOf) -> None:
    rows = [call(10, 12, flags=int(Flag.ESTIMATED)), call(20, 22)]
    (found,) = phases_of(run_of, [Phase("core", 0, 100 * MS, "x")], rows)
    assert (found["time_ns"], found["time_partial"], found["time_estimated"]) == (4 * MS, False, True)


def test_a_time_that_covers_only_some_calls_says_so(run_of: RunOf) -> None:
    (found,) = phases_of(run_of, [Phase("core", 0, 100 * MS, "x")], [call(10, 12), call(20, None)])
    assert (found["calls"], found["time_ns"], found["time_partial"]) == (2, 2 * MS, True)


def test_a_run_without_phases_says_who_could_add_them(run_of: RunOf) -> None:
    report = view(run_of("streamed"), "boot").report
    assert "no-phases" in {caveat.id for caveat in report.caveats}


VAGUE = Phase("deferred", 0, 2000 * MS, "ftrace", 1030 * MS, nid=0)
CLOSE = Phase("deferred", 100 * MS, 700 * MS, "dmesg", 4 * MS, nid=0)


def test_a_phase_that_two_sources_tell_stands_once_by_the_better_one(run_of: RunOf) -> None:
    rows = [call(50, 51), call(150, 151, nid=0), call(710, 711)]
    found = phases_of(run_of, [VAGUE, CLOSE], rows)
    assert [(r["phase"], r["source"], r["resolution_ns"], r["calls"]) for r in found] == [
        ("deferred", "dmesg", 4 * MS, 1),
        ("(no phase)", "", None, 2),
    ]


def test_what_the_other_source_told_is_in_a_table_of_its_own(run_of: RunOf) -> None:
    made = dataclasses.replace(header("accept.call"), phases=(VAGUE, CLOSE))
    table = view(run_of(Case((), made, status())), "boot").report.table("phase_sources")
    assert table is not None
    assert [(row["source"], row["choice"]) for row in table.rows] == [("dmesg", 1), ("ftrace", 2)]
    assert [row["source"] for row in table.page()[0]] == ["ftrace"]


def test_the_picture_has_the_phases_of_the_table(run_of: RunOf) -> None:
    made = dataclasses.replace(header("accept.call"), phases=(VAGUE, CLOSE))
    run = run_of(Case((), made, status()))
    figure = boot_figure(run, view(run, "boot").report, None)
    for axes in figure.axes:
        (bar,) = [patch for patch in axes.patches if isinstance(patch, Rectangle)]
        assert (bar.get_x(), round(bar.get_x() + bar.get_width(), 9)) == (0.1, 0.7)
