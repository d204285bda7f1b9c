# SPDX-License-Identifier: Apache-2.0
"""The staged tables phases and phase_sources: which source is the best, and what is kept beside it."""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Callable, Sequence

import pytest

from memtrace.analyzer.model.staged import model
from memtrace.analyzer.tables import Row
from memtrace.tests.analyzer.recorded import Case, header, status
from memtrace.traces.reader import Run
from memtrace.traces.run import Phase

RunOf = Callable[[Case | str], Run]
MS = 1_000_000
VAGUE = Phase("deferred", 0, 2000 * MS, "ftrace", 1030 * MS, nid=0)
CLOSE = Phase("deferred", 10 * MS, 700 * MS, "dmesg", 4 * MS, nid=0)


def asked(run_of: RunOf, told: Sequence[Phase], query: str) -> list[Row]:
    made = dataclasses.replace(header("alloc"), phases=tuple(told))
    with model(run_of(Case((), made, status()))) as tables:
        tables.need("phases")
        return list(tables.query(query))


def best(run_of: RunOf, told: Sequence[Phase]) -> list[tuple[object, ...]]:
    query = "SELECT phase, nid, source, length_ns FROM phases ORDER BY place, phase, nid NULLS FIRST"
    return [tuple(row.values()) for row in asked(run_of, told, query)]


@pytest.mark.parametrize("told", list(itertools.permutations((VAGUE, CLOSE))))
def test_the_least_uncertain_source_is_the_best_wherever_it_stands(
    run_of: RunOf, told: tuple[Phase, ...]
) -> None:
    assert best(run_of, told) == [("deferred", 0, "dmesg", 690 * MS)]
    (row,) = asked(run_of, told, "SELECT start_ns, end_ns, resolution_ns, sources FROM phases")
    assert row == {"start_ns": 10 * MS, "end_ns": 700 * MS, "resolution_ns": 4 * MS, "sources": 2}


@pytest.mark.parametrize(
    ("one", "other", "wanted"),
    [
        (Phase("core", None, 9, "a", 1), Phase("core", 2, 9, "b", 4 * MS), ("b", 7)),
        (Phase("core", 1, None, "a", 1), Phase("core", 2, 9, "b", None), ("b", 7)),
        (Phase("core", 9, 1, "a", 1), Phase("core", 2, 9, "b", 4 * MS), ("b", 7)),
        (Phase("core", 1, 9, "a", None), Phase("core", 2, 9, "b", 10**9), ("b", 7)),
        (Phase("core", 1, 9, "b", 5), Phase("core", 2, 9, "a", 5), ("b", 8)),
        (Phase("core", 2, 9, "b", 5), Phase("core", 2, 9, "a", 5), ("a", 7)),
        (Phase("core", None, 9, "b", 5), Phase("core", None, 8, "a", 1), ("a", None)),
    ],
    ids=["one end", "one end, beside unknown", "end before start", "unknown", "reach", "name", "no length"],
)
def test_the_rules_by_which_a_source_is_the_best(
    run_of: RunOf, one: Phase, other: Phase, wanted: tuple[str, int | None]
) -> None:
    for told in ((one, other), (other, one)):
        assert best(run_of, told) == [("core", None, *wanted)]


def test_each_node_has_its_own_best_source(run_of: RunOf) -> None:
    told = [VAGUE, CLOSE, dataclasses.replace(VAGUE, nid=1), Phase("firmware", -5, 0, "fpdt", None)]
    assert best(run_of, told) == [
        ("firmware", None, "fpdt", 5),
        ("deferred", 0, "dmesg", 690 * MS),
        ("deferred", 1, "ftrace", 2000 * MS),
    ]


def test_the_other_sources_are_kept_in_their_order(run_of: RunOf) -> None:
    third = dataclasses.replace(VAGUE, source="systemd", resolution_ns=None)
    query = "SELECT source, choice, length_ns FROM phase_sources ORDER BY choice"
    rows = asked(run_of, (third, VAGUE, CLOSE), query)
    assert [tuple(row.values()) for row in rows] == [
        ("dmesg", 1, 690 * MS),
        ("ftrace", 2, 2000 * MS),
        ("systemd", 3, 2000 * MS),
    ]


def test_shares_are_of_the_time_that_the_chosen_rows_span(run_of: RunOf) -> None:
    told = [
        Phase("core", 0, 100, "dmesg", 1),
        Phase("core", -1000, 100, "guess", 50),
        Phase("initcalls", 100, 300, "dmesg", 1),
        Phase("initramfs", 400, None, "dmesg", 1),
    ]
    rows = asked(run_of, told, "SELECT phase, share FROM phases ORDER BY place")
    assert [tuple(row.values()) for row in rows] == [("core", 0.25), ("initcalls", 0.5), ("initramfs", None)]


def test_a_boot_without_extent_has_no_shares_and_one_without_phases_no_rows(run_of: RunOf) -> None:
    assert asked(run_of, [Phase("core", 5, 5, "x")], "SELECT length_ns, share FROM phases") == [
        {"length_ns": 0, "share": None}
    ]
    assert best(run_of, []) == []
