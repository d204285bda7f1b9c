# SPDX-License-Identifier: Apache-2.0
"""``report --view zero --by tree|task|cgroup|stack``; the package says what its numbers mean."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import TYPE_CHECKING

from memtrace.analyzer.facts import facts, heading, page_title
from memtrace.analyzer.in_file import in_partials, numbers
from memtrace.analyzer.integrity import needs_pfn
from memtrace.analyzer.keys import DEFAULT
from memtrace.analyzer.scan import connect, partials
from memtrace.analyzer.tables import Report, Table
from memtrace.analyzer.views import Result
from memtrace.analyzer.zero.by.holds import Holds, holds
from memtrace.analyzer.zero.by.stacks import callsites, stacks
from memtrace.analyzer.zero.by.tree import tree
from memtrace.analyzer.zero.by.who import cgroups, tasks
from memtrace.analyzer.zero.caveats import caveats_of
from memtrace.analyzer.zero.clearing import bandwidth
from memtrace.analyzer.zero.coverage import coverage
from memtrace.analyzer.zero.totals import totals_of
from memtrace.analyzer.zero.unseen import no_clear

if TYPE_CHECKING:
    import duckdb

    from memtrace.traces.reader import Run


def view(run: Run, word: str) -> Result:
    """The clears of a run by ``word``, one of views.GROUPINGS["zero"]; and what could not be seen."""
    with connect(run) as connection:
        parts = partials(run, DEFAULT, connection, with_pfn=needs_pfn(run.status))
        held = holds(run, connection)
        found = _tables(run, word, connection, held)
    whole = in_partials(parts)
    report = Report(
        view="zero",
        title=page_title(run, "zero", word),
        run={**facts(run), **numbers(run, whole)},
        heading=heading(run, whole),
        tables=(*found, coverage(run.header)),
        caveats=caveats_of(run, parts, sums=not held.streamed),
        main=found[-1].name,
    )

    def draw(path: Path) -> None:
        from memtrace.analyzer.zero.picture import draw_zero

        with connect(run) as connection:
            totals = totals_of(run, connection)
        draw_zero(
            run, dataclasses.replace(report, tables=(bandwidth(totals, no_clear(run.header)),)), totals, path
        )

    return Result(report, draw)


def _tables(run: Run, word: str, connection: duckdb.DuckDBPyConnection, held: Holds) -> tuple[Table, ...]:
    """The tables for a word; the last one is the main one."""
    if word == "tree":
        return (tree(run, connection, held),)
    if word == "task":
        return (tasks(run, connection, held),)
    if word == "cgroup":
        return (cgroups(run, connection, held),)
    found = stacks(run, connection, held)
    return (found,) if found.rows else (found, callsites(run, connection, held))
