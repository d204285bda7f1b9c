# SPDX-License-Identifier: Apache-2.0
"""What a table's .sql file says of itself: a file, and what is read in it."""

from __future__ import annotations

import pytest

from memtrace.analyzer.model.declared import DeclaredColumn, declared, of_file
from memtrace.analyzer.model.staged import PACKAGE

HEAD = """-- SPDX-License-Identifier: Apache-2.0
-- Naps of threads.
--
-- Start: ts_ns.  End: unknown.
-- Needs: people, beds.
"""


def column(lines: str) -> DeclaredColumn:
    """The one column of a file."""
    (found,) = declared("naps", f"{HEAD}CREATE TEMP TABLE naps AS\nSELECT\n{lines}\nFROM events;\n").columns
    return found


def test_the_head_is_the_tables_prose_without_licence_and_needs() -> None:
    table = declared(
        "naps", f"{HEAD}CREATE TEMP TABLE naps AS\nSELECT\n    -- | ns | Start.\n    ts_ns\nFROM events;"
    )
    assert table.about == "Naps of threads.\n\nStart: ts_ns.  End: unknown."
    assert table.needs == ("people", "beds")
    assert [one.name for one in table.columns] == ["ts_ns"]


@pytest.mark.parametrize(
    "prose", ["Naps of\n-- threads.", "Naps of\n-- threads.  Not of cats.\n--\n-- Start: ts_ns."]
)
def test_the_first_sentence_says_what_a_row_is(prose: str) -> None:
    text = f"-- {prose}\nSELECT\n    -- | ns | Length.\n    dur_ns\nFROM events;"
    assert declared("naps", text).what == "Naps of threads."


def test_a_file_may_need_nothing() -> None:
    assert declared("naps", "-- Naps.\nSELECT\n    -- | ns | Length.\n    dur_ns\nFROM events;").needs == ()


@pytest.mark.parametrize(
    ("expression", "name"),
    [
        ("    ts_ns,", "ts_ns"),
        ("    ts_ns - dur_ns AS begin_ns,", "begin_ns"),
        ("    e.begin_ns,", "begin_ns"),
        ('    "order",', "order"),
        ('    e."order",', "order"),
        ('    max(depth) AS "order"', "order"),
        ("    coalesce(a, 'b, c', [d, e]) AS two,\n    three,", "two"),
        ("    CASE WHEN a THEN 1\n        ELSE 2\n    END AS two,", "two"),
    ],
)
def test_a_column_has_the_name_that_its_expression_gives(expression: str, name: str) -> None:
    assert column(f"    -- | number | Words.\n{expression}").name == name


def test_what_follows_the_kind_is_how_a_page_shows_it() -> None:
    shown = column("    -- took | ns, if any, block 2, mark ~ where guess | Length.\n    dur_ns")
    assert (shown.heading, shown.kind, shown.if_any, shown.block) == ("took", "ns", True, 2)
    page = shown.column()
    assert page.mark is not None
    assert (page.mark({"guess": True}), page.mark({"guess": False}), page.mark({"guess": None})) == (
        "~",
        "",
        "",
    )


def test_meaning_null_and_bound_may_each_take_several_lines() -> None:
    found = column(
        "    -- gap | ns | From the one\n    -- to the other.\n"
        "    -- Null: it was\n    -- not seen.\n    -- Bound: at least, where cut.\n    gap_ns"
    )
    assert (found.meaning, found.null, found.bound) == (
        "From the one to the other.",
        "it was not seen.",
        "at least, where cut.",
    )


def test_without_such_lines_a_column_is_exact_and_never_null() -> None:
    found = column("    -- | ns | Length.\n    dur_ns")
    assert (found.heading, found.null, found.bound) == ("", "", "")


def test_a_heading_may_be_empty() -> None:
    table = declared(
        "naps", "SELECT\n    -- | number | One.\n    a,\n    -- two | number | Two.\n    b\nFROM t;"
    )
    assert [(one.name, one.heading) for one in table.columns] == [("a", ""), ("b", "two")]
    assert table.column("b") == table.columns[1] and table.column("c") is None


def test_what_is_taken_over_as_it_is_needs_no_declaration() -> None:
    table = declared("naps", "SELECT\n    a,\n    -- b | ns | B.\n    coalesce(x, y) AS b,\n    c\nFROM t;")
    assert [one.name for one in table.columns] == ["b"]


@pytest.mark.parametrize(
    ("lines", "why"),
    [
        ("    -- a | furlong | Words.\n    a", "'furlong' is no kind of column"),
        ("    -- a | ns, blinking | Words.\n    a", "'blinking' is nothing that a column can be"),
        ("    -- a | ns, mark ! where b | Words.\n    a", "'mark ! where b' is nothing"),
        ("    -- a | ns | Words.\n    count(*)", "line 8: a column without a name"),
        ("    -- a | ns | Words.", "line 8: a column without a name"),
    ],
)
def test_what_cannot_be_understood_is_refused(lines: str, why: str) -> None:
    with pytest.raises(ValueError, match="naps") as refusal:
        column(lines)
    assert why in str(refusal.value)


def test_a_declaration_at_the_end_of_a_file_has_no_name() -> None:
    with pytest.raises(ValueError, match="line 2: a column without a name"):
        declared("naps", "SELECT\n    -- a | ns | Words.")


def test_a_table_without_a_file_is_not_found() -> None:
    with pytest.raises(FileNotFoundError):
        of_file(PACKAGE, "no_such_table")
