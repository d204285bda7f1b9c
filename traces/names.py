# SPDX-License-Identifier: Apache-2.0
"""Names that other people chose, as text: of tasks, cgroups, files, the words of a command.

Linux lets them be any bytes.  Those that are not UTF-8 are spelled out, ``\\xff``, so
that every output can write them.  A backslash of the name's own stays as it is: a name
that spells ``\\xff`` in four characters looks the same.
"""

from __future__ import annotations

import re

_SURROGATE = re.compile("[\ud800-\udfff]")


def decoded(raw: bytes) -> str:
    """The name in ``raw``."""
    return raw.decode("utf-8", "backslashreplace")


def escaped(text: str) -> str:
    """A name that Python has from the system, or from JSON, without what no encoding can write."""
    return text if text.isascii() else _SURROGATE.sub(_spelled, text)


def _spelled(found: re.Match[str]) -> str:
    code = ord(found[0])
    # Python has a byte that is not UTF-8 as 0xdc00 and the byte (PEP 383).
    return f"\\x{code - 0xDC00:02x}" if 0xDC80 <= code <= 0xDCFF else f"\\u{code:04x}"
