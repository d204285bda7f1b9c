# SPDX-License-Identifier: Apache-2.0
"""Each place that foreign text goes, with every hostile string."""

from __future__ import annotations

import csv
import io
import math
from pathlib import Path

import pytest

from memtrace import safe
from memtrace.tests import hostile


@pytest.mark.parametrize("text", hostile.ALL)
def test_nothing_steers_a_terminal(text: str) -> None:
    assert not hostile.steers(safe.terminal(text))
    assert "\n" not in safe.terminal(text)
    assert not hostile.steers(safe.page(text))
    safe.terminal(text).encode()


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("plain text, 中文, é", "plain text, 中文, é"),
        ("\x1b[31m\x9b\x7f", "\\x1b[31m\\x9b\\x7f"),
        ("a\nb\tc\r", "a\\nb\\tc\\r"),
        ("\u202e\u200b", "\\u202e\\u200b"),
        ("\U000e0041", "\\U000e0041"),
        ("\udcff\udcfebad", "\\xff\\xfebad"),
        ("\ud800", "\\ud800"),
    ],
)
def test_what_is_unsafe_is_shown_escaped(text: str, shown: str) -> None:
    assert safe.terminal(text) == shown


def test_a_page_keeps_its_lines() -> None:
    assert safe.page("a\n\x1b b\n") == "a\n\\x1b b\n"


@pytest.mark.parametrize("text", hostile.ALL)
def test_no_cell_is_a_formula(text: str) -> None:
    out = io.StringIO()
    csv.writer(out, lineterminator="\n").writerows([["a", "b"], [safe.csv_cell(text), safe.csv_cell(1)]])
    assert not hostile.runs_in_spreadsheet(out.getvalue())
    assert not hostile.steers(out.getvalue())


@pytest.mark.parametrize(
    ("value", "cell"),
    [
        (-5, -5),
        (-1.5, -1.5),
        (True, True),
        (None, None),
        (math.nan, None),
        (-math.inf, None),
        ("-5", "-5"),
        ("+1.5e9", "+1.5e9"),
        ("-5+1", "'-5+1"),
        ("=1", "'=1"),
        ("a-b", "a-b"),
        ("main;@x;y", "main;'@x;y"),
    ],
)
def test_numbers_stay_numbers(value: object, cell: object) -> None:
    assert safe.csv_cell(value) == cell


@pytest.mark.parametrize("text", hostile.ALL)
def test_markup_is_text(text: str) -> None:
    assert not hostile.smuggled(f'<p title="{safe.markup(text)}">{safe.markup(text)}</p>')
    assert not hostile.smuggled(f"<p title='{safe.markup(text)}'></p>")


@pytest.mark.parametrize("text", hostile.ALL)
def test_json_is_what_any_reader_takes(text: str) -> None:
    made = safe.json_text({text: [text, {"x": (text, math.nan)}], "y": math.inf})
    assert made.isascii() and made.isprintable()
    found = hostile.document(made)
    assert found["y"] is None
    if text in hostile.IN_UTF8:
        assert found[text] == [text, {"x": [text, None]}]


@pytest.mark.parametrize("text", hostile.ALL)
def test_a_file_name_is_one_in_its_folder(text: str, tmp_path: Path) -> None:
    name = safe.file_name(text)
    path = tmp_path / name
    path.touch()
    assert path.parent == tmp_path and path.name == name
    assert [p.name for p in tmp_path.iterdir()] == [name]
    assert name[0] not in "-.~" and len(name.encode()) <= 100 and not hostile.steers(name)
