# SPDX-License-Identifier: Apache-2.0
"""Where the time of a first touch goes (first_touch.sql)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from memtrace.analyzer.tables import Table

if TYPE_CHECKING:
    from memtrace.analyzer.model.staged import Model
    from memtrace.traces.reader import Run

PACKAGE = "memtrace.analyzer.gmem"
_EVENTS = {"allocation": "alloc", "zeroing": "gmem.zero", "preparation": "gmem.prepare"}


def first_touch(model: Model) -> Table:
    """One row for each VM and part."""
    found = model.page(PACKAGE, "first_touch")
    notes = [
        f"{part.capitalize()} was not recorded (-e gmem,alloc): it is in lookup."
        for part, event in _EVENTS.items()
        if found.rows and not sees(model.run, event)
    ]
    ((untimed,),) = model.connection.execute("SELECT count(*) FROM touches WHERE NOT timed").fetchall()
    if untimed:
        notes.append(f"Left out: {untimed} of which some part's time is unknown.")
    title = "A first touch, by part"
    return Table("first_touch", title, found.names, found.rows, found.shown, keys=2, notes=tuple(notes))


def sees(run: Run, event: str) -> bool:
    """Whether the run has intervals of this event."""
    asked = event in run.header.events
    return asked and any(s.event == event and s.site and s.time == "exact" for s in run.header.manifest)
