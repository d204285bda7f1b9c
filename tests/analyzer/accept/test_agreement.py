# SPDX-License-Identifier: Apache-2.0
"""One quantity is one number, in every table, the headline and the picture, of every run there is."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import duckdb
import numpy as np
import pytest

from memtrace.analyzer.accept.plot import left_over_time
from memtrace.analyzer.accept.rows import BLOCK_BYTES, LEVELS, Accepts, load
from memtrace.analyzer.accept.view import view
from memtrace.analyzer.cells import cells, in_cells
from memtrace.analyzer.compare.measure import measure
from memtrace.analyzer.compare.metrics import Metric
from memtrace.analyzer.keys import DEFAULT
from memtrace.analyzer.model.staged import model
from memtrace.analyzer.scan import connect, partials
from memtrace.analyzer.tables import Table
from memtrace.tests.analyzer.accept.fixtures import RUNS
from memtrace.tests.analyzer.accept.tables import column
from memtrace.traces.reader import Run, open_run

_MEDIAN = """
SELECT quantile_disc(dur_ns, 0.5), max(dur_ns) FROM read_parquet(?) WHERE event = ? AND flags & 288 = 0
"""
_MEDIANS = """
SELECT event::VARCHAR, quantile_disc(dur_ns, 0.5)
FROM read_parquet(?) WHERE dur_ns IS NOT NULL AND flags & 352 = 0 GROUP BY event
"""


@dataclass(frozen=True)
class Seen:
    """A run, its tables by name, and the acceptances that they are made of."""

    run: Run
    tables: dict[str, Table]
    accepts: Accepts

    @property
    def room(self) -> int:
        """What may be under way as a counter is read: a block on each CPU."""
        return max(self.run.header.cpus, 1) * BLOCK_BYTES


@pytest.fixture(scope="module", params=RUNS)
def seen(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Seen]:
    path = tmp_path_factory.mktemp("run") / "run.parquet"
    RUNS[request.param](path)
    run = open_run(path)
    with model(run) as made:
        accepts = load(made)
    yield Seen(run, {table.name: table for table in view(run).report.tables}, accepts)
    run.close()


def test_no_more_is_seen_than_the_counter_fell_by_and_a_block_on_each_cpu(seen: Seen) -> None:
    if "progress" not in seen.tables:
        return
    for row in seen.tables["progress"].rows:
        if row["seen_bytes"] is not None and row["fell_bytes"] is not None and row["fell_bytes"] >= 0:
            assert row["seen_bytes"] <= row["fell_bytes"] + seen.room, row["of"]


def test_an_accept_is_counted_once_in_every_table(seen: Seen) -> None:
    if not len(seen.accepts):
        return
    (window,) = seen.tables["window"].rows
    assert window["accepts"] == sum(column(seen.tables["calls"], "calls")) == len(seen.accepts)
    victims = seen.tables["victims"]
    assert sum(column(victims, "accepts")) == window["accepts"] - window["own_accepts"]
    assert sum(column(victims, "stalls")) == window["stalls"]
    lost = [value for value in column(victims, "lost_ns") if value is not None]
    if not any(column(victims, "untimed")) and window["lost_ns"] is not None:
        assert sum(lost) == window["lost_ns"]


def test_the_headline_knows_a_time_where_the_tables_do(seen: Seen) -> None:
    calls = seen.tables.get("calls")
    if calls is not None and any(value is not None for value in column(calls, "p50_ns")):
        assert not seen.tables["window"].notes[0].startswith("cannot be told")


def test_the_median_of_all_accepts_is_that_of_the_file(seen: Seen) -> None:
    if "calls" not in seen.tables or len(seen.accepts.events) != 1 or not seen.accepts.work.timed.any():
        return
    (event,) = seen.accepts.events
    path = str(seen.run.path)
    ((middle, longest),) = duckdb.execute(_MEDIAN, [path, event]).fetchall()
    ascending = np.sort(seen.accepts.work.dur[seen.accepts.work.timed])
    assert (ascending[(len(ascending) - 1) // 2], ascending[-1]) == (middle, longest)
    if len(seen.tables["calls"].rows) == 1:
        assert column(seen.tables["calls"], "p50_ns") == [middle]


def test_the_picture_goes_through_its_own_dots(seen: Seen) -> None:
    progress = seen.tables.get("progress")
    for row in progress.rows[1:] if progress is not None else ():
        nid = row["nid"]
        line = left_over_time(seen.run, seen.accepts, nid)
        if line is None or row["start_bytes"] is None:
            continue
        times, left = line
        assert left[0] == row["start_bytes"]
        missed = max((row["fell_bytes"] or 0) - row["seen_bytes"], 0)
        for one in seen.accepts.readings:
            if times[0] <= one.at_ns <= times[-1] and (row["fell_bytes"] or 0) >= 0:
                at = int(left[np.searchsorted(times, one.at_ns, side="right") - 1])
                assert -seen.room <= at - one.nodes[nid] <= seen.room + missed, one


def test_report_and_compare_have_the_medians_of_the_file(seen: Seen) -> None:
    found = duckdb.execute(_MEDIANS, [str(seen.run.path)]).fetchall()
    wanted = {event: middle for event, middle in found if event in LEVELS}
    with connect(seen.run) as connection:
        rows = cells(in_cells(partials(seen.run, DEFAULT, connection)), ["event"])
    assert {row["event"]: row["p50_ns"] for row in rows if row["event"] in wanted} == wanted
    assert {row["p50_is"] for row in rows if row["event"] in wanted} <= {"exact"}
    compared = measure(seen.run, []).headline
    assert {event: compared[Metric(event, "p50")].value for event in wanted} == wanted
