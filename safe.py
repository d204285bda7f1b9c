# SPDX-License-Identifier: Apache-2.0
"""Foreign text made safe: one function for each place that it goes.

Foreign is what a run, an imported file, the kernel or the command line says: any
task may call itself anything, and a run may come from a stranger.  What is unsafe
is shown escaped, never dropped, so that nothing looks like something else.
"""

from __future__ import annotations

import html
import json
import math
import re
from typing import Any

_UNDRAWN = (
    *(0x034F, 0x115F, 0x1160, 0x17B4, 0x17B5, 0x180B, 0x180C, 0x180D, 0x180F, 0x2800, 0x3164, 0xFFA0),
    *range(0xFE00, 0xFE10),
    *range(0xE0100, 0xE01F0),
)
"""Signs without width or ink that Python calls printable (Default_Ignorable_Code_Point, and a blank)."""
_HIDDEN = frozenset(map(chr, _UNDRAWN))
_NAMED = {"\n": "\\n", "\r": "\\r", "\t": "\\t"}
_BYTES = range(0xDC80, 0xDD00)
"""Bytes that are no UTF-8, as Python keeps them (surrogateescape, PEP 383)."""
_FORMULA = re.compile(r"(?:^|(?<=;))(?=\s*[=+\-@\uff1d\uff0b\uff0d\uff20])")
_NUMBER = re.compile(r"[+-]?(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d+)?", re.ASCII)
_LONGEST_NAME = 100


def terminal(text: object) -> str:
    """One line for a terminal, a log or a page: what steers, hides, reorders or breaks it is escaped.

    ``\\n`` for a newline, ``\\x1b`` for ESC and for bytes that are no UTF-8, ``\\u202e``
    for signs that turn the direction of writing, and so on.
    """
    line = str(text)
    if line.isascii() and line.isprintable():
        return line
    return "".join(sign if sign.isprintable() and sign not in _HIDDEN else _escaped(sign) for sign in line)


def page(text: object) -> str:
    """As terminal(), of text that memtrace has laid out: its newlines stay."""
    return "\n".join(map(terminal, str(text).split("\n")))


def csv_cell(value: Any) -> Any:
    """A cell of a CSV file, for the csv module to quote.

    Numbers stay numbers, those that are none (NaN, Infinity) are empty like all that
    is unknown.  A text that a spreadsheet would run as a formula (it begins with = + - @,
    or does so after a ';', which separates cells in some countries) gets a ' before that.
    """
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if value is None or isinstance(value, bool | int):
        return value
    text = terminal(value)
    return text if _NUMBER.fullmatch(text) else _FORMULA.sub("'", text)


def markup(text: object) -> str:
    """Text between the tags of HTML, or in a quoted attribute."""
    return html.escape(terminal(text), quote=True)


def json_text(document: Any, indent: int | None = None) -> str:
    """A JSON document (RFC 8259) of ASCII alone, without a newline at its end.

    What JSON cannot say is unknown: NaN and Infinity become null.  Surrogates that stand
    alone, which many readers refuse, are escaped as terminal() does.
    """
    return json.dumps(_sayable(document), indent=indent, allow_nan=False)


def figure(text: object) -> str:
    """Text in a figure; its newlines stay.  render/figure.py draws it without formulas between $."""
    return page(text)


def file_name(text: object, longest: int = _LONGEST_NAME) -> str:
    """One component of a path: no '/', no control signs, no dash or dot at its start, not empty.

    ``longest``: in bytes of UTF-8.
    """
    name = re.sub(r"[\\/\s]+", "_", terminal(text))
    if not name or name[0] in "-.~":
        name = f"_{name}"
    return name.encode()[:longest].decode(errors="ignore")


def _escaped(sign: str) -> str:
    code = ord(sign)
    if sign in _NAMED:
        return _NAMED[sign]
    if code in _BYTES:
        return f"\\x{code - 0xDC00:02x}"
    if code < 0x100:
        return f"\\x{code:02x}"
    return f"\\u{code:04x}" if code < 0x10000 else f"\\U{code:08x}"


def _sayable(value: Any) -> Any:
    if isinstance(value, str):
        return value if value.isascii() else "".join(map(_whole, value))
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, dict):
        return {_sayable(k) if isinstance(k, str) else k: _sayable(v) for k, v in value.items()}
    if isinstance(value, list | tuple):
        return [_sayable(item) for item in value]
    return value


def _whole(sign: str) -> str:
    return _escaped(sign) if 0xD800 <= ord(sign) < 0xE000 else sign
