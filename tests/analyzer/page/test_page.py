# SPDX-License-Identifier: Apache-2.0
"""What a page shows of a report, and that every format shows just that."""

from __future__ import annotations

import html
import re
from collections.abc import Callable
from typing import Any

import pytest

from memtrace.analyzer.page.page import Note, page
from memtrace.analyzer.render import PAGES, render
from memtrace.analyzer.tables import Column, Report, Table
from memtrace.analyzer.views import view
from memtrace.tests.analyzer.cases import CASES
from memtrace.tests.analyzer.recorded import Case

COLUMNS = (
    Column("event", "event"),
    Column("n", "n", "count", note="n is counted."),
    Column("took_ns", "took", "ns", lambda row: "~" if row["rough"] else ""),
    Column("seen", "seen", "count", if_any=True, note="seen is shown where there is any."),
    Column("never", "never", "ns"),
)
ROWS = tuple(
    {"event": f"e{i}", "n": i, "took_ns": 1500 if i else None, "rough": i == 1, "seen": 0, "never": None}
    for i in range(3)
)


def table(**changes: Any) -> Table:
    given = {"name": "main", "title": "Events", "names": tuple(ROWS[0]), "rows": ROWS, "columns": COLUMNS}
    return Table(**(given | changes))


def report(*tables: Table) -> Report:
    return Report("summary", "title", {}, (("kernel", "6.12"),), tables)


def test_what_has_nothing_or_is_unknown_in_every_row_is_not_shown() -> None:
    (shown,) = page(report(table(top=2, notes=("a note", "- an item")))).tables
    assert [column.name for column in shown.columns] == ["event", "n", "took_ns"]
    assert shown.cells == (("e0", "0", "-"), ("e1", "1", "~1.50us"))
    assert shown.notes == (
        Note("unknown throughout: never"),
        Note("n is counted."),
        Note("estimated (sampling or a difference), not a sum of measured intervals", "~"),
        Note("unknown", "-"),
        Note("(1 more rows in --format json)"),
        Note("a note"),
        Note("an item", item=True),
    )


def test_signs_are_explained_where_they_are_seen() -> None:
    (shown,) = page(report(table(shown=(2,)))).tables
    assert [note.sign for note in shown.notes if note.sign] == []


def test_a_table_with_neither_rows_nor_notes_is_left_out() -> None:
    shown = page(report(table(rows=()), table(rows=(), notes=("nothing was seen",))))
    assert [part.notes for part in shown.tables] == [(Note("nothing was seen"),)]


def _words(text: str) -> str:
    """The words of a page in any format, without its marks."""
    plain = html.unescape(re.sub(r"<[^>]*>", " ", text))
    return " ".join(re.sub(r"[\\`|*]", "", plain).split())


@pytest.mark.parametrize("name", CASES)
def test_every_format_shows_the_same(name: str, run_of: Callable[[Case | str], Any]) -> None:
    made = view(run_of(name), "summary").report
    shown = page(made)
    texts = {form: _words(render(made, form)) for form in PAGES}
    for part in shown.tables:
        lines = [tuple(column.heading for column in part.columns), *part.cells] if part.cells else []
        for form, text in texts.items():
            assert all(_words(note.text) in text for note in part.notes), form
        for form in ("md", "html"):
            assert all(_words(" ".join(line)) in texts[form] for line in lines), form
