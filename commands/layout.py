# SPDX-License-Identifier: Apache-2.0
"""Text for the terminal: aligned columns and wrapped sentences under 80 columns."""

from __future__ import annotations

import re
import textwrap
from collections.abc import Sequence

WIDTH = 79
_GAP = "  "


def columns(rows: Sequence[Sequence[str]], indent: int = 2, widest: int = 24) -> str:
    """``rows`` in aligned columns; the last cell of a row is wrapped into the space that is left.

    A cell wider than its column (at most ``widest``) pushes what follows it to the next line.
    """
    count = max((len(row) for row in rows), default=0)
    sizes = [
        max((len(row[i]) for row in rows if len(row) > i + 1 and len(row[i]) <= widest), default=0)
        for i in range(count - 1)
    ]
    left = indent + sum(sizes) + len(_GAP) * len(sizes)
    lines: list[str] = []
    for row in rows:
        head = " " * indent
        for size, cell in zip(sizes, row[:-1], strict=False):
            head += cell.ljust(size) + _GAP
        last = textwrap.wrap(row[-1], max(20, WIDTH - left), break_on_hyphens=False) or [""]
        if len(head) > left:
            lines.append(head.rstrip())
            head = " " * left
        lines.append((head + last[0]).rstrip())
        lines.extend(" " * left + more for more in last[1:])
    return "\n".join(lines)


def sentences(text: str, indent: int = 2, first: str = "") -> str:
    """``text`` wrapped; ``first`` (a bullet) stands before its first line, the others align with it."""
    return textwrap.fill(
        text,
        WIDTH,
        initial_indent=" " * indent + first,
        subsequent_indent=" " * (indent + len(first)),
        break_on_hyphens=False,
        break_long_words=False,
    )


def command(text: str, indent: int = 6) -> str:
    """A shell command, continued over lines that can be pasted; quoted words stay whole."""
    words = re.findall(r"""(?:[^\s"']|"[^"]*"|'[^']*')+""", text)
    lines = [words[0]]
    for word in words[1:]:
        if indent + len(lines[-1]) + len(word) + len(" ") + len(" \\") > WIDTH:
            lines[-1] += " \\"
            lines.append(f"  {word}")
        else:
            lines[-1] += f" {word}"
    return textwrap.indent("\n".join(lines), " " * indent)
