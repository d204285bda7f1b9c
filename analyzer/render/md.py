# SPDX-License-Identifier: Apache-2.0
"""The report as GitHub-flavoured Markdown, with the same figures as the text page."""

from __future__ import annotations

from memtrace import safe
from memtrace.analyzer.page.page import Note, Page, PageTable

_ALIGNED = {"text": " --- ", "stack": " --- "}


def render(page: Page, *, color: bool = False) -> str:
    """The page as Markdown, ended by a newline."""
    head = "\n".join(f"- **{_escaped(label)}**: {_escaped(text)}" for label, text in page.heading)
    parts = [f"## {_escaped(page.title)}", head, *(_table(t) for t in page.tables)]
    if page.caveats:
        parts += ["### Caveats", "\n".join(f"- {_escaped(c.text)}" for c in page.caveats)]
    return "\n\n".join(part for part in parts if part) + "\n"


def _table(table: PageTable) -> str:
    lines = []
    if table.cells:
        lines.append("| " + " | ".join(_escaped(c.heading) for c in table.columns) + " |")
        lines.append("|" + "|".join(_ALIGNED.get(c.kind, " ---: ") for c in table.columns) + "|")
        lines += ["| " + " | ".join(map(_escaped, row)) + " |" for row in table.cells]
    below = "\n".join(f"- {_note(note)}" for note in table.notes)
    parts = (f"### {_escaped(table.title)}", "\n".join(lines), below)
    return "\n\n".join(part for part in parts if part)


def _note(note: Note) -> str:
    return f"`{note.sign}` {_escaped(note.text)}" if note.sign else _escaped(note.text)


def _escaped(text: str) -> str:
    text = safe.terminal(text)
    for sign in "\\|<>~*_`[]&":
        text = text.replace(sign, "\\" + sign)
    return text
