# SPDX-License-Identifier: Apache-2.0
"""Pauses between a VM's faults (pauses.sql), and the regions whose faults came late (stalls.sql)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from memtrace.analyzer.tables import Table

if TYPE_CHECKING:
    from memtrace.analyzer.model.staged import Model

PACKAGE = "memtrace.analyzer.gmem"
TOP = 10
ENDLESS = "Faults without an end: a gap goes from the start of one to the start of the next."


def stalls(model: Model) -> Table:
    """One row for each VM and region, the longest gap first."""
    found = model.page(PACKAGE, "stalls")
    notes = (ENDLESS,) if any(row["busy_ns"] is None for row in found.rows) else ()
    title = "Gaps between the faults of a region"
    return Table("stalls", title, found.names, found.rows, found.shown, 3, top=TOP, notes=notes)


def pauses(model: Model) -> Table:
    """One row for each pause of a VM, the longest first."""
    found = model.page(PACKAGE, "pauses")
    title = "Pauses between the faults of a VM"
    return Table("pauses", title, found.names, found.rows, found.shown, 3, top=TOP)
