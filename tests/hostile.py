# SPDX-License-Identifier: Apache-2.0
"""Text that no output may pass on as it is, in one place, and what an output must not hold."""

from __future__ import annotations

import csv
import html.parser
import io
import json
import re
import unicodedata
from typing import Any, NoReturn

CONTROLS = (
    "\x1b[31mred\x1b[0m",
    "\x1b]0;title\x07",
    "\x9b2J\x90q\x9c",
    "bell\x07back\x08\x08\x7f",
    "line\nmemtrace: all is well",
    "over\rwritten",
    "tab\tbed\x0b\x0c",
    "nul\x00in it",
    "\u2028line\u2029paragraph\x85",
)
"""Steers a terminal, or makes lines of its own."""
DECEIVING = (
    "\u202egnp.exe\u202c",
    "\u2066iso\u2069late",
    "zero\u200bwidth\u200d\ufeff",
    "soft\u00adhyphen",
    "\u115f\u3164filler\u2800",
    "tag\U000e0041\U000e007f",
    "select\ufe0f\U000e0100",
)
"""Looks like something else."""
FORMULAS = (
    "=cmd|' /C calc'!A0",
    "@SUM(1+1)*cmd",
    "+1+cmd",
    "-2+3",
    "\t=1+1",
    "\r=1+1",
    " =1+1",
    "\uff1d1+1",
    'a;=HYPERLINK("http://x")',
    '"=1',
)
"""Runs in a spreadsheet."""
MARKUP = (
    "<script>alert(1)</script>",
    '" onmouseover="alert(1)',
    "' onload='x",
    "--><img src=x onerror=alert(1)>",
    "]]>&lt;b&gt;&#x202e;",
    "![x](http://x/y) [a](b) | c | `d`",
    "</style></svg></table>",
)
FIGURES = ("$x", "$\\frac{$", "\\$$^_$ $", "\u4e2d\u6587 \U0001f4a9", "{\\it x}", "%d %s {0}")
"""Formulas to matplotlib, and signs that its fonts lack."""
NAMES = ("../../etc/passwd", "-rf", ".hidden", "~root", "", ".", "..", "a/b", "x" * 4000)
SURROGATES = ("\udcff\udcfebad", "half\ud800", "\udc80\ud83d")
"""Bytes that are no UTF-8, as Python keeps them, and what JSON can smuggle in."""
IN_UTF8 = (*CONTROLS, *DECEIVING, *FORMULAS, *MARKUP, *FIGURES, *NAMES)
ALL = (*IN_UTF8, *SURROGATES)

_HIDES = re.compile(
    "[\u034f\u115f\u1160\u17b4\u17b5\u180b-\u180f\u2800\u3164\ufe00-\ufe0f\uffa0\U000e0100-\U000e01ef]"
)
_UNSAFE = ("Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp")
_PAGE_TAGS = "html head meta title style body h1 h2 dl dt dd ul li p table thead tbody tr th td"
_FIGURE_TAGS = "svg metadata defs g path use text image rect clippath line lineargradient stop"
_ABOUT_TAGS = "rdf:rdf cc:work dc:type dc:date dc:format dc:creator cc:agent dc:title"
_TAGS = frozenset(f"{_PAGE_TAGS} {_FIGURE_TAGS} {_ABOUT_TAGS}".split())
_ATTRIBUTES = re.compile(r"on\w+", re.IGNORECASE)
_NUMBER = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?")


def steers(text: str) -> list[str]:
    """The signs of a page that steer a terminal, break a line or are not seen; newlines are its own."""
    return [s for s in text if s != "\n" and (unicodedata.category(s) in _UNSAFE or _HIDES.match(s))]


def runs_in_spreadsheet(text: str) -> list[str]:
    """The cells of a CSV file that would be run; raises ValueError if it has no shape."""
    rows = list(csv.reader(io.StringIO(text), strict=True))
    if len({len(row) for row in rows}) != 1:
        raise ValueError("rows of different lengths")
    parts = [part for row in rows for cell in row for part in (cell, *cell.split(";"))]
    return [
        p
        for p in parts
        if p.lstrip()[:1] in tuple("=+-@\uff1d\uff0b\uff0d\uff20") and not _NUMBER.fullmatch(p)
    ]


def document(text: str) -> Any:
    """A strict reader's JSON document; raises ValueError if it is none."""
    found = json.loads(text, parse_constant=_no_number)
    json.dumps(found, ensure_ascii=False).encode("utf-8")
    return found


def smuggled(text: str) -> list[str]:
    """Tags and attributes of an HTML page that memtrace does not write."""
    reader = _Tags()
    reader.feed(text)
    reader.close()
    return reader.found


def _no_number(word: str) -> NoReturn:
    raise ValueError(f"{word} is not JSON")


class _Tags(html.parser.HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.found: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag not in _TAGS:
            self.found.append(tag)
        self.found += [name for name, _ in attrs if _ATTRIBUTES.fullmatch(name)]
