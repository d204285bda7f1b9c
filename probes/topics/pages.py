# SPDX-License-Identifier: Apache-2.0
"""The events as the manual page and SCHEMA.md describe them.

``python -m memtrace.probes.topics.pages`` rewrites these parts: the EVENTS of memtrace(1),
the words of memtrace-record(1)'s -e and the list of SCHEMA.md, each between two marks.
"""

from __future__ import annotations

import re
import textwrap
from pathlib import Path

from memtrace.probes.topics.event import Event
from memtrace.probes.topics.events import EVENTS, NAMES

_ROOT = Path(__file__).parents[2]
_MAN = ('.\\" events: begin\n', '.\\" events: end\n')
_SCHEMA = ("<!-- events: begin -->\n", "<!-- events: end -->\n")
_WORD = re.compile(r"[\w.]*\w(?:\(\))?")
_WIDTH = 84
_MOST_NAMED = 3
"""Most functions that an item names; where there are more, it names none."""


def man() -> str:
    """Return roff with one item for each event."""
    return "".join(f".TP\n.B {event.name}\n{_roff(_text(event))}\n" for event in EVENTS)


def words() -> str:
    """Return roff with the names of all events, in a sentence that goes on."""
    return " ,\n".join(f".BR {name}" for name in NAMES) + " ;\n"


def schema() -> str:
    """Return a Markdown table with one row for each event."""
    rows = ["| Event | What one is | Functions | Columns |", "| --- | --- | --- | --- |"]
    for event in EVENTS:
        functions = ", ".join(f"`{name}()`" for name in event.functions)
        columns = "; ".join(f"`{name}`: {what}" for name, what in event.fields.items())
        rows.append(f"| `{event.name}` | {event.doc} | {functions} | {columns} |")
    return "\n".join(rows) + "\n"


def renewed(text: str, marks: tuple[str, str], part: str) -> str:
    """Return ``text`` with what is between the marks replaced by ``part``."""
    begin, end = marks
    before, _, rest = text.partition(begin)
    return f"{before}{begin}{part}{end}{rest.partition(end)[2]}"


def pages() -> dict[Path, str]:
    """Return the text that each file with such a part should have, by its path."""
    parts = {
        "docs/man/memtrace.1": (_MAN, man()),
        "docs/man/memtrace-record.1": (_MAN, words()),
        "SCHEMA.md": (_SCHEMA, schema()),
    }
    files = {_ROOT / name: given for name, given in parts.items()}
    return {path: renewed(path.read_text(), marks, part) for path, (marks, part) in files.items()}


def _text(event: Event) -> str:
    said = event.doc[0].upper() + event.doc[1:]
    told = [f"{name}()" for name in event.functions if name not in event.doc]
    where = f", in {_either(told)}" if told and len(told) <= _MOST_NAMED else ""
    return f"{said}{where}. {event.about}".strip()


def _either(names: list[str]) -> str:
    return " or ".join([", ".join(names[:-1]), names[-1]] if len(names) > 1 else names)


def _roff(text: str) -> str:
    """Return roff that begins a line for each sentence, with functions and events in bold."""
    sentences = re.split(r"(?<=\.) (?=[A-Z])", text.replace("-", "\\-"))
    lines = (line for sentence in sentences for line in textwrap.wrap(_WORD.sub(_bold, sentence), _WIDTH))
    return "\n".join(lines)


def _bold(found: re.Match[str]) -> str:
    word = found[0]
    if word.endswith("()"):
        return f"\\fB{word[:-2]}\\fP()"
    return f"\\fB{word}\\fP" if word in NAMES and "." in word else word


if __name__ == "__main__":
    for path, text in pages().items():
        path.write_text(text)
