# SPDX-License-Identifier: Apache-2.0
"""Which ways of clearing a run could see, and by which site."""

from __future__ import annotations

import dataclasses

import pytest

from memtrace.tests.analyzer.recorded import Case, header, status
from memtrace.tests.analyzer.zero.tables import RunOf, rows
from memtrace.traces.run import LEFT_TO_ALLOCATOR, Fact, ProbeSite


@pytest.mark.parametrize(
    ("unproven", "init", "seen", "by"),
    [
        (LEFT_TO_ALLOCATOR, "yes", "yes", "fentry:leaf"),
        ("", "yes", "yes", "fentry:user"),
        ("", "no", None, None),
    ],
)
def test_which_clears_of_huge_pages_are_seen_where(
    run_of: RunOf, unproven: str, init: str, seen: str | None, by: str | None
) -> None:
    manifest = (
        ProbeSite("zero.alloc", "fentry:leaf", "fentry", "leaf", proven=True),
        ProbeSite("zero.user", "fentry:user", "fentry", "user", unproven=unproven),
    )
    head = header("zero.alloc", "zero.user", manifest=manifest)
    head = dataclasses.replace(head, facts=(Fact("init_on_alloc", init),))
    run = run_of(Case((), head, status(roots=())))
    found = {row["path"]: row for row in rows(run, "coverage")}
    if seen is None:
        assert found["huge pages, hugetlb"]["by"] == "fentry:user"
        return
    assert (found["huge pages"]["seen"], found["huge pages"]["by"]) == (seen, by)
    assert "zero.alloc" in found["huge pages"]["why"]
    assert (found["hugetlb, at faults"]["seen"], found["hugetlb, at faults"]["by"]) == ("yes", "fentry:user")
