# SPDX-License-Identifier: Apache-2.0
"""Parts of a report of clearing, to be held against what they should be."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from memtrace.analyzer.tables import Report, Row
from memtrace.analyzer.views import Choice, view
from memtrace.tests.analyzer.recorded import Case
from memtrace.traces.reader import Run

RunOf = Callable[[Case | str], Run]


def report(run: Run) -> Report:
    return view(run, "zero", Choice(what_if=True)).report


def rows(run: Run, name: str) -> tuple[Row, ...]:
    table = report(run).table(name)
    assert table is not None
    return table.rows


def one(run: Run, name: str, **where: Any) -> Row:
    (found,) = (row for row in rows(run, name) if all(row[k] == v for k, v in where.items()))
    return found
