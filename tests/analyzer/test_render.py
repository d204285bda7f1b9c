# SPDX-License-Identifier: Apache-2.0
"""Formats: the same report for people and machines."""

from __future__ import annotations

import csv
import dataclasses
import io
import json
from collections.abc import Callable
from typing import Any

import pytest

from memtrace.analyzer.render import FORMATS, render
from memtrace.analyzer.render.units import written
from memtrace.analyzer.summary import view
from memtrace.analyzer.tables import Caveat, Column, Report, Table
from memtrace.errors import MemtraceError
from memtrace.tests.analyzer.cases import CASES
from memtrace.tests.analyzer.recorded import Case
from memtrace.traces.reader import Run

RunOf = Callable[[Case | str], Run]
ROWS = (
    {"event": "alloc", "who": "a|b\x1b[31m", "n": 1, "took_ns": 1500, "rough": True, "seen": 0},
    {"event": "alloc", "who": None, "n": 12_345_678, "took_ns": None, "rough": False, "seen": 0},
    {"event": "zero", "who": "_x*", "n": 3, "took_ns": 0, "rough": False, "seen": 0},
)
TABLE = Table(
    "main",
    "By event, who",
    ("event", "who", "n", "took_ns", "rough", "seen"),
    ROWS,
    (
        Column("event", "event"),
        Column("who", "who"),
        Column("n", "n", "count"),
        Column("took_ns", "took", "ns", lambda row: "~" if row["rough"] else ""),
        Column("seen", "seen", "count", if_any=True),
    ),
    keys=2,
    section=True,
    notes=("a note",),
)
STACK = ";".join(f"function_{i}" for i in range(30))


def report(*tables: Table) -> Report:
    return Report(
        "summary",
        "title",
        {"file": "x"},
        (("kernel", "6.12 " * 30), ("b", "c")),
        tables,
        (Caveat("id", "text"),),
    )


def text(*tables: Table, color: bool = False) -> str:
    return render(report(*tables), "text", color=color)


@pytest.mark.parametrize(
    ("value", "kind", "expected"),
    [
        (None, "ns", "-"),
        (0, "ns", "0ns"),
        (999, "ns", "999ns"),
        (1000, "ns", "1.00us"),
        (999_499, "ns", "999us"),
        (999_500, "ns", "1.00ms"),
        (12_345_678, "ns", "12.3ms"),
        (3_600_000_000_000, "ns", "3.60ks"),
        (0, "bytes", "0B"),
        (1023, "bytes", "1023B"),
        (4096, "bytes", "4.00Ki"),
        (1 << 40, "bytes", "1.00Ti"),
        (9_999_999, "count", "9999999"),
        (10_000_000, "count", "10.0M"),
        (12_999_012, "count", "13.0M"),
        (0, "rate", "0"),
        (0.0016, "rate", "0.0016"),
        (0.123, "rate", "0.12"),
        (12.34, "rate", "12.3"),
        (99.96, "rate", "100"),
        (2_345_678, "rate", "2345678"),
        (0, "share", "0%"),
        (0.0001, "share", "<0.1%"),
        (0.1234, "share", "12.3%"),
        (0.99999, "share", ">99.9%"),
        (1, "share", "100%"),
        (-5, "signed", "-5"),
        (5, "signed", "+5"),
        (0, "signed", "0"),
        (-1, "number", "-1"),
        ("a\nb\x1b", "text", "a\\nb\\x1b"),
    ],
)
def test_numbers_for_people(value: Any, kind: Any, expected: str) -> None:
    assert written(value, kind) == expected


def test_the_page_marks_what_is_not_plain_and_explains_the_marks() -> None:
    lines = text(TABLE).splitlines()
    start = lines.index("By event, who")
    assert lines[start : start + 9] == [
        "By event, who",
        "  who              n     took",
        " alloc",
        "  a|b\\x1b[31m      1  ~1.50us",
        "  -            12.3M        -",
        " zero",
        "  _x*              3      0ns",
        "  ~ estimated (sampling or a difference), not a sum of measured intervals",
        "  - unknown",
    ]
    assert lines[start + 9] == "  a note"


