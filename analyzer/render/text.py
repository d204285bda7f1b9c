# SPDX-License-Identifier: Apache-2.0
"""A page of plain text under 80 columns, to be pasted into mail.

A table that is too wide comes in blocks of columns, the keys repeated.  A column
that is unknown throughout is not drawn but named under the table.
"""

from __future__ import annotations

import textwrap
from collections.abc import Callable, Sequence

import click

from memtrace import safe
from memtrace.analyzer.render.units import legend, written
from memtrace.analyzer.tables import Column, Kind, Report, Row, Table

WIDTH = 79
_INDENT = "  "
_GAP = " "
_TEXTS = ("text", "stack")
_WIDEST = 40
_NARROWEST = 8

Style = Callable[[str], str]


def render(report: Report, *, color: bool = False) -> str:
    """The report as text, ended by a newline."""
    bold: Style = (lambda text: click.style(text, bold=True)) if color else str
    parts = [bold(safe.terminal(report.title)), _heading(report), *(_table(t, bold) for t in report.tables)]
    if report.caveats:
        parts.append("\n".join([bold("Caveats"), *(_sentence(c.text, "- ") for c in report.caveats)]))
    return "\n\n".join(part for part in parts if part) + "\n"


def _heading(report: Report) -> str:
    lines = [(safe.terminal(label), text) for label, text in report.heading]
    size = max(len(label) for label, _ in lines)
    return "\n".join(
        _wrapped(text, _INDENT + label.ljust(size) + "  ", len(_INDENT) + size + 2) for label, text in lines
    )


def _table(table: Table, bold: Style) -> str:
    rows, cut = table.page()
    lines = _body(table, rows) if rows else []
    if cut:
        lines.append(_sentence(f"({cut} more rows in --format json)"))
    lines += [_note(note) for note in table.notes]
    return "\n".join([bold(safe.terminal(table.title)), *lines]) if lines else ""


def _body(table: Table, rows: Sequence[Row]) -> list[str]:
    keys, measures = table.columns[: table.keys], table.columns[table.keys :]
    measures = tuple(c for c in measures if not c.if_any or any(row[c.name] for row in rows))
    blank = tuple(c for c in measures if all(row[c.name] is None for row in rows))
    measures = tuple(c for c in measures if c not in blank)
    drawn = keys[1:] if table.section else keys
    sections = _sections(table, rows)
    lines = [line for block in _blocks(drawn, measures, rows) for line in _block((*drawn, *block), sections)]
    if blank:
        lines.append(_sentence(f"unknown throughout: {', '.join(c.heading for c in blank)}"))
    lines += [_sentence(note) for note in dict.fromkeys(c.note for c in measures if c.note)]
    return lines + [_sentence(text, f"{sign} ") for sign, text in legend((*drawn, *measures), rows)]


def _sections(table: Table, rows: Sequence[Row]) -> dict[str, list[Row]]:
    """Rows under the name of their section; all under "" without sections."""
    parts: dict[str, list[Row]] = {}
    first = table.columns[0]
    for row in rows:
        parts.setdefault(written(row[first.name], first.kind) if table.section else "", []).append(row)
    return parts


def _blocks(
    keys: Sequence[Column], measures: Sequence[Column], rows: Sequence[Row]
) -> list[tuple[Column, ...]]:
    """The measures all together where that fits, else by their block number."""
    columns = (*keys, *measures)
    if _width(_sizes(columns, rows)) <= WIDTH:
        return [tuple(measures)]
    numbers = sorted({c.block for c in measures})
    return [tuple(c for c in measures if c.block == number) for number in numbers]


def _block(columns: Sequence[Column], sections: dict[str, list[Row]]) -> list[str]:
    sizes = _fitted(columns, _sizes(columns, [row for part in sections.values() for row in part]))
    gap = _GAP * 2 if _width(sizes, 2) <= WIDTH else _GAP

    def line(cells: Sequence[str]) -> str:
        padded = [
            _cut(cell, size, column.kind).ljust(size) if column.kind in _TEXTS else cell.rjust(size)
            for column, size, cell in zip(columns, sizes, cells, strict=True)
        ]
        return (_INDENT + gap.join(padded)).rstrip()

    lines = [line([c.heading for c in columns])]
    for name, rows in sections.items():
        if name:
            lines.append(f" {name}")
        lines += [line([_cell(c, row) for c in columns]) for row in rows]
    return lines


def _cell(column: Column, row: Row) -> str:
    value = row[column.name]
    text = written(value, column.kind)
    return column.mark(row) + text if column.mark and value is not None else text


def _cut(text: str, size: int, kind: Kind) -> str:
    """At most ``size`` of a text; of a stack its end, which is the interesting one."""
    if len(text) <= size:
        return text
    return ".." + text[2 - size :] if kind == "stack" else text[: size - 2] + ".."


def _sizes(columns: Sequence[Column], rows: Sequence[Row]) -> list[int]:
    return [max(len(column.heading), _longest(column, rows)) for column in columns]


def _longest(column: Column, rows: Sequence[Row]) -> int:
    longest = max(len(_cell(column, row)) for row in rows)
    return min(longest, _WIDEST) if column.kind in _TEXTS else longest


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


def _note(text: str) -> str:
    return _sentence(text[2:], "- ") if text.startswith("- ") else _sentence(text)


def _sentence(text: str, first: str = "") -> str:
    return _wrapped(text, _INDENT + first, len(_INDENT + first))


def _wrapped(text: str, first: str, indent: int) -> str:
    later = " " * indent
    return textwrap.fill(
        safe.terminal(text), WIDTH, initial_indent=first, subsequent_indent=later, break_on_hyphens=False
    )
