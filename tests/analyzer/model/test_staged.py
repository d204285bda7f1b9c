# SPDX-License-Identifier: Apache-2.0
"""Tables are made once, when they are asked for, over the run's rows."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest

from memtrace.analyzer.model import staged
from memtrace.analyzer.model.declared import declared
from memtrace.analyzer.model.plain import put
from memtrace.analyzer.model.staged import Model, model
from memtrace.errors import MemtraceError
from memtrace.tests.analyzer.recorded import Case, header, status, streamed
from memtrace.traces.reader import Run
from memtrace.traces.schema import COLUMN_NAMES

ROWS = [streamed(order=0, dur=10), streamed(order=9, dur=30, ts_ns=2 * 10**12), streamed(order=None)]
LONG = """-- Long ones.
-- Needs: limits.
CREATE TEMP TABLE long_ones AS
SELECT
    -- order | number | Its order.
    "order",
    -- took | ns | Its length.
    dur_ns
FROM events JOIN limits ON dur_ns >= limits.at_least;
"""


@pytest.fixture
def tables(run_of: Callable[[Case | str], Run]) -> Iterator[Model]:
    with model(run_of(Case(ROWS, header("alloc"), status()))) as found:
        yield found


@pytest.fixture
def made(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """A step that makes ``limits``, and each time that it was called."""
    calls: list[str] = []

    def limits(to: Model) -> None:
        calls.append("limits")
        put(to.connection, "limits", {"at_least": ([20], "int64")})

    monkeypatch.setattr(staged, "STEPS", {"limits": limits})
    return calls


def test_a_table_comes_after_what_it_needs(tables: Model, made: list[str]) -> None:
    tables.make(declared("long_ones", LONG))
    assert tables.query("SELECT * FROM long_ones") == [{"order": 9, "dur_ns": 30}]
    assert made == ["limits"]


def test_what_is_needed_twice_is_made_once(tables: Model, made: list[str]) -> None:
    tables.need("limits", "limits")
    tables.need("limits")
    assert made == ["limits"]


def test_what_failed_once_is_tried_again(tables: Model, monkeypatch: pytest.MonkeyPatch) -> None:
    tries: list[int] = []

    def fails_first(to: Model) -> None:
        tries.append(1)
        if len(tries) == 1:
            raise MemtraceError("there is no room")
        put(to.connection, "late", {"x": ([1], "int64")})

    monkeypatch.setattr(staged, "STEPS", {"late": fails_first})
    with pytest.raises(MemtraceError, match="no room"):
        tables.need("late")
    assert tables.rows("late") == [{"x": 1}]


def test_a_query_takes_values_and_sees_the_columns_that_it_names(tables: Model) -> None:
    found = tables.query('SELECT "order", dur_ns FROM events WHERE dur_ns > $least', {"least": 20})
    assert found == [{"order": 9, "dur_ns": 30}]
    assert tables.query("SELECT count(*) AS n FROM events") == [{"n": 3}]


def test_what_is_unknown_is_none(tables: Model) -> None:
    assert tables.query('SELECT bytes, "order" FROM events WHERE dur_ns IS NULL') == [
        {"bytes": None, "order": None}
    ]


def test_the_rows_may_have_all_columns(tables: Model) -> None:
    tables.let_rows_be_whole()
    assert tuple(tables.connection.table("events").columns) == COLUMN_NAMES


def test_there_is_a_name_for_each_file_and_a_sentence_for_others() -> None:
    assert staged.tables() == tuple(sorted(set(staged.tables())))
    for name in staged.tables():
        assert staged.table(name).name == name
    with pytest.raises(MemtraceError, match=r"no table 'naps'; there are .*hot_") as refusal:
        staged.table("naps")
    assert refusal.value.exit_code == 2
