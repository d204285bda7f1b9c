# SPDX-License-Identifier: Apache-2.0
"""The number of events, of those lost and of those inferred is one number wherever it stands."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Callable
from pathlib import Path

import pytest

from memtrace.analyzer.in_file import InFile, in_file, in_partials
from memtrace.analyzer.keys import DEFAULT
from memtrace.analyzer.scan import connect, partials
from memtrace.analyzer.views import VIEWS, view
from memtrace.commands.record import _summary
from memtrace.probes.recorder.outcome import Outcome
from memtrace.tests.analyzer.cases import CASES
from memtrace.tests.analyzer.recorded import Case, aggregated, counters, header, status, streamed
from memtrace.traces.reader import Run
from memtrace.traces.run import ProbeSite
from memtrace.traces.schema import Flag
from memtrace.traces.totals import Losses

RunOf = Callable[[Case | str], Run]
INFERRED = int(Flag.AGGREGATED | Flag.ZEROED | Flag.INFERRED)
WORDS = re.compile(r"; (\d+) events(?: \((\d+) in the file\))?(?: and (\d+) inferred from them)?")


def lossy() -> Case:
    """100 allocations and 60 clears inferred from them; 10 lost to a full ring, 6 that no program saw."""
    rows = [*(streamed(dur=100, pfn=i) for i in range(90)), aggregated("zero.alloc", 60, flags=INFERRED)]
    (seen,) = counters(rows, "alloc")
    seen = dataclasses.replace(seen, seen=100, ring_full=10, sum_order=0)
    manifest = (
        ProbeSite("alloc", "fentry:alloc", "fentry", proven=True),
        ProbeSite("zero.alloc", "inferred:gfp", "inferred", count="inferred", time="unknown"),
    )
    told = status(counters=(seen,), losses=Losses(ring_full=10, recursion=6, no_room=0))
    return Case(rows, header("alloc", "zero.alloc", manifest=manifest), told)


@pytest.mark.parametrize("name", sorted(VIEWS.keys() - {"gmem"}))
def test_heading_losses_and_json_agree_in_every_view(run_of: RunOf, name: str) -> None:
    report = view(run_of(lossy()), name).report
    heading = dict(report.heading)
    found = WORDS.search(heading["recorded"])
    assert found is not None and found.groups() == ("106", "90", "60")
    assert heading["losses"].startswith("lost 16 of 106 (15.09%)")
    numbers = {key: report.run[f"events_{key}"] for key in ("known", "in_file", "lost", "inferred")}
    assert numbers == {"known": 106, "in_file": 90, "lost": 16, "inferred": 60}
    if (table := report.table("losses")) is not None:
        assert sum(row["count"] or 0 for row in table.rows) == 16
        assert sum(row["share"] or 0 for row in table.rows) == pytest.approx(16 / 106)


def test_the_closing_line_of_record_says_the_same(capsys: pytest.CaptureFixture[str]) -> None:
    _summary(Path("run.parquet"), Outcome(dataclasses.replace(lossy().status, rows=91), ()))
    assert "106 events in 2.0 s, 16 lost, 91 rows in run.parquet" in capsys.readouterr().err


@pytest.mark.parametrize("case", sorted(CASES))
def test_known_is_in_the_file_and_lost_wherever_file_and_kernel_agree(run_of: RunOf, case: str) -> None:
    report = view(run_of(case), "summary").report
    told, check = report.run, report.table("integrity")
    assert check is not None
    if all(row["verdict"] == "agree" for row in check.rows):
        assert told["events_known"] == told["events_in_file"] + told["events_lost"]
    counted = [row for row in CASES[case]().rows if not row["flags"] & int(Flag.INFERRED)]
    assert told["events_in_file"] == sum(row.get("count") or 0 for row in counted)


@pytest.mark.parametrize("case", sorted(CASES))
def test_both_ways_to_count_give_one_number(run_of: RunOf, case: str) -> None:
    run = run_of(case)
    with connect(run) as connection:
        assert in_file(run, connection) == in_partials(partials(run, DEFAULT, connection))


def test_what_another_tracer_saw_is_counted_too(run_of: RunOf) -> None:
    """A boot trace beside a recording: its events have no counters."""
    rows = [*(streamed(dur=100, pfn=i) for i in range(9)), streamed(dur=1, flags=int(Flag.IMPORTED), pfn=99)]
    run = run_of(Case(rows, header("alloc"), status(counters=counters(rows[:9], "alloc"))))
    report = view(run, "summary").report
    assert dict(report.heading)["losses"] == "lost 0 of 10"
    with connect(run) as connection:
        assert in_file(run, connection) == InFile(10, 0, 1)
    check = report.table("integrity")
    assert check is not None
    assert check.notes == ("file and kernel agree: 9 events; the 1 that were imported have no counters",)
