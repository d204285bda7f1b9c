# SPDX-License-Identifier: Apache-2.0
"""Every kind of run by every grouping, in every format, and words that are none."""

from __future__ import annotations

from pathlib import Path

import pytest

from memtrace.analyzer.render import FORMATS
from memtrace.analyzer.report import Request, make
from memtrace.analyzer.views import GROUPINGS, Choice, choice_by, view
from memtrace.errors import MemtraceError
from memtrace.tests.analyzer.cases import CASES
from memtrace.tests.analyzer.zero.by.tables import HUGE, RunOf, main


def test_what_failed_or_the_recorder_did_is_no_clear(run_of: RunOf) -> None:
    for word in GROUPINGS["zero"]:
        assert "memtrace" not in {row.get("comm") for row in main(run_of("clears"), word).rows}
        sizes = [row["bytes"] for row in main(run_of("clears"), word).rows if row.get("event") != "alloc"]
        assert sum(size or 0 for size in sizes) == HUGE + 3 * 4096


@pytest.mark.parametrize("word", GROUPINGS["zero"])
@pytest.mark.parametrize("case", sorted(CASES))
def test_every_kind_of_run_has_every_grouping_and_a_figure(
    run_of: RunOf, case: str, word: str, tmp_path: Path
) -> None:
    result = view(run_of(case), "zero", Choice(grouping=word))
    table = result.report.table(result.report.main)
    assert table is not None and (table.rows or table.notes)
    if case in ("clears", "clears-summed"):
        result.draw(figure := tmp_path / "zero.svg")
        assert figure.stat().st_size > 10_000


@pytest.mark.parametrize("format_", FORMATS)
def test_every_format_has_the_table_asked_for(run_of: RunOf, format_: str) -> None:
    path = str(run_of("clears").path)
    text = make(Request((path,), view="zero", by="cgroup", format=format_))
    assert "/lab/small" in text


def test_an_unknown_word_is_refused_and_the_known_ones_named() -> None:
    with pytest.raises(MemtraceError, match="one of tree, task, cgroup, stack") as refused:
        choice_by("zero", "order,node")
    assert refused.value.exit_code == 2
    with pytest.raises(MemtraceError, match="--by knows no 'tree'"):
        choice_by("summary", "tree")
    assert choice_by("zero", " Tree ").grouping == "tree"
    assert choice_by("zero", None) == Choice()
