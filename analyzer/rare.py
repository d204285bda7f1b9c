# SPDX-License-Identifier: Apache-2.0
"""Which events have so few rows that a scan keeps each duration: their quantiles are exact."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import duckdb

    from memtrace.traces.reader import Run

EXACT_ROWS = 1 << 14
"""Streamed durations that are kept one by one, of the rarest events."""


def rare(run: Run) -> tuple[str, ...] | None:
    """The events of which each streamed row keeps its duration; None for all."""
    if run.rows <= EXACT_ROWS:
        return None
    found, rows = [], 0
    for each in sorted(run.status.counters, key=lambda each: each.streamed):
        rows += each.streamed
        if rows <= EXACT_ROWS and each.streamed:
            found.append(each.event)
    return tuple(found)


def is_rare(events: tuple[str, ...] | None) -> duckdb.Expression:
    """Whether a row's event is one of these; None: any."""
    import duckdb

    if events is None:
        return duckdb.ConstantExpression(True)
    return duckdb.ColumnExpression("event").isin(*map(duckdb.ConstantExpression, events))
