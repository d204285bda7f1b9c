# SPDX-License-Identifier: Apache-2.0
"""A guest's physical memory by state before it ended (map.sql)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from memtrace.analyzer.gmem.life import follows
from memtrace.analyzer.tables import Table

if TYPE_CHECKING:
    from memtrace.analyzer.model.staged import Model

PACKAGE = "memtrace.analyzer.gmem"
STATES = ("2 MiB", "4 KiB", "in part", "empty", "shared")
TOP = 10
UNKNOWN = "Not known: needs gmem.free, and gmem.prepare or gmem.assign."


def state(model: Model) -> Table:
    """One row for each stretch of equal ranges; none where what became of memory was not followed."""
    found = model.page(PACKAGE, "map")
    known = follows(model.run)
    notes = () if known else (UNKNOWN,)
    title = "The guest's memory before it ended"
    kept = found.rows if known else ()
    return Table("map", title, found.names, kept, found.shown, 2, top=TOP, notes=notes)
