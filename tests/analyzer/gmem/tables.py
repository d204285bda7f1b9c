# SPDX-License-Identifier: Apache-2.0
"""Parts of a report of guest_memfd, to be held against what they should be."""

from __future__ import annotations

from typing import Any

from memtrace.analyzer.tables import Report


def rows(report: Report, name: str) -> list[dict[str, Any]]:
    table = report.table(name)
    assert table is not None
    return [dict(row) for row in table.rows]


def cells(report: Report, name: str, *columns: str) -> list[tuple[Any, ...]]:
    return [tuple(row[c] for c in columns) for row in rows(report, name)]


def at_the_end(report: Report, vm: int = 1) -> tuple[int, int]:
    """Bytes prepared and covered at the end of the timeline."""
    last = [row for row in rows(report, "timeline") if row["vm"] == vm][-1]
    return last["prepared_bytes"], last["covered_bytes"]
