# SPDX-License-Identifier: Apache-2.0
"""The summary view: which tables it has, and what it does when there are too many groups."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from memtrace.analyzer import scan
from memtrace.analyzer.keys import parse_keys
from memtrace.analyzer.summary import view
from memtrace.analyzer.tables import Table
from memtrace.analyzer.views import VIEWS, Choice
from memtrace.analyzer.views import view as named
from memtrace.errors import MemtraceError
from memtrace.tests.analyzer.recorded import Case, header, status, streamed
from memtrace.traces.reader import Run

RunOf = Callable[[Case | str], Run]
ORDER = ["events", "main", "tasks", "losses", "ledger", "integrity", "sites", "tracer", "apart", "snapshots"]


def table(run: Run, name: str, by: str | None = None) -> Table:
    found = view(run, Choice(parse_keys(by))).report.table(name)
    assert found is not None
    return found


def test_its_tables(run_of: RunOf) -> None:
    assert [t.name for t in view(run_of("streamed")).report.tables] == ORDER
    assert "callers" in [t.name for t in view(run_of("stacks")).report.tables]


def test_the_events_are_the_sums_of_the_main_table(run_of: RunOf) -> None:
    run = run_of("streamed")
    for total in table(run, "events").rows:
        of = [row for row in table(run, "main").rows if row["event"] == total["event"]]
        assert len(of) > 1
        for name in ("count", "bytes", "total_ns", "self_ns", "durations"):
            assert sum(row[name] for row in of) == total[name]


def test_rows_of_many_valued_keys_are_ranked_by_cost(run_of: RunOf) -> None:
    rows = [streamed(dur=100 * (i % 13), comm=f"task{i % 13}") for i in range(60)]
    main = table(run_of(Case(rows, header("alloc"), status())), "main", "comm")
    costs = [row["total_ns"] for row in main.rows]
    assert costs == sorted(costs, reverse=True)
    shown, cut = main.page()
    assert (len(shown), cut) == (10, 3)


@pytest.fixture
def crowded(run_of: RunOf) -> Run:
    """Twenty processes, four durations each."""
    rows = [streamed(dur=100 * 3**j, pid=i) for i in range(20) for j in range(4)]
    return run_of(Case(rows, header("alloc"), status()))


def test_too_many_groups_cost_the_quantiles(crowded: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(scan, "MAX_GROUPS", 30)
    report = view(crowded, Choice(parse_keys("pid"))).report
    main = report.table("main")
    assert main is not None and len(main.rows) == 20
    assert {row["count"] for row in main.rows} == {4} and {row["p50_ns"] for row in main.rows} == {None}
    assert "no-quantiles" in {c.id for c in report.caveats}
    assert "no-quantiles" not in {c.id for c in view(crowded).report.caveats}


def test_far_too_many_groups_are_an_error(crowded: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(scan, "MAX_GROUPS", 15)
    with pytest.raises(MemtraceError, match="give --by fewer keys"):
        view(crowded, Choice(parse_keys("pid")))


def test_too_many_tasks_do_not_cost_the_report(crowded: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(scan, "MAX_GROUPS", 15)
    tasks = table(crowded, "tasks")
    assert tasks.rows == () and tasks.notes == ("grouped by event, comm, pid there are more than 15 groups",)


def test_every_view_is_there(run_of: RunOf) -> None:
    for name in VIEWS:
        if name == "gmem":
            with pytest.raises(MemtraceError, match="record -e gmem"):
                named(run_of("streamed"), name)
        else:
            assert named(run_of("streamed"), name).report.view == name


def test_an_unknown_view_is_a_usage_error(run_of: RunOf) -> None:
    with pytest.raises(MemtraceError, match="it takes summary, boot") as error:
        named(run_of("empty"), "nonsense")
    assert error.value.exit_code == 2
