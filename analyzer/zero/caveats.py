# SPDX-License-Identifier: Apache-2.0
"""What narrows the meaning of the zero view's numbers, whatever they are grouped by."""

from __future__ import annotations

from typing import TYPE_CHECKING

from memtrace.analyzer import cells as cell
from memtrace.analyzer.caveats import caveats
from memtrace.analyzer.integrity import integrity
from memtrace.analyzer.partials import Partials
from memtrace.analyzer.tables import Caveat

if TYPE_CHECKING:
    from memtrace.traces.reader import Run


def caveats_of(run: Run, parts: Partials, sums: bool = True) -> tuple[Caveat, ...]:
    """The caveats of any view, and, where ``sums`` by root were taken, theirs."""
    events = list(cell.of_run(run, cell.in_cells(parts), ["event"]))
    check = integrity(parts, run.status)
    found = list(caveats(run, events, (), (), parts, check))
    if sums and run.status.roots == ():
        text = "this run has no sums by root (cut short, imported or older): these are of its rows, and"
        text += " aggregated rows have no root"
        found.insert(0, Caveat("no-roots", text))
    if sums and run.status.tasks_dropped:
        text = f"{run.status.tasks_dropped} occurrences are in none of the sums by root (table full)"
        found.insert(0, Caveat("roots-dropped", text))
    return tuple(found)
