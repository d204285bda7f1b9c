# SPDX-License-Identifier: Apache-2.0
"""``report --view zero``; the package says what its numbers mean."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from memtrace.analyzer import cells as cell
from memtrace.analyzer.columns import MEASURES, key_column
from memtrace.analyzer.facts import facts, heading, page_title
from memtrace.analyzer.in_file import in_partials, numbers
from memtrace.analyzer.integrity import needs_pfn
from memtrace.analyzer.keys import DEFAULT
from memtrace.analyzer.partials import Partials
from memtrace.analyzer.scan import connect, partials
from memtrace.analyzer.tables import Caveat, Report, Table
from memtrace.analyzer.views import PLAIN, Choice, Result
from memtrace.analyzer.whatif.zeroing import whatifs
from memtrace.analyzer.witnesses import Evidence, of_partials, silent
from memtrace.analyzer.zero.accounts import accounts, at_once
from memtrace.analyzer.zero.by.view import view as grouped
from memtrace.analyzer.zero.caveats import caveats_of
from memtrace.analyzer.zero.clearing import bandwidth, kinds, roots
from memtrace.analyzer.zero.coverage import coverage
from memtrace.analyzer.zero.kinds import CLEARING, counted, derives
from memtrace.analyzer.zero.redundant import after_acceptance, asked_for, redundant
from memtrace.analyzer.zero.redundant import table as redundant_table
from memtrace.analyzer.zero.totals import totals_of
from memtrace.analyzer.zero.touches import touches
from memtrace.analyzer.zero.unseen import no_clear

if TYPE_CHECKING:
    from memtrace.traces.reader import Run


def view(run: Run, choice: Choice = PLAIN) -> Result:
    """The zero view of a run."""
    if choice.grouping is not None:
        return grouped(run, choice.grouping)
    derive = derives(run)
    with connect(run) as connection:
        parts = partials(run, DEFAULT, connection, with_pfn=needs_pfn(run.status))
        totals = totals_of(run, connection)
        ledger = accounts(run, connection)
        quiet = tuple(silent(Evidence(run, of_partials(parts), connection), "zero."))
        together = at_once(run, connection)
        touched = touches(run, connection)
        known = counted(run, totals)
        wasted = [*redundant(totals, derive, known), *after_acceptance(run, connection)]
    times = [t.total_ns for t in totals if t.event in CLEARING]
    cleared_ns = None if derive or None in times else sum(time or 0 for time in times)
    rooted = any(total.root for total in totals)
    sums = _sums(run, parts)
    none = no_clear(run.header)
    tables = (
        kinds(totals, derive, known, none),
        roots(totals, rooted, derive, known),
        bandwidth(totals, none),
        *((sums,) if derive or not totals else ()),
        touched,
        redundant_table(wasted, cleared_ns, asked_for(totals, derive, known, run.header)),
        *((whatifs(totals, run.header, derive, known, together),) if choice.what_if else ()),
        ledger,
        coverage(run.header),
    )
    whole = in_partials(parts)
    report = Report(
        view="zero",
        title=page_title(run, "zero"),
        run={**facts(run), **numbers(run, whole)},
        heading=heading(run, whole),
        tables=tables,
        caveats=(*(Caveat(*pair) for pair in quiet), *_caveats(run, parts, tables)),
    )

    def draw(path: Path) -> None:
        from memtrace.analyzer.zero.picture import draw_zero

        draw_zero(run, report, totals, path)

    return Result(report, draw)


def _sums(run: Run, parts: Partials) -> Table:
    """What is known by event, order and node, estimates included."""
    rows = [
        row
        for row in cell.of_run(run, cell.in_cells(parts), ["event", "order", "nid"])
        if row["event"] in CLEARING
    ]
    columns = (*(key_column(name) for name in ("event", "order", "nid")), *MEASURES[:8])
    notes = () if rows else (no_clear(run.header),)
    names = ("event", "order", "nid", *cell.MEASURED)
    return Table(
        "sums", "Clearing by order and node", names, tuple(rows), columns, keys=3, section=True, notes=notes
    )


def _caveats(run: Run, parts: Partials, tables: tuple[Table, ...]) -> tuple[Caveat, ...]:
    found = caveats_of(run, parts)
    (ledger,) = (table for table in tables if table.name == "ledger")
    if ledger.rows[0]["differs"]:
        text = f"{ledger.rows[0]['differs']} rows have a self time that their nesting does not bear out"
        return (Caveat("ledger", text), *found)
    return found
