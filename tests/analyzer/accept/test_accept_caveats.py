# SPDX-License-Identifier: Apache-2.0
"""Where acceptance cannot be, and what narrows the meaning of the numbers."""

from __future__ import annotations

import dataclasses
from typing import Any

import pytest

from memtrace.tests.analyzer.accept.cases import CASES
from memtrace.tests.analyzer.accept.conftest import Tables
from memtrace.tests.analyzer.accept.recorded import MS, PAGES, Who, accepting, snapshots, stall
from memtrace.tests.analyzer.recorded import SECOND, START, Case, streamed
from memtrace.traces.run import Fact
from memtrace.traces.schema import Flag
from memtrace.traces.totals import Losses


@pytest.mark.parametrize(
    ("name", "why"),
    [
        ("plain", "no confidential guest"),
        ("eager", "accepted eagerly"),
        ("paravisor", "a paravisor accepts"),
        ("old_kernel", "built without support"),
        ("all_accepted", "had been accepted before recording began"),
    ],
)
def test_where_nothing_can_be_accepted_that_is_all_that_is_said(name: str, why: str, report_of: Any) -> None:
    report = report_of(name)
    (table,) = report.tables
    assert table.rows[0]["applicable"] == "no"
    assert table.notes[0].startswith("not applicable, because") and why in table.notes[0]


def test_a_run_that_cannot_know_says_so(report_of: Any) -> None:
    (table,) = report_of("unrecorded").tables
    assert table.rows[0]["applicable"] == "unknown" and "cannot be told" in table.notes[0]


def test_unaccepted_memory_makes_it_applicable_on_any_platform(report_of: Any) -> None:
    case = accepting([streamed("alloc", 0, 500)], (0, 4), (0, 4), facts=(Fact("confidential", "plain"),))
    assert "window" in {t.name for t in report_of(case).tables}


def test_the_unseen_share_is_a_caveat(report_of: Any) -> None:
    case = CASES["lazy"]()
    loaded = dataclasses.replace(
        case.header,
        snapshots=(snapshots("before_load", START - SECOND, 420, 300), *case.header.snapshots),
    )
    texts = {c.id: c.text for c in report_of(dataclasses.replace(case, header=loaded)).caveats}
    assert texts["unseen"].startswith("not observed: 3.32Gi accepted before recording")
    assert "20.0Mi accepted" in texts["unseen-loading"]


def test_losses_of_the_recording_are_a_caveat(report_of: Any) -> None:
    case: Case = accepting(stall(START + MS), losses=Losses(ring_full=9, no_room=0))
    assert "losses" in {c.id for c in report_of(case).caveats}


def test_a_task_that_is_unknown_is_told_by_its_cpu(tables: Tables) -> None:
    rows = stall(START + MS, levels=("accept.call",), who=Who(cpu=3))
    rows[0] |= {"tid": None, "pid": None, "comm": None}
    (row,) = tables(accepting(rows, levels=("accept.call",)))["window"].rows
    assert (row["task"], row["tasks"]) == ("an unknown task on CPU 3", 1)


def test_idle_tasks_are_told_apart_by_their_cpus(tables: Tables) -> None:
    # All have the thread number 0: softirqs of four idle CPUs, 200 ms each, at the same time.
    rows = []
    for cpu in range(4):
        who = Who(f"swapper/{cpu}", 0, 0, 0x20, cpu=cpu)
        rows += stall(START + 10 * MS, who=who, per_unit=100 * MS, pfn=(1 << 16) + cpu * PAGES)
    found = tables(accepting(rows, seconds=1.0))
    assert [(row["comm"], row["stalls"], row["accepts"]) for row in found["victims"].rows] == [
        (f"swapper/{cpu}", 1, 1) for cpu in range(4)
    ]
    assert {row["worst_ns"] for row in found["victims"].rows} == {200_004_000}
    (window,) = found["window"].rows
    assert (window["stalls"], window["tasks"]) == (4, 4)
    assert window["task_share"] == window["wall_share"] == pytest.approx(0.2, rel=1e-3)
    assert window["task"] in {f"swapper/{cpu} on CPU {cpu}" for cpu in range(4)}


def test_only_the_allocations_that_waited_are_no_account_of_zeroing(tables: Tables) -> None:
    # record -e accept streams these, and no others.
    case = accepting(stall(START + MS))
    told = dataclasses.replace(case.header, events=("accept.call", "accept.arch"))
    found = tables(dataclasses.replace(case, header=told))
    assert found["victims"].rows[0]["order"] == 0
    assert (found["redundant"].rows[0]["bound"], found["redundant"].rows[0]["zeroed_bytes"]) == (
        "unknown",
        None,
    )
    assert found["window"].rows[0]["alloc_share"] is None


def test_memory_that_no_row_tells_is_unknown_everywhere(tables: Tables) -> None:
    levels = ("alloc", "accept.call")
    rows = [row for i in range(40) for row in stall(START + 9 * i * MS, levels=levels)]
    for row in rows:
        if row["event"] == "accept.call":
            row |= {"bytes": None, "bytes_requested": None, "pfn": None, "flags": int(Flag.ESTIMATED)}
    found = tables(accepting(rows, levels=levels))
    for name, unknown in (
        ("calls", ("size_bytes", "bytes", "gib_per_s")),
        ("victims", ("bytes",)),
        ("worst", ("bytes",)),
        ("parallel", ("bytes", "gib_per_s")),
        ("redundant", ("accepted_bytes", "zeroed_bytes", "saving_ns")),
    ):
        assert {found[name].rows[0][column] for column in unknown} == {None}, name
    assert found["calls"].rows[0]["time"] == "estimated"
    assert any("memory is unknown" in note for note in found["calls"].notes)
    assert found["eager"].rows == ()
