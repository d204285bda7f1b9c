# SPDX-License-Identifier: Apache-2.0
"""The summary view: what each event cost, for whom, and how far to trust it.

One scan of the file serves the events, the main table and the check against the
kernel's counters (cells.py, integrity.py define the numbers); tasks and callers
take a second one, only where the run has them in its rows alone.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from memtrace.analyzer import cells as cell
from memtrace.analyzer.callers import WRITTEN_OUT, caller_of, written_out
from memtrace.analyzer.caveats import caveats
from memtrace.analyzer.columns import MEASURES, key_column, partly
from memtrace.analyzer.facts import duration_ns, facts, heading, page_title
from memtrace.analyzer.in_file import in_partials, numbers
from memtrace.analyzer.integrity import integrity, needs_pfn
from memtrace.analyzer.keys import DEFAULT, KEYS, Key, readable
from memtrace.analyzer.losses import ledger, losses
from memtrace.analyzer.partials import Partials
from memtrace.analyzer.scan import TooManyGroupsError, connect, partials
from memtrace.analyzer.sites import sites
from memtrace.analyzer.snapshots import snapshots
from memtrace.analyzer.tables import Column, Report, Row, Table
from memtrace.analyzer.tasks import tasks
from memtrace.analyzer.tracer import apart, tracer
from memtrace.analyzer.views import PLAIN, Choice, Result
from memtrace.analyzer.witnesses import Evidence, of_partials, silent

if TYPE_CHECKING:
    import duckdb

    from memtrace.traces.reader import Run

_ANSWERED = {"event", "order", "node"}
"""Keys that the partial aggregates of the first scan have."""
_RANKED = {"comm", "pid", "tid", "gfp", "caller", "stack"}
"""Keys with many values: their rows are sorted by cost, and a page shows the first ones."""
TOP = 10
CARRIED = "of the file: the sums that it carries; `memtrace check` makes them anew from its rows"


def view(run: Run, choice: Choice = PLAIN) -> Result:
    """The summary of a run, its main table grouped by ``choice.by``."""
    by = choice.by
    with connect(run) as connection:
        parts = partials(run, DEFAULT, connection, with_pfn=needs_pfn(run.status))
        grouped = parts if {key.word for key in by} <= _ANSWERED else _by_other(run, by, connection)
        task_table = tasks(run, connection)
        caller_table = callers(run, connection)
        quiet = tuple(silent(Evidence(run, of_partials(parts), connection)))
    events = cell.of_run(run, cell.in_cells(parts), ["event"])
    main = main_table(run, cell.in_cells(grouped), by)
    check = integrity(parts, run.status, run.header.origin)
    if run.summed_up:
        check = replace(check, notes=(*check.notes, CARRIED))
    whole = in_partials(parts)
    tables = (
        events_table(run, events),
        main,
        task_table,
        *([caller_table] if caller_table else []),
        losses(run.status, whole),
        ledger(run.status),
        check,
        sites(run.header),
        tracer(run, parts),
        apart(parts),
        snapshots(run),
    )
    report = Report(
        view="summary",
        title=page_title(run),
        run={**facts(run), **numbers(run, whole)},
        heading=heading(run, whole),
        tables=tables,
        caveats=caveats(run, events, main.rows, by, parts, check, quiet),
    )

    def draw(path: Path) -> None:
        from memtrace.analyzer.plot import draw_summary

        draw_summary(run, report, cell.in_cells(parts), path)

    return Result(report, draw)


def _by_other(run: Run, by: Sequence[Key], connection: duckdb.DuckDBPyConnection) -> Partials:
    """Partial aggregates by any keys; without durations if these make too many groups."""
    try:
        return partials(run, by, connection)
    except TooManyGroupsError:
        return partials(run, by, connection, with_durations=False)


def events_table(run: Run, events: Sequence[Row]) -> Table:
    """The headline: one row for each event.

    ``cpu_share``: self_ns over the window times the CPUs; time in which a task
    slept inside an occurrence counts as if it had run.
    """
    window = duration_ns(run) * run.header.cpus
    rows = tuple(
        {**row, "cpu_share": row["self_ns"] / window if row["self_ns"] is not None and window > 0 else None}
        for row in events
    )
    columns = (
        Column("event", "event"),
        *MEASURES[:5],
        Column("cpu_share", "of CPU", "share", partly),
        *MEASURES[5:],
    )
    return Table("events", "Events", ("event", *cell.MEASURED, "cpu_share"), rows, columns)


def main_table(run: Run, inside: Partials, by: Sequence[Key]) -> Table:
    """What each event cost, by the keys asked for."""
    names = tuple(key.output for key in by)
    rows: list[Row] = list(cell.of_run(run, inside, names))
    ranked = any(key.word in _RANKED for key in by)
    if ranked:
        rows = cell.by_cost(rows, "event")
    notes: list[str] = [] if rows else ["no occurrences"]
    shown = [key_column(name) for name in names]
    if "stack" in names:
        # A stack is no column of a page: its number and caller are, and the costliest are below.
        rows = [
            {**row, "rank": place, "caller": row["stack"] and caller_of(row["stack"])}
            for place, row in enumerate(rows, start=1)
        ]
        costly = cell.by_cost(rows)[:WRITTEN_OUT]
        notes += written_out(sorted(costly, key=lambda row: row["rank"]))
        shown = [column for column in shown if column.name not in ("stack", "caller")]
        shown += [Column("rank", "#", "number"), Column("caller", "caller", "stack")]
        names = (*(name for name in names if name not in ("stack", "caller")), "rank", "caller", "stack")
    return Table(
        "main",
        f"By {', '.join(key.word for key in by)}",
        (*names, *cell.MEASURED),
        tuple(readable(rows, run.header)),
        (*shown, *MEASURES),
        keys=len(shown),
        section=len(shown) > 1,
        top=TOP if ranked else None,
        notes=tuple(notes),
    )


def callers(run: Run, connection: duckdb.DuckDBPyConnection) -> Table | None:
    """One row for each event and caller, the most expensive first; None if no stacks were recorded."""
    if run.partials is not None and not run.partials.stacks:
        return None
    if not run.relation(connection, ["stack"]).filter("stack IS NOT NULL").limit(1).fetchall():
        return None
    keys = [KEYS["event"], KEYS["caller"]]
    names = ("event", "caller", *cell.COSTS)
    rows = cell.of_run(run, cell.in_cells(partials(run, keys, connection, with_durations=False)), names[:2])
    kept = tuple({name: row[name] for name in names} for row in cell.by_cost(rows, "event"))
    columns = (
        Column("event", "event"),
        Column("caller", "caller"),
        *MEASURES[:4],
    )
    return Table("callers", "Callers", names, kept, columns, keys=2, section=True, top=TOP)
