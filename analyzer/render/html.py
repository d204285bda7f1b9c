# SPDX-License-Identifier: Apache-2.0
"""The report as one HTML file: no script, nothing from elsewhere, figures inline as SVG."""

from __future__ import annotations

from memtrace import safe
from memtrace.analyzer.page.page import Page, PageTable
from memtrace.analyzer.tables import Column

_STYLE = """
body { font: 14px/1.45 system-ui, sans-serif; margin: 2em auto; max-width: 72em; padding: 0 1em; color: #222 }
h1 { font-size: 1.4em } h2 { font-size: 1.1em; margin-top: 1.6em }
table { border-collapse: collapse; font-variant-numeric: tabular-nums }
th, td { padding: 2px 10px; border-bottom: 1px solid #ddd; text-align: left; vertical-align: top }
td.n, th.n { text-align: right; font-family: ui-monospace, monospace; white-space: nowrap }
th { border-bottom: 2px solid #888 } dt { font-weight: 600; float: left; width: 7em; clear: left }
dd { margin: 0 0 .2em 7.5em; white-space: pre-wrap } p.note, li { color: #444 }
td.worse { color: #b2182b; font-weight: 600 } td.better { color: #2166ac; font-weight: 600 }
td.equivalent { color: #4d9221 } svg { max-width: 100%; height: auto }
"""


def render(page: Page, *, color: bool = False) -> str:
    """The page as a file of its own."""
    title = _text(page.title)
    head = "".join(f"<dt>{_text(label)}</dt><dd>{_text(text)}</dd>\n" for label, text in page.heading)
    parts = [f"<h1>{title}</h1>", f"<dl>\n{head}</dl>", *page.figures, *(_table(t) for t in page.tables)]
    if page.caveats:
        items = "".join(f'<li id="{_text(c.id)}">{_text(c.text)}</li>\n' for c in page.caveats)
        parts.append(f"<h2>Caveats</h2>\n<ul>\n{items}</ul>")
    body = "\n".join(part for part in parts if part)
    return (
        '<!DOCTYPE html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        f"<title>{title}</title>\n<style>{_STYLE}</style>\n</head>\n<body>\n{body}\n</body>\n</html>\n"
    )


def _table(table: PageTable) -> str:
    texts = (f"{note.sign} {note.text}" if note.sign else note.text for note in table.notes)
    notes = "\n".join(f'<p class="note">{_text(text)}</p>' for text in texts)
    body = _body(table) if table.cells else ""
    return f'<h2 id="{_text(table.name)}">{_text(table.title)}</h2>\n{body}\n{notes}'


def _body(table: PageTable) -> str:
    head = "".join(f"<th{_class(c)}>{_text(c.heading)}</th>" for c in table.columns)
    lines = (zip(table.columns, row, strict=True) for row in table.cells)
    body = "".join(f"<tr>{''.join(_cell(c, text) for c, text in line)}</tr>\n" for line in lines)
    return f"<table>\n<thead><tr>{head}</tr></thead>\n<tbody>\n{body}</tbody>\n</table>"


def _cell(column: Column, text: str) -> str:
    return f"<td{_class(column, text)}>{_text(text)}</td>"


def _class(column: Column, text: str = "") -> str:
    if column.kind not in ("text", "stack"):
        return ' class="n"'
    return f' class="{text}"' if text in ("worse", "better", "equivalent") else ""


def _text(text: str) -> str:
    return safe.markup(text)
