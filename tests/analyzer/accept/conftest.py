# SPDX-License-Identifier: Apache-2.0
"""Runs of acceptance on disk, and what the view is made of."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from memtrace.analyzer.accept.rows import Accepts, load
from memtrace.analyzer.accept.stalls import Stalls, stalls
from memtrace.analyzer.accept.view import view
from memtrace.analyzer.model.staged import model
from memtrace.analyzer.tables import Report, Table
from memtrace.analyzer.views import Choice
from memtrace.tests.analyzer.accept.cases import CASES
from memtrace.tests.analyzer.recorded import Case
from memtrace.traces.reader import Run

Open = Callable[[Case | str], Run]
Tables = Callable[..., dict[str, Table]]
WHOLE = Choice(what_if=True)
"""What-ifs too."""


@pytest.fixture
def accept_run(run_of: Callable[[Case], Run]) -> Open:
    """A run made of a case, or of the name of one of acceptance."""
    return lambda case: run_of(CASES[case]() if isinstance(case, str) else case)


@pytest.fixture
def report_of(accept_run: Open) -> Callable[..., Report]:
    """The accept view of a case."""

    def make(case: Case | str, choice: Choice = WHOLE) -> Report:
        return view(accept_run(case), choice).report

    return make


@pytest.fixture
def tables(report_of: Callable[..., Report]) -> Tables:
    """The tables of the accept view by name."""

    def make(case: Case | str, choice: Choice = WHOLE) -> dict[str, Table]:
        return {table.name: table for table in report_of(case, choice).tables}

    return make


@pytest.fixture
def spans_of(accept_run: Open) -> Callable[[Case | str], tuple[Accepts, Stalls]]:
    """Spans and stalls of a case."""

    def make(case: Case | str) -> tuple[Accepts, Stalls]:
        with model(accept_run(case)) as made:
            return load(made), stalls(made)

    return make
