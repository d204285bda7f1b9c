# SPDX-License-Identifier: Apache-2.0
"""Parts of a report of hotplug, to be held against what they should be."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from memtrace.analyzer.tables import Report
from memtrace.analyzer.views import view
from memtrace.tests.analyzer.recorded import Case

RunOf = Callable[[Case | str], Any]


def report_of(run_of: RunOf, made: Case) -> Report:
    return view(run_of(made), "hotplug").report


def rows_of(report: Report, name: str, *names: str) -> list[Any]:
    table = report.table(name)
    assert table is not None
    return [tuple(row[n] for n in names) for row in table.rows]


def spent(report: Report, add: int = 1) -> dict[str, Any]:
    table = report.table("phases")
    assert table is not None
    return {row["phase"]: row["self_ns"] for row in table.rows if row["add"] == add}
