# SPDX-License-Identifier: Apache-2.0
"""``memtrace.open()``: a run as DataFrames, and what is refused in a sentence."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

import memtrace
from memtrace.analyzer.model import staged
from memtrace.analyzer.model.declared import declared, of_file
from memtrace.analyzer.opened import OpenRun
from memtrace.analyzer.report import Request, make
from memtrace.errors import MemtraceError
from memtrace.tests.analyzer.recorded import Case, header, status, streamed, write
from memtrace.traces.schema import COLUMN_NAMES

LONG = """-- Events that took long: 20 ns
-- or more.
--
-- Start: ts_ns.
CREATE TEMP TABLE long_ones AS
SELECT
    -- order | number | Its order.
    -- Null: nobody knows.
    "order",
    -- took | ns | Its length.
    -- Bound: at least.
    dur_ns
FROM events WHERE dur_ns >= 20;
"""
CASE = Case(
    [streamed(order=0, dur=10), streamed(order=9, dur=30), streamed(order=None, dur=20, pfn=None)],
    header("alloc"),
    status(),
)


@pytest.fixture
def run(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[OpenRun]:
    """A run with one staged table, ``long_ones``."""
    table = declared("long_ones", LONG)
    monkeypatch.setattr(staged, "tables", lambda: ("long_ones",))
    files = of_file
    monkeypatch.setattr(
        staged, "of_file", lambda package, name: table if name == "long_ones" else files(package, name)
    )
    write(CASE, Path("run.parquet"))
    with memtrace.open("run.parquet") as found:
        yield found


def plain(frame: pd.DataFrame) -> list[list[object]]:
    return [[None if value is pd.NA else value for value in row] for row in frame.to_numpy().tolist()]


def test_a_staged_table_is_a_frame_with_its_columns(run: OpenRun) -> None:
    frame = run.table("long_ones")
    assert {name: str(dtype) for name, dtype in frame.dtypes.items()} == {"order": "Int8", "dur_ns": "Int64"}
    assert sorted(plain(frame), key=str) == [[9, 30], [None, 20]]


def test_the_rows_are_a_table_too(run: OpenRun) -> None:
    frame = run.table("events")
    assert tuple(frame.columns) == COLUMN_NAMES and len(frame) == 3
    assert frame["pfn"].isna().sum() == 1 and str(frame["comm"].dtype) == "string"


def test_the_tables_are_told_with_what_they_are(run: OpenRun) -> None:
    assert plain(run.tables()) == [
        ["long_ones", "Events that took long: 20 ns or more."],
        ["events", "The run's rows, as they are in the file."],
    ]


def test_the_columns_are_told_as_they_are_declared(run: OpenRun) -> None:
    frame = run.columns("long_ones")
    assert list(frame.columns) == ["name", "kind", "meaning", "null", "bound"]
    assert plain(frame) == [
        ["order", "number", "Its order.", "nobody knows.", ""],
        ["dur_ns", "ns", "Its length.", "", "at least."],
    ]


@pytest.mark.parametrize("rows", ["events", "EVENTS"])
def test_a_question_takes_values_and_makes_the_tables_it_names(run: OpenRun, rows: str) -> None:
    sql = f"SELECT count(*), sum(e.dur_ns) FROM {rows} e JOIN Long_Ones USING (dur_ns) WHERE dur_ns < $x"
    assert plain(run.sql(sql, x=30)) == [[1, 20]]


@pytest.mark.parametrize(
    "sql",
    [
        "SELECT * FROM events",
        "FROM events",
        "TABLE events",
        "SELECT COLUMNS('.') FROM events",
        "SELECT e.* FROM events e",
        "SELECT * EXCLUDE (x) FROM (SELECT *, 1 AS x FROM events)",
        "WITH e AS (FROM events) FROM e",
    ],
)
def test_all_columns_may_be_asked_for_without_their_names(run: OpenRun, sql: str) -> None:
    assert tuple(run.sql(sql).columns) == COLUMN_NAMES


def test_rows_may_be_put_together_without_their_names(run: OpenRun) -> None:
    names = ", ".join(f"NULL AS c{i}" for i in range(len(COLUMN_NAMES)))
    assert len(run.sql(f"SELECT {names} UNION ALL FROM events")) == 4


def test_the_rows_may_be_described(run: OpenRun) -> None:
    assert tuple(run.sql("DESCRIBE events")["column_name"]) == COLUMN_NAMES


@pytest.mark.parametrize("value", [np.int64(9), 9, pd.Series([9], dtype="Int64")[0]])
def test_a_value_may_come_from_a_frame(run: OpenRun, value: object) -> None:
    assert plain(run.sql('SELECT dur_ns FROM events WHERE "order" = $order', order=value)) == [[30]]


def test_na_is_null(run: OpenRun) -> None:
    sql = 'SELECT dur_ns FROM events WHERE "order" IS NOT DISTINCT FROM $order'
    assert plain(run.sql(sql, order=pd.NA)) == [[20]]


def test_a_value_may_have_any_name(run: OpenRun) -> None:
    assert plain(run.sql("SELECT $sql AS x, $statement AS y", sql=1, statement="'; --")) == [[1, "'; --"]]


@pytest.mark.parametrize(
    ("sql", "said"),
    [
        ("SELECT * FROM naps", "naps does not exist.*the tables are long_ones, events$"),
        ("SELECT dur_nss, pfn FROM events", '"dur_nss" not found.*dur_ns'),
        ("SELEC 1", "syntax error"),
        ("SELECT $x", "not provided .*x$"),
        ("SELECT comm::INT FROM events", "Could not convert"),
        ("", "takes one SELECT"),
        ("SELECT 1; SELECT 2", "takes one SELECT"),
        ("DROP VIEW events", "takes one SELECT"),
        ("CREATE OR REPLACE TEMP TABLE long_ones AS SELECT 1", "takes one SELECT"),
        ("COPY (SELECT 1) TO 'run.parquet'", "takes one SELECT"),
        ("ATTACH 'other.db'", "takes one SELECT"),
        ("SET enable_external_access = true", "takes one SELECT"),
        ("INSTALL httpfs", "takes one SELECT"),
        ("SELECT * FROM 'other.parquet'", "other.parquet"),
        ("SELECT * FROM read_parquet('other.parquet')", "disabled by configuration"),
        ("SELECT * FROM read_text('/etc/passwd')", "disabled by configuration"),
        ("SELECT * FROM read_csv('/etc/passwd')", "disabled by configuration"),
        ("SELECT * FROM glob('/etc/*')", "disabled by configuration"),
    ],
)
def test_what_duckdb_does_not_take_is_one_sentence(run: OpenRun, sql: str, said: str) -> None:
    write(CASE, Path("other.parquet"))
    before = Path("run.parquet").read_bytes()
    with pytest.raises(MemtraceError, match=said) as refusal:
        run.sql(sql)
    assert "\n" not in str(refusal.value)
    assert Path("run.parquet").read_bytes() == before
    assert len(run.table("events")) == 3


def test_no_variable_is_a_table(run: OpenRun) -> None:
    secret = pd.DataFrame({"x": [1]})
    with pytest.raises(MemtraceError, match="secret does not exist"):
        run.sql("SELECT * FROM secret")
    assert len(secret) == 1


@pytest.mark.parametrize("ask", [OpenRun.table, OpenRun.columns])
@pytest.mark.parametrize("name", ["naps", "", "LONG_ONES; DROP VIEW events", "run"])
def test_an_unknown_table_is_told_with_those_there_are(
    run: OpenRun, ask: Callable[[OpenRun, str], object], name: str
) -> None:
    with pytest.raises(MemtraceError, match=r"there is no table .*long_ones") as refusal:
        ask(run, name)
    assert refusal.value.exit_code == 2


def test_a_view_has_the_tables_of_its_json(run: OpenRun) -> None:
    document = json.loads(make(Request(("run.parquet",), format="json")))
    frames = run.view()
    assert list(frames) == list(document["tables"])
    for name, rows in document["tables"].items():
        assert [dict(zip(frames[name].columns, row, strict=True)) for row in plain(frames[name])] == rows


def test_a_view_takes_the_words_of_the_command_line(run: OpenRun) -> None:
    assert list(run.view("summary", by="comm")["main"]["comm"]) == ["memhog"]
    assert set(run.view("accept", window="+0..+1"))
    with pytest.raises(MemtraceError, match="knows no 'naps'"):
        run.view("naps")
    with pytest.raises(MemtraceError, match="--window"):
        run.view("summary", window="+0..+1")


def test_the_facts_are_those_of_the_json(run: OpenRun) -> None:
    document = json.loads(make(Request(("run.parquet",), format="json")))
    assert run.facts == document["run"]


def test_a_run_that_is_closed_says_so(run: OpenRun) -> None:
    frame = run.table("events")
    run.close()
    run.close()
    for ask in (run.view, lambda: run.table("events"), lambda: run.sql("SELECT 1")):
        with pytest.raises(MemtraceError, match="is closed"):
            ask()
    assert len(frame) == 3


def test_a_run_that_was_cut_short_opens(folder: Path) -> None:
    write(Case(CASE.rows, CASE.header, CASE.status, cut_short=True), Path("cut.parquet"))
    with memtrace.open(Path("cut.parquet")) as run:
        assert plain(run.sql("SELECT count(*) FROM events")) == [[3]]


def test_what_is_no_run_is_one_sentence(folder: Path) -> None:
    Path("text").write_text("no run")
    for name in ("text", "missing", "."):
        with pytest.raises(MemtraceError, match=f"^{name} "):
            memtrace.open(name)


def test_damage_that_is_met_later_is_told_as_damage(folder: Path) -> None:
    write(Case(list(CASE.rows) * 2000, CASE.header, CASE.status), Path("run.parquet"))
    data = bytearray(Path("run.parquet").read_bytes())
    for at in range(len(data) // 8, len(data) // 2):
        data[at] ^= 0x5A
    Path("run.parquet").write_bytes(data)
    with memtrace.open("run.parquet") as run:
        with pytest.raises(MemtraceError, match=r"^run\.parquet is damaged"):
            run.table("events")
        with pytest.raises(MemtraceError, match=r"^run\.parquet is damaged"):
            run.sql("SELECT sum(pfn), max(stack), max(comm) FROM events")


def test_importing_memtrace_imports_nothing_heavy() -> None:
    script = (
        "import sys, typing, collections.abc; before = set(sys.modules); import memtrace; memtrace.open;"
        "print(sorted(set(sys.modules) - before))"
    )
    found = subprocess.check_output([sys.executable, "-c", script], text=True)
    assert found == "['memtrace', 'memtrace.errors']\n"
