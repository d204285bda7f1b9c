# SPDX-License-Identifier: Apache-2.0
"""Memory of guests in 2 MiB pages: what ended it (coverage.sql), and how much over time (timeline.sql).

Over time: at the end of each of 60 equal stretches between a VM's first and last event.  What was
prepared and not given back (life) is unknown without gmem.free.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from memtrace.analyzer.gmem.life import follows, prepares
from memtrace.analyzer.tables import Column, Table

if TYPE_CHECKING:
    from memtrace.analyzer.model.staged import Model

PACKAGE = "memtrace.analyzer.gmem"
STEPS = 60
"""Stretches of timeline.sql."""


def coverage(model: Model) -> Table:
    """One row for each VM and end."""
    found = model.page(PACKAGE, "coverage")
    notes: tuple[str, ...] = ()
    if not prepares(model.run):
        notes = ("Not known: neither gmem.prepare nor gmem.assign was seen in this run.",)
    elif not found.rows:
        notes = ("No memory of a guest was prepared at 2 MiB.",)
    return Table("coverage", "2 MiB coverage", found.names, found.rows, found.shown, 2, notes=notes)


def timeline(model: Model) -> Table:
    """One row for each VM and stretch of time."""
    run = model.run
    size = run.header.page_size
    found = model.page(PACKAGE, "timeline").rows
    known = follows(run)
    rows: list[dict[str, Any]] = []
    for vm in sorted({row["vm"] for row in found if row["vm"] is not None}):
        by_step = {row["place"]: row for row in found if row["vm"] == vm}
        first, length = next((row["first"], row["length"]) for row in by_step.values())
        prepared = covered = 0
        for at in range(STEPS):
            change = by_step.get(at)
            prepared += change["prepared"] if change else 0
            covered += change["covered"] if change else 0
            rows.append(
                {
                    "vm": vm,
                    "at_ns": first + (at + 1) * length,
                    "prepared_bytes": prepared * size if known else None,
                    "covered_bytes": covered * size,
                    "covered_share": covered / prepared if prepared and known else None,
                }
            )
    names = ("vm", "at_ns", "prepared_bytes", "covered_bytes", "covered_share")
    # For a page there is the figure.
    return Table(
        "timeline", "Coverage over time", names, tuple(rows), (Column("vm", "vm", "number"),), shown=()
    )