def test_a_column_that_is_unknown_throughout_is_named_not_drawn() -> None:
    rows = tuple(row | {"took_ns": None} for row in ROWS)
    page = text(dataclasses.replace(TABLE, rows=rows))
    assert "  unknown throughout: took\n" in page
    assert "took" not in page.split("By event, who\n")[1].splitlines()[0]


def test_color_is_only_for_headings_and_only_if_asked_for() -> None:
    assert "\x1b" not in text(TABLE)
    colored = text(TABLE, color=True)
    assert "\x1b[1mBy event, who\x1b[0m" in colored
    assert colored.replace("\x1b[1m", "").replace("\x1b[0m", "") == text(TABLE)


def test_the_top_of_a_table_says_how_much_is_left_out() -> None:
    page = text(dataclasses.replace(TABLE, top=1))
    assert "(1 more rows in --format json)" in page and "12.3M" not in page


def test_a_wide_table_comes_in_blocks_that_repeat_the_keys() -> None:
    names = [f"column_{i}_ns" for i in range(12)]
    columns = tuple(Column(name, name, "ns", block=i // 6) for i, name in enumerate(names))
    row = {"event": "alloc", "who": "w" * 100, **dict.fromkeys(names, 12_345)}
    wide = dataclasses.replace(
        TABLE, names=tuple(row), rows=(row,), columns=(*TABLE.columns[:2], *columns[:4], *columns[6:10])
    )
    lines = text(wide).splitlines()
    assert [line.split()[1] for line in lines if line.startswith("  who")] == ["column_0_ns", "column_6_ns"]
    assert max(map(len, lines)) < 80
    assert sum("www.." in line for line in lines) == 2


def test_of_a_stack_the_end_is_kept() -> None:
    row = {
        "event": "alloc",
        "who": STACK,
        "n": 1,
        "took_ns": 1,
        "seen": 0,
    }
    columns = (TABLE.columns[0], Column("who", "stack", "stack"), *TABLE.columns[2:3])
    page = text(dataclasses.replace(TABLE, rows=(row,), columns=columns))
    assert "  ..26;function_27;function_28;function_29  1\n" in page


def test_json_has_all_rows_and_columns_whatever_a_page_shows() -> None:
    document = json.loads(render(report(dataclasses.replace(TABLE, top=1, shown=(0,))), "json"))
    assert document["schema"] == 1
    assert document["tables"] == {"main": [dict(row) for row in ROWS]}
    assert document["caveats"] == [{"id": "id", "text": "text"}]
    assert document["run"] == {"file": "x"}


def test_csv_is_the_main_table_with_unknown_empty() -> None:
    rows = list(
        csv.reader(io.StringIO(render(report(dataclasses.replace(TABLE, name="other"), TABLE), "csv")))
    )
    assert rows[0] == list(TABLE.names)
    assert rows[2] == ["alloc", "", "12345678", "", "False", "0"]


def test_markdown_escapes_what_would_be_markup() -> None:
    page = render(report(TABLE), "md")
    assert "| alloc | a\\|b\\\\x1b\\[31m | 1 | \\~1.50us |" in page
    assert "| zero | \\_x\\* | 3 | 0ns |" in page
    assert "- `~` estimated" in page
    assert "| event | who | n | took |\n| --- | --- | ---: | ---: |" in page


def test_an_unknown_format_is_a_usage_error() -> None:
    with pytest.raises(MemtraceError, match="text, json, csv, md") as error:
        render(report(), "pdf")
    assert error.value.exit_code == 2


@pytest.mark.parametrize("name", CASES)
@pytest.mark.parametrize("format_", FORMATS)
def test_every_case_renders_in_every_format(
    name: str, format_: str, run_of: Callable[[Case | str], Run]
) -> None:
    rendered = render(view(run_of(name)).report, format_)
    assert rendered.endswith("\n") and not rendered.endswith("\n\n")
    assert "NaN" not in rendered and "None" not in rendered and "nan" not in rendered.lower().split()
    if format_ == "json":
        document = json.loads(rendered)
        assert set(document) == {"schema", "view", "run", "tables", "caveats"}
        for rows in document["tables"].values():
            assert len({tuple(row) for row in rows}) <= 1, "all rows of a table have the same columns"
    if format_ == "text":
        assert max(map(len, rendered.splitlines())) < 80
