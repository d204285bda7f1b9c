# SPDX-License-Identifier: Apache-2.0
"""Which processes the occurrences were for.

Exact totals over streamed and aggregated occurrences where the recorder kept
them (RunStatus.tasks); otherwise from the rows, where aggregated occurrences
have no process: they come out as unknown.  ``total_ns`` is inclusive, as in
cells.py, and null where no time is known.  ``comm`` is the name
under which most of its occurrences came.  Window: from the gate's opening to the last flush.
"""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING

from memtrace.analyzer.cells import COSTS, by_cost, in_cells, of_run
from memtrace.analyzer.columns import MEASURES
from memtrace.analyzer.keys import KEYS
from memtrace.analyzer.scan import TooManyGroupsError, partials
from memtrace.analyzer.tables import Column, Row, Table

if TYPE_CHECKING:
    import duckdb

    from memtrace.traces.reader import Run
    from memtrace.traces.totals import TaskTotal

TOP = 5
_NAMES = ("event", "comm", "pid", *COSTS)


def tasks(run: Run, connection: duckdb.DuckDBPyConnection) -> Table:
    """One row for each event and process, by event, the most expensive first."""
    rows: list[Row]
    if run.status.tasks:
        rows = [_kept(task) for task in run.status.tasks]
    else:
        keys = [KEYS[name] for name in _NAMES[:3]]
        try:
            rows = list(
                of_run(run, in_cells(partials(run, keys, connection, with_durations=False)), _NAMES[:3])
            )
        except TooManyGroupsError as error:
            return Table("tasks", "Tasks", _NAMES, (), _COLUMNS, notes=(str(error).partition(";")[0],))
    rows = [{name: row[name] for name in _NAMES} for row in by_cost(rows, "event")]
    dropped = run.status.tasks_dropped
    notes = (f"{dropped} occurrences are of processes that found the table full",) if dropped else ()
    return Table("tasks", "Tasks", _NAMES, tuple(rows), _COLUMNS, keys=3, section=True, top=TOP, notes=notes)


def _kept(task: TaskTotal) -> Row:
    time = "unknown" if task.total_ns is None else "exact"
    untimed = 1.0 if task.total_ns is None else 0.0
    total_is = None if task.total_ns is None else "exact"
    told = {"self_ns": None, "time": time, "total_is": total_is, "time_unknown_share": untimed}
    return dataclasses.asdict(task) | told


_COLUMNS = (
    Column("event", "event"),
    Column("comm", "comm"),
    Column("pid", "pid", "number"),
    *MEASURES[:3],
)
