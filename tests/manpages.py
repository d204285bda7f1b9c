# SPDX-License-Identifier: Apache-2.0
"""The man pages as the tests read them: their sections, paragraphs and bold words."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

from memtrace import cli

FOLDER = Path(__file__).parents[1] / "docs" / "man"
ESCAPES = {r"\-": "-", r"\&": "", r"\e": "\\", r"\(aq": "'", r"\(ti": "~", r"\(bu": "*"}

PAGES = ("", *cli.VERBS)
"""A page's verb; "" for memtrace.1."""


@dataclass(frozen=True)
class Item:
    """A .TP paragraph: the text of its head, its own text, and the words that are bold in it."""

    head: str
    text: str
    bold: frozenset[str]


def path_of(verb: str) -> Path:
    return FOLDER / (f"memtrace-{verb}.1" if verb else "memtrace.1")


def section(verb: str, name: str) -> list[str]:
    """The source lines under a .SH."""
    found = re.search(rf"^\.SH {name}\n(.*?)(?=^\.SH |\Z)", path_of(verb).read_text(), re.M | re.S)
    return found[1].splitlines() if found else []


def words_of(line: str) -> list[tuple[str, bool]]:
    """What a source line prints, in pieces, and whether each is bold."""
    macro, _, rest = line.partition(" ")
    given = [plain or quoted for quoted, plain in re.findall(r'"([^"]*)"|(\S+)', rest)]
    if macro in (".B", ".I", ".SS"):
        pieces = [(" ".join(given), macro == ".B")]
    elif re.fullmatch(r"\.[BIR]{2}", macro):
        pieces = [(word, macro[1 + i % 2] == "B") for i, word in enumerate(given)]
    elif line.startswith((".", "'")):
        pieces = []
    else:
        pieces = [(part[1:], part[0] == "B") for part in f"R{line}".split(r"\f")]
    return [(unescaped(text), bold) for text, bold in pieces]


def unescaped(text: str) -> str:
    for escape, sign in ESCAPES.items():
        text = text.replace(escape, sign)
    return text


def text_of(line: str) -> str:
    return "".join(text for text, _ in words_of(line))


def items(lines: list[str]) -> list[Item]:
    """The .TP paragraphs; a .TQ makes one of its own, with the text that follows."""
    found: list[Item] = []
    for part in re.split(r"^\.TP.*\n", "\n".join(lines), flags=re.M)[1:]:
        *joined, last = re.split(r"\n\.TQ\n", part)
        head, *body = re.split(r"^\.(?:SS|PP|IP|RS|RE)\b.*", last, flags=re.M)[0].splitlines()
        pieces = [piece for line in body for piece in words_of(line)]
        bold = frozenset(word for words, is_bold in pieces if is_bold for word in words.split())
        text = " ".join(map(text_of, body))
        found += [Item(text_of(one), text, bold) for one in (*joined, head)]
    return found


def described(verb: str) -> dict[str, Item]:
    """The items of OPTIONS that head an option, by the first of its spellings."""
    found: dict[str, Item] = {}
    for item in items(section(verb, "OPTIONS")):
        if item.head.startswith("-"):
            found.setdefault(item.head.split(" ")[0].rstrip(","), item)
    return found
