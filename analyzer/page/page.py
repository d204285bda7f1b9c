# SPDX-License-Identifier: Apache-2.0
"""What a page shows of a report: rows, columns, cells as texts, and the notes that hold for these.

Not shown are rows beyond a table's top, columns marked if_any that have nothing, and those that
are unknown in every row shown, which are named in a note instead.  A table with neither rows nor
notes is left out.  Texts are as they come from the run: each format escapes them its own way.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from memtrace.analyzer.render.units import legend, written
from memtrace.analyzer.tables import Caveat, Column, Report, Row, Table


@dataclass(frozen=True)
class Note:
    """A sentence under a table."""

    text: str
    sign: str = ""
    """A sign before cells that it explains."""
    item: bool = False
    """Whether it is one of a list."""


@dataclass(frozen=True)
class PageTable:
    """One table as it is shown."""

    name: str
    title: str
    columns: tuple[Column, ...]
    """Those shown, keys first."""
    keys: int
    """How many of them name the row."""
    section: bool
    """Whether the first key heads a section of rows."""
    cells: tuple[tuple[str, ...], ...]
    """A text for each row and column shown."""
    notes: tuple[Note, ...]


@dataclass(frozen=True)
class Page:
    """A report as it is shown."""

    title: str
    heading: tuple[tuple[str, str], ...]
    tables: tuple[PageTable, ...]
    caveats: tuple[Caveat, ...]
    figures: tuple[str, ...]


def page(report: Report) -> Page:
    """What is shown of a report."""
    tables = (_table(table) for table in report.tables)
    shown = tuple(table for table in tables if table.cells or table.notes)
    return Page(report.title, report.heading, shown, report.caveats, report.figures)


def _table(table: Table) -> PageTable:
    rows, cut = table.page()
    some = [not c.if_any or any(row[c.name] for row in rows) for c in table.columns]
    keys = tuple(itertools.compress(table.columns[: table.keys], some))
    measures = tuple(itertools.compress(table.columns[table.keys :], some[table.keys :]))
    blank = tuple(c for c in measures if all(row[c.name] is None for row in rows))
    columns = (*keys, *(c for c in measures if c not in blank))
    return PageTable(
        table.name,
        table.title,
        columns,
        len(keys),
        table.section,
        tuple(tuple(_cell(column, row) for column in columns) for row in rows),
        (*(_of_cells(columns, blank, rows) if rows else ()), *_of_table(table, cut)),
    )


def _cell(column: Column, row: Row) -> str:
    value = row[column.name]
    text = written(value, column.kind)
    return column.mark(row) + text if column.mark and value is not None else text


def _of_cells(columns: Sequence[Column], blank: Sequence[Column], rows: Sequence[Row]) -> Iterator[Note]:
    if blank:
        yield Note(f"unknown throughout: {', '.join(c.heading for c in blank)}")
    yield from (Note(note) for note in dict.fromkeys(c.note for c in columns if c.note))
    yield from (Note(text, sign) for sign, text in legend(columns, rows))


def _of_table(table: Table, cut: int) -> Iterator[Note]:
    if cut:
        yield Note(f"({cut} more rows in --format json)")
    for note in table.notes:
        yield Note(note.removeprefix("- "), item=note.startswith("- "))
