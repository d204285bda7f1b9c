# SPDX-License-Identifier: Apache-2.0
"""Where the time of each hot-add went: the table of hot_phases."""

from __future__ import annotations

from collections.abc import Collection
from typing import TYPE_CHECKING

from memtrace.analyzer.tables import Table

if TYPE_CHECKING:
    from memtrace.analyzer.model.staged import Model

PACKAGE = "memtrace.analyzer.hotplug"
PHASES_OF = 4
"""Hot-adds whose phases a page shows."""


def table(model: Model, adds: Collection[int]) -> Table:
    """One row for each of these hot-adds and phase."""
    found = model.page(PACKAGE, "phases")
    rows = tuple(row for row in found.rows if row["add"] in adds)
    shown = sorted(adds)[:PHASES_OF]
    drawn = (i for i, row in enumerate(rows) if row["add"] in shown and row["self_ns"] != 0)
    notes = [] if rows else ["no memory was added"]
    if len(adds) > PHASES_OF:
        notes.append(f"the first {PHASES_OF} of {len(adds)} hot-adds; all are in --format json")
    return Table(
        "phases",
        "Where the time went, exclusive, from the request to the last block online",
        found.names,
        rows,
        found.shown,
        keys=2,
        shown=tuple(drawn),
        notes=tuple(notes),
    )


def overlap(model: Model, adds: Collection[int]) -> bool:
    """Whether in one of these hot-adds several threads worked at once."""
    model.need("hot_phases", "hot_adds")
    totals = model.query(
        "SELECT p.add, sum(p.self_ns) > any_value(a.total_ns) AS overlap"
        " FROM hot_phases AS p JOIN hot_adds AS a USING (add) GROUP BY p.add"
    )
    return any(row["overlap"] for row in totals if row["add"] in adds)
