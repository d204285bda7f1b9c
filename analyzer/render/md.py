# SPDX-License-Identifier: Apache-2.0
"""The report as GitHub-flavoured Markdown, with the same figures as the text page."""

from __future__ import annotations

from memtrace import safe
from memtrace.analyzer.render.units import legend, written
from memtrace.analyzer.tables import Column, Report, Row, Table

_ALIGNED = {"text": " --- ", "stack": " --- "}


def render(report: Report, *, color: bool = False) -> str:
    """The report as Markdown, ended by a newline."""
    head = "\n".join(f"- **{_escaped(label)}**: {_escaped(text)}" for label, text in report.heading)
    parts = [f"## {_escaped(report.title)}", head, *(_table(t) for t in report.tables)]
    if report.caveats:
        parts += ["### Caveats", "\n".join(f"- {_escaped(c.text)}" for c in report.caveats)]
    return "\n\n".join(part for part in parts if part) + "\n"


def _table(table: Table) -> str:
    rows, cut = table.page()
    columns = [c for c in table.columns if not c.if_any or any(row[c.name] for row in rows)]
    lines = []
    if rows:
        lines.append("| " + " | ".join(_escaped(c.heading) for c in columns) + " |")
        lines.append("|" + "|".join(_ALIGNED.get(c.kind, " ---: ") for c in columns) + "|")
        lines += ["| " + " | ".join(_cell(c, row) for c in columns) + " |" for row in rows]
    below = [f"({cut} more rows in --format json)"] if cut else []
    if rows:
        below += [_escaped(note) for note in dict.fromkeys(c.note for c in columns if c.note)]
        below += [f"`{sign}` {_escaped(text)}" for sign, text in legend(columns, rows)]
    below += [_escaped(note.removeprefix("- ")) for note in table.notes]
    if not lines and not below:
        return ""
    parts = (f"### {_escaped(table.title)}", "\n".join(lines), _lines(below))
    return "\n\n".join(part for part in parts if part)


def _lines(texts: list[str]) -> str:
    return "\n".join(f"- {text}" for text in texts)


def _cell(column: Column, row: Row) -> str:
    value = row[column.name]
    text = _escaped(written(value, column.kind))
    return _escaped(column.mark(row)) + text if column.mark and value is not None else text


def _escaped(text: str) -> str:
    text = safe.terminal(text)
    for sign in "\\|<>~*_`[]&":
        text = text.replace(sign, "\\" + sign)
    return text
