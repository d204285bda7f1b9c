# SPDX-License-Identifier: Apache-2.0
"""A page of plain text under 80 columns, to be pasted into mail.

A table that is too wide comes in blocks of columns, the keys repeated.
"""

from __future__ import annotations

import textwrap
from collections.abc import Callable, Sequence

import click

from memtrace import safe
from memtrace.analyzer.page.page import Note, Page, PageTable
from memtrace.analyzer.tables import Column, Kind

WIDTH = 79
_INDENT = "  "
_GAP = " "
_TEXTS = ("text", "stack")
_WIDEST = 40
_NARROWEST = 8

Style = Callable[[str], str]


def render(page: Page, *, color: bool = False) -> str:
    """The page as text, ended by a newline."""
    bold: Style = (lambda text: click.style(text, bold=True)) if color else str
    parts = [bold(safe.terminal(page.title)), _heading(page), *(_table(t, bold) for t in page.tables)]
    if page.caveats:
        parts.append("\n".join([bold("Caveats"), *(_sentence(c.text, "- ") for c in page.caveats)]))
    return "\n\n".join(part for part in parts if part) + "\n"


def _heading(page: Page) -> str:
    lines = [(safe.terminal(label), text) for label, text in page.heading]
    size = max(len(label) for label, _ in lines)
    return "\n".join(
        _wrapped(text, _INDENT + label.ljust(size) + "  ", len(_INDENT) + size + 2) for label, text in lines
    )


def _table(table: PageTable, bold: Style) -> str:
    lines = [line for block in _blocks(table) for line in _block(table, block)] if table.cells else []
    return "\n".join([bold(safe.terminal(table.title)), *lines, *map(_note, table.notes)])


def _blocks(table: PageTable) -> list[list[int]]:
    """The columns drawn, by position: all together where that fits, else by their block number."""
    places = range(table.section, len(table.columns))
    keys = [i for i in places if i < table.keys]
    measures = [i for i in places if i >= table.keys]
    if _width(_sizes(table, places)) <= WIDTH:
        return [[*keys, *measures]]
    numbers = sorted({table.columns[i].block for i in measures})
    return [[*keys, *(i for i in measures if table.columns[i].block == number)] for number in numbers]


def _block(table: PageTable, places: Sequence[int]) -> list[str]:
    columns = [table.columns[i] for i in places]
    sizes = _fitted(columns, _sizes(table, places))
    gap = _GAP * 2 if _width(sizes, 2) <= WIDTH else _GAP

    def line(cells: Sequence[str]) -> str:
        padded = [
            _cut(cell, size, column.kind).ljust(size) if column.kind in _TEXTS else cell.rjust(size)
            for column, size, cell in zip(columns, sizes, cells, strict=True)
        ]
        return (_INDENT + gap.join(padded)).rstrip()

    lines = [line([c.heading for c in columns])]
    for name, rows in _sections(table).items():
        if table.section:
            lines.append(f" {name}")
        lines += [line([row[i] for i in places]) for row in rows]
    return lines


def _sections(table: PageTable) -> dict[str, list[tuple[str, ...]]]:
    """Rows by the name of their section; all under one without sections."""
    parts: dict[str, list[tuple[str, ...]]] = {}
    for row in table.cells:
        parts.setdefault(row[0] if table.section else "", []).append(row)
    return parts


def _cut(text: str, size: int, kind: Kind) -> str:
    """At most ``size`` of a text; of a stack its end, which is the interesting one."""
    if len(text) <= size:
        return text
    return ".." + text[2 - size :] if kind == "stack" else text[: size - 2] + ".."


def _sizes(table: PageTable, places: Sequence[int]) -> list[int]:
    return [max(len(table.columns[i].heading), _longest(table, i)) for i in places]


def _longest(table: PageTable, place: int) -> int:
    longest = max(len(row[place]) for row in table.cells)
    return min(longest, _WIDEST) if table.columns[place].kind in _TEXTS else longest


def _fitted(columns: Sequence[Column], sizes: list[int]) -> list[int]:
    """The sizes, the widest texts made narrower until the line fits."""
    sizes = list(sizes)
    texts = [i for i, c in enumerate(columns) if c.kind in _TEXTS]
    while _width(sizes) > WIDTH and texts:
        widest = max(texts, key=lambda i: sizes[i])
        if sizes[widest] <= _NARROWEST:
            break
        sizes[widest] -= 1
    return sizes


def _width(sizes: Sequence[int], gap: int = 1) -> int:
    return len(_INDENT) + sum(sizes) + gap * (len(sizes) - 1)


def _note(note: Note) -> str:
    return _sentence(note.text, f"{note.sign} " if note.sign else "- " if note.item else "")


def _sentence(text: str, first: str = "") -> str:
    return _wrapped(text, _INDENT + first, len(_INDENT + first))


def _wrapped(text: str, first: str, indent: int) -> str:
    later = " " * indent
    return textwrap.fill(
        safe.terminal(text), WIDTH, initial_indent=first, subsequent_indent=later, break_on_hyphens=False
    )
