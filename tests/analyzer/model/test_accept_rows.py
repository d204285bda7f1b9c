# SPDX-License-Identifier: Apache-2.0
"""The staged tables ``accept_rows`` and ``accept_levels``: what saw acceptances, and how far it reaches."""

from __future__ import annotations

from collections.abc import Callable

from memtrace.analyzer.model.staged import model
from memtrace.tests.analyzer.accept.recorded import MS, accepting, stall
from memtrace.tests.analyzer.recorded import START, Case, streamed
from memtrace.traces.reader import Run


def test_levels_hold_the_next_that_the_run_has(run_of: Callable[[Case], Run]) -> None:
    with model(run_of(accepting(stall(START + MS, levels=("accept.block", "accept.arch"))))) as made:
        found = {row["event"]: row["inner_level"] for row in made.rows("accept_levels")}
        assert found == {"accept.burst": 2, "accept.block": 4, "accept.call": 4, "accept.arch": None}


def test_rows_come_with_their_level_and_what_waited(run_of: Callable[[Case], Run]) -> None:
    rows = [*stall(START + MS), streamed("alloc", 0, 500, ts_ns=START + 90 * MS)]
    with model(run_of(accepting(rows))) as made:
        made.need("accept_rows")
        found = made.query("SELECT level, dur_ns FROM accept_rows ORDER BY level")
        took = [2 * MS + 14_000, 2 * MS + 4000, 2 * MS + 2000, 2 * MS + 1000, 2 * MS]
        assert [tuple(row.values()) for row in found] == list(enumerate(took))


def test_the_call_of_older_runs_tells_what_it_was_asked_for(run_of: Callable[[Case], Run]) -> None:
    rows = [row | {"bytes_requested": None} for row in stall(START + MS, levels=("accept.call",))]
    with model(run_of(accepting(rows))) as made:
        (row,) = made.rows("accept_rows")
        assert (row["bytes"], row["asked_bytes"]) == (None, 4 << 20)


def test_a_stamp_reaches_as_far_as_what_it_ran(run_of: Callable[[Case], Run]) -> None:
    alone = {"tid": 7, "pid": None, "pfn": None, "nid": None}
    rows = [
        streamed("accept.block", None, None, ts_ns=START + MS, **alone),
        streamed("accept.call", None, None, ts_ns=START + MS + 10, **alone),
        streamed("accept.arch", None, 2 * MS, ts_ns=START + 3 * MS + 20, **alone),
    ]
    with model(run_of(accepting(rows))) as made:
        made.need("accept_rows")
        found = made.query("SELECT level, begin_ns, end_ns, dur_ns FROM accept_rows ORDER BY level")
        end = START + 3 * MS + 20
        assert [tuple(row.values()) for row in found] == [
            (2, START + MS, end, None),
            (3, START + MS + 10, end, None),
            (4, START + MS + 20, end, 2 * MS),
        ]
