# SPDX-License-Identifier: Apache-2.0
"""The ledger's account of a run: is every traced nanosecond in one place only?

``intervals``: streamed rows with a known duration.  ``self_sum_ns`` equals ``union_ns``
in a sound ledger.  ``differs`` counts rows whose self_ns, as the recorder wrote it, is not
the ledger's; in a run with aggregates, whose nested occurrences are partly no rows, those
where it is more.  0 in a sound run.
``at_once``: the most CPUs that cleared memory at the same moment (streamed clears, each on
the CPU where it ended; one that interrupts or preempts another is on a CPU already counted).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from memtrace.analyzer.ledger import STEP, Ledger, settle_run
from memtrace.analyzer.tables import Column, Table
from memtrace.analyzer.zero.kinds import CLEARING
from memtrace.traces.schema import Flag

if TYPE_CHECKING:
    import duckdb

    from memtrace.traces.reader import Run


def accounts(run: Run, connection: duckdb.DuckDBPyConnection) -> Table:
    """One row: the streamed intervals of the run, settled."""
    import numpy as np

    events = timed_events(run, connection)
    ledger = Ledger([i for i, name in enumerate(events) if name.startswith("root.")])
    intervals = differs = self_sum = 0
    wanted = ("self_ns", "flags")
    for settled in settle_run(run, ledger, events, connection, wanted, steps=True) if events else ():
        written = settled.columns["self_ns"]
        intervals += int(((settled.columns["flags"] & int(Flag.AGGREGATED)) == 0).sum())
        self_sum += int(settled.self_ns.sum())
        wrong = written != settled.self_ns if run.header.stream_all else written > settled.self_ns
        differs += int(np.ma.filled(wrong, False).sum())
    row = {
        "intervals": intervals,
        "union_ns": ledger.union_ns,
        "self_sum_ns": self_sum,
        "crossing": ledger.crossing,
        "differs": differs,
    }
    columns = (
        Column("intervals", "streamed intervals", "count"),
        Column("union_ns", "union", "ns"),
        Column("self_sum_ns", "sum of self", "ns"),
        Column("crossing", "crossing", "count"),
        Column("differs", "self differs", "count"),
    )
    notes = (
        "union and sum of self are equal unless time was counted twice; the others are 0 in a sound run.",
    )
    return Table("ledger", "Ledger", tuple(row), (row,), columns, keys=0, notes=notes)


def timed_events(run: Run, connection: duckdb.DuckDBPyConnection) -> Sequence[str]:
    """The events with streamed intervals, sorted; accept.step too where it was summed in them."""
    rows = run.relation(connection, ["event", "dur_ns", "total_ns", "flags"])
    streamed = f"dur_ns IS NOT NULL AND (flags & {int(Flag.AGGREGATED)}) = 0"
    timed = rows.filter(f"({streamed}) OR (event = '{STEP}' AND total_ns IS NOT NULL)")
    return sorted(event for (event,) in timed.aggregate("event::VARCHAR AS event", "event").fetchall())


def at_once(run: Run, connection: duckdb.DuckDBPyConnection) -> int | None:
    """The most CPUs that were clearing at one moment; None where none was streamed."""
    rows = run.relation(connection, ["event", "ts_ns", "dur_ns", "cpu", "flags"])
    names = ", ".join(f"'{name}'" for name in CLEARING)
    rows = rows.filter(f"event IN ({names}) AND dur_ns > 0 AND (flags & {int(Flag.AGGREGATED)}) = 0")
    rows.filter("cpu IS NOT NULL").create_view("clears")
    question = """
        WITH spans AS (
            SELECT ts_ns AS high, greatest(ts_ns - dur_ns, coalesce(max(ts_ns) OVER (
                PARTITION BY cpu ORDER BY ts_ns - dur_ns, ts_ns
                ROWS BETWEEN UNBOUNDED PRECEDING AND 1 PRECEDING), 0)) AS low
            FROM clears)
        SELECT max(level) FROM (SELECT sum(step) OVER (ORDER BY moment, step) AS level FROM (
            SELECT low AS moment, 1 AS step FROM spans WHERE low < high
            UNION ALL SELECT high, -1 FROM spans WHERE low < high))"""
    ((most,),) = connection.sql(question).fetchall()
    return None if most is None else int(most)
