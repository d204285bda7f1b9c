# SPDX-License-Identifier: Apache-2.0
"""The staged table ``counters``: snapshots by time, whatever their order in the file."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable

from memtrace.analyzer.model.staged import model
from memtrace.tests.analyzer.accept.recorded import MIB, MS, accepting, snapshots
from memtrace.tests.analyzer.recorded import START, Case
from memtrace.traces.reader import Run
from memtrace.traces.run import Snapshot


def test_snapshots_come_by_time_and_in_bytes(run_of: Callable[[Case], Run]) -> None:
    case = accepting([], (400, 300), (100, 300))
    late = snapshots("boot", START + 60_000 * MS, 100, 300)
    early = Snapshot("entry", 0, {}, {"0": {"Unaccepted": 2 << 20, "HugePages_Total": 3}}, took_ns=5)
    told = dataclasses.replace(case.header, snapshots=(late, early, *case.header.snapshots))
    with model(run_of(dataclasses.replace(case, header=told))) as made:
        made.need("counters")
        found = made.query("SELECT DISTINCT snapshot, label, at_ns FROM counters ORDER BY snapshot")
        assert [tuple(row.values())[:2] for row in found] == [
            (1, "entry"),
            (2, "start"),
            (3, "end"),
            (4, "boot"),
        ]
        sql = "SELECT read_ns, nid, counter, value, bytes FROM counters WHERE snapshot = $n ORDER BY ALL"
        assert [tuple(row.values()) for row in made.query(sql, {"n": 1})] == [
            (5, 0, "HugePages_Total", 3, None),
            (5, 0, "Unaccepted", 2 << 20, 2 << 30),
        ]
        sql = "SELECT bytes FROM counters WHERE label = 'start' AND counter = 'nr_unaccepted'"
        assert made.query(sql) == [{"bytes": 700 * MIB}]


def test_a_run_without_snapshots_has_no_rows(run_of: Callable[[Case], Run]) -> None:
    case = accepting([])
    told = dataclasses.replace(case.header, snapshots=())
    status = dataclasses.replace(case.status, snapshots=())
    with model(run_of(dataclasses.replace(case, header=told, status=status))) as made:
        assert made.rows("counters") == []
