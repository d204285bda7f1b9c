# SPDX-License-Identifier: Apache-2.0
"""Ranges converted to and fro (pingpong.sql), and memory prepared more than once (again.sql)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from memtrace.analyzer.tables import Table

if TYPE_CHECKING:
    from memtrace.analyzer.model.staged import Model

PACKAGE = "memtrace.analyzer.gmem"
TOP = 10
OF_WHICH = "after a hole, without, memory, time: of the preparations of a page that had been prepared."


def pingpong(model: Model) -> Table:
    """One row for each VM and range that was converted to and fro, the busiest first."""
    found = model.page(PACKAGE, "pingpong")
    return Table("pingpong", "Converted to and fro", found.names, found.rows, found.shown, 3, top=TOP)


def again(model: Model) -> Table:
    """One row for each VM."""
    found = model.page(PACKAGE, "again")
    notes = (OF_WHICH,) if found.rows else ()
    return Table("again", "Prepared more than once", found.names, found.rows, found.shown, notes=notes)
