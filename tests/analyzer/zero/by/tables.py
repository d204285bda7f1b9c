# SPDX-License-Identifier: Apache-2.0
"""Parts of a report of clearing by what is around it, to be held against what they should be."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from memtrace.analyzer.tables import Report, Table
from memtrace.analyzer.views import Choice, view
from memtrace.tests.analyzer.recorded import Case
from memtrace.traces.reader import Run

RunOf = Callable[[Case | str], Run]


def report(run: Run, word: str) -> Report:
    return view(run, "zero", Choice(grouping=word)).report


def main(run: Run, word: str) -> Table:
    found = report(run, word)
    table = found.table(found.main)
    assert table is not None
    return table


def notes(run: Run, word: str) -> str:
    return " ".join(" ".join(table.notes) for table in report(run, word).tables)


def frames_of(run: Run) -> dict[str, tuple[Any, ...]]:
    """Count, bytes, cleared, total and self of each path."""
    measured = ("count", "bytes", "cleared_bytes", "total_ns", "self_ns")
    return {row["path"]: tuple(row[name] for name in measured) for row in main(run, "tree").rows}


HUGE = 2 << 20
