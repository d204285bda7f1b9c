# SPDX-License-Identifier: Apache-2.0
"""Clearing by stack, and by call site where no stacks were recorded."""

from __future__ import annotations

from memtrace.tests.analyzer.cleared import ANON_STACK, HUGE_STACK
from memtrace.tests.analyzer.zero.by.tables import HUGE, RunOf, main, notes


def test_stacks_come_with_their_caller_and_the_first_in_full(run_of: RunOf) -> None:
    table = main(run_of("clears"), "stack")
    names = ("rank", "caller", "event", "clears", "bytes", "total_ns", "stack")
    assert [tuple(row[name] for name in names) for row in table.rows] == [
        (1, "do_huge_pmd_anonymous_page", "zero.user", 1, HUGE, 3000, HUGE_STACK),
        (2, "do_anonymous_page", "zero.alloc", 2, 8192, 300, ANON_STACK),
        (3, None, "zero.alloc", 1, 4096, 50, None),
    ]
    assert table.notes[1].startswith("- 1: folio_zero_user < do_huge_pmd_anonymous_page < ")


def test_without_stacks_there_are_call_sites_and_how_to_record_stacks_is_said(run_of: RunOf) -> None:
    run = run_of("clears-summed")
    table = main(run, "stack")
    assert table.name == "callsites"
    names = ("event", "site", "within", "clears", "bytes", "total_ns")
    found = [tuple(row[name] for name in names) for row in table.rows]
    assert found[0] == ("zero.alloc", "fentry:zero.alloc", "fault", 1000, 4096_000, 200_000)
    assert sum(row["bytes"] for row in table.rows) == (1110 << 12) + HUGE
    assert "--stacks` keeps them" in notes(run, "stack")
