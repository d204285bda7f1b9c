# SPDX-License-Identifier: Apache-2.0
"""At which level private memory was prepared, and what a MiB of it cost (levels.sql)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from memtrace.analyzer.tables import Table

if TYPE_CHECKING:
    from memtrace.analyzer.model.staged import Model

PACKAGE = "memtrace.analyzer.gmem"


def levels(model: Model) -> Table:
    """One row for each VM and level."""
    found = model.page(PACKAGE, "levels")
    notes = []
    if idle := sorted({str(row["vm"]) for row in found.rows if row["in_hardware"] is False}):
        which = f"VM{'s' * (len(idle) > 1)} {', '.join(idle)}"
        notes.append(
            f"Preparation is a no-op for {which}, neither SNP nor TDX: the time is that of calling a hook "
            "that returns at once, not the price of preparing memory."
        )
    if found.rows and {row["level"] for row in found.rows} == {0}:
        notes.append("Nothing was prepared at 2 MiB, so that 4 KiB cannot be held against it.")
    title = "Preparation by level"
    return Table("levels", title, found.names, found.rows, found.shown, keys=2, notes=tuple(notes))
