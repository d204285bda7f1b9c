# SPDX-License-Identifier: Apache-2.0
"""A recorded run put into an imported one: its rows as they are, nothing counted twice."""

from __future__ import annotations

from pathlib import Path

import pyarrow as pa
import pytest

from memtrace.analyzer.views import view
from memtrace.tests.traces.importers.conftest import Import, Text, read
from memtrace.traces.reader import open_run
from memtrace.traces.run import ProbeSite, RunHeader, RunStatus
from memtrace.traces.schema import Flag, arrow_schema
from memtrace.traces.totals import EventCounters
from memtrace.traces.writer import RunWriter

S = 10**9
ALLOC = "  sh-7 [001] ..... {}.000000: mm_page_alloc: page=0 pfn=0x1 order=0 migratetype=0 gfp_flags=X\n"
BLOCK = "  sh-7 [001] ..... {}.000000: __accept_page <-cond_accept_memory\n"


@pytest.fixture
def recorded(tmp_path: Path) -> Path:
    """A run of two allocations, recorded from second 10 on."""
    path = tmp_path / "recorded.parquet"
    row = {"event": "alloc", "site": "rawtp:mm_page_alloc", "order": 0, "bytes": 4096, "count": 1, "flags": 0}
    rows = [row | {"ts_ns": ts, "pfn": 5} for ts in (11 * S, 12 * S)]
    site = ProbeSite("alloc", "rawtp:mm_page_alloc", "rawtp", time="unknown", proven=True)
    counters = EventCounters("alloc", 2, 2, 0, 0, 0, 10)
    with RunWriter(path, RunHeader("0", (), events=("alloc",), cpus=2, manifest=(site,))) as writer:
        writer.write(pa.Table.from_pylist(rows, schema=arrow_schema()))
        writer.close(RunStatus(True, 10 * S, 13 * S, counters=(counters,)))
    return path


def test_imported_rows_of_the_same_event_end_where_recording_began(
    import_: Import, text: Text, recorded: Path
) -> None:
    trace = text(ALLOC.format(9) + ALLOC.format(11) + ALLOC.format(12))
    run = import_(trace, merge=recorded, clock="boot")
    assert [r["ts_ns"] for r in run.of("alloc")] == [9 * S, 11 * S, 12 * S]
    assert [bool(r["flags"] & Flag.IMPORTED) for r in run.of("alloc")] == [True, False, False]


def test_other_events_are_kept_throughout(import_: Import, text: Text, recorded: Path) -> None:
    run = import_(text(BLOCK.format(9) + BLOCK.format(12)), merge=recorded, clock="boot")
    assert [r["ts_ns"] for r in run.of("accept.block")] == [9 * S, 12 * S]


def test_rows_of_the_run_go_through_unchanged(import_: Import, text: Text, recorded: Path) -> None:
    run = import_(text(ALLOC.format(9)), merge=recorded, clock="boot")
    assert [r for r in run.rows if not r["flags"] & Flag.IMPORTED] == read(recorded)


def test_the_check_against_the_kernel_still_agrees(import_: Import, text: Text, recorded: Path) -> None:
    run = import_(text(ALLOC.format(9)), merge=recorded, clock="boot")
    table = view(open_run(run.path)).report.table("integrity")
    assert table is not None
    assert [row["verdict"] for row in table.rows] == ["agree"]


def test_header_and_status_are_of_both(import_: Import, text: Text, recorded: Path) -> None:
    run = import_(text(ALLOC.format(9) + BLOCK.format(9)), merge=recorded, clock="boot")
    assert run.header.origin == "imported"
    assert run.header.events == ("alloc", "accept.block")
    assert [s.format for s in run.header.sources] == ["tracefs", "memtrace"]
    assert run.header.sources[1].rows == 2
    assert (run.status.started_ns, run.status.ended_ns) == (9 * S, 13 * S)
    assert {s.site for s in run.header.manifest} == {
        "rawtp:mm_page_alloc",
        "trace_event:mm_page_alloc",
        "ftrace:__accept_page",
    }
