# SPDX-License-Identifier: Apache-2.0
"""The zero view as a whole: what it refuses, and every kind of run."""

from __future__ import annotations

from pathlib import Path

import pytest

from memtrace.analyzer.keys import parse_keys
from memtrace.analyzer.views import Choice, view
from memtrace.errors import MemtraceError
from memtrace.tests.analyzer.cases import CASES
from memtrace.tests.analyzer.recorded import START
from memtrace.tests.analyzer.zero.tables import RunOf


def test_what_the_view_has_not_is_refused(run_of: RunOf) -> None:
    run = run_of("zeroing")
    for choice in (Choice(by=parse_keys("comm")), Choice(window=(START, START + 1))):
        with pytest.raises(MemtraceError, match="the zero view"):
            view(run, "zero", choice)


@pytest.mark.parametrize("case", sorted(CASES))
def test_every_kind_of_run_has_a_view_and_a_figure(run_of: RunOf, case: str, tmp_path: Path) -> None:
    result = view(run_of(case), "zero")
    figure = tmp_path / "zero.png"
    result.draw(figure)
    assert figure.stat().st_size > 10_000
    assert {table.name for table in result.report.tables} >= {"main", "roots", "ledger", "coverage"}
