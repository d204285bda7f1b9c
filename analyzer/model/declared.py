# SPDX-License-Identifier: Apache-2.0
"""What the .sql file of a table says of itself: its rules, what it needs, its columns.

The head of a file is prose; a line ``-- Needs: a, b.`` in it names the tables and steps that
it selects from.  In the SELECT that gives the columns, each is declared above its expression::

    -- gap | ns | From the request's end to the start of its onlining,
    -- 0 where it came online inside the request.
    -- Null: its request was not seen.
    -- Bound: at most, where the clock of the trace is that of its reader.
    greatest(b.begin_ns - a.end_ns, 0) AS gap_ns,

that is heading, kind (tables.py) and meaning.  The heading is empty where pages do not show
the column.  After the kind may come ``if any``, ``block N`` and ``mark M where COLUMN``, which
are Column's.  Without a line ``Null`` the column is never null, without ``Bound`` it is exact.

A view's own table is a file of that kind too, beside the view, with a bare SELECT: what it takes
over from a staged table as it is has no declaration of its own.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from typing import cast, get_args

from memtrace.analyzer.tables import MARKS, Column, Kind, Row

_DECLARED = re.compile(r"\s+-- (?P<heading>[^|]*) ?\| (?P<shown>[^|]+) \| (?P<meaning>.*)")
_NAME = re.compile(r'(\w+)"?$')
_MARK = re.compile(r"mark (\S) where (\w+)")
_NEEDS = "Needs: "
_FIRST = re.compile(r"(?<=\.) ")


@dataclass(frozen=True)
class DeclaredColumn:
    """One column, as its table's file declares it."""

    name: str
    heading: str
    kind: Kind
    meaning: str
    null: str = ""
    """When it is null; "" for never."""
    bound: str = ""
    """What it is a bound of, and when; "" for exact."""
    if_any: bool = False
    block: int = 0
    mark: tuple[str, str] | None = None
    """A sign, and the column that says in which rows it stands."""

    def column(self) -> Column:
        """How a page shows it."""
        sign, where = self.mark or ("", "")

        def mark(row: Row) -> str:
            return sign if row[where] else ""

        return Column(
            self.name, self.heading, self.kind, mark if sign else None, self.block, if_any=self.if_any
        )


@dataclass(frozen=True)
class Declared:
    """The file of one table."""

    name: str
    about: str
    """The prose at its head."""
    needs: tuple[str, ...]
    columns: tuple[DeclaredColumn, ...]
    sql: str

    @property
    def names(self) -> tuple[str, ...]:
        """Of all columns, in order."""
        return tuple(column.name for column in self.columns)

    @property
    def shown(self) -> tuple[Column, ...]:
        """The columns that pages show."""
        return tuple(column.column() for column in self.columns if column.heading)

    @property
    def what(self) -> str:
        """The first sentence of the prose, in one line: what a row is."""
        return _FIRST.split(" ".join(self.about.split()))[0]

    def column(self, name: str) -> DeclaredColumn | None:
        """The column of that name; None if it is not declared here."""
        return next((column for column in self.columns if column.name == name), None)


@cache
def of_file(package: str, name: str) -> Declared:
    """What the file NAME.sql of a package says; raises FileNotFoundError if there is none."""
    return declared(name, (files(package) / f"{name}.sql").read_text(encoding="utf-8"))


def declared(name: str, text: str) -> Declared:
    """What the text of a table's file says; raises ValueError where it cannot be understood."""
    lines = text.splitlines()
    head = list(_head(lines))
    needed = (line.removeprefix(_NEEDS).rstrip(".") for line in head if line.startswith(_NEEDS))
    needs = tuple(name for names in needed for name in names.split(", "))
    about = "\n".join(line for line in head if not line.startswith(_NEEDS))
    return Declared(name, about.strip(), needs, tuple(_columns(name, lines)), text)


def _head(lines: Sequence[str]) -> Iterator[str]:
    """The comment at the top, without its marks and the licence."""
    for line in lines:
        if not line.startswith("--"):
            return
        if "SPDX-License-Identifier:" not in line:
            yield line.removeprefix("--").removeprefix(" ")


def _columns(table: str, lines: Sequence[str]) -> Iterator[DeclaredColumn]:
    for at, line in enumerate(lines):
        found = _DECLARED.fullmatch(line)
        if not found:
            continue
        end = at + 1
        while end < len(lines) and lines[end].lstrip().startswith("--"):
            end += 1
        words = [line.strip().removeprefix("-- ") for line in lines[at + 1 : end]]
        name = _NAME.search(_first_expression("\n".join(lines[end:])))
        if name is None:
            raise ValueError(f"{table}.sql, line {at + 1}: a column without a name")
        meaning, null, bound = _sentences(found["meaning"], words)
        yield _shown(table, found["shown"], name[1], found["heading"].strip(), meaning, null, bound)


def _first_expression(text: str) -> str:
    """Up to the comma, or the FROM at the beginning of a line, that ends the first expression."""
    text = text.split("\nFROM ", 1)[0]
    depth, quoted = 0, False
    for at, char in enumerate(text):
        quoted ^= char == "'"
        if quoted:
            continue
        depth += (char in "([") - (char in ")]")
        if char == "," and not depth:
            return text[:at].rstrip()
    return text.rstrip()


def _sentences(first: str, lines: Sequence[str]) -> tuple[str, str, str]:
    """Meaning, when null and what bound, each in one line."""
    parts = {"": [first], "Null: ": [], "Bound: ": []}
    at = ""
    for line in lines:
        word = next((word for word in ("Null: ", "Bound: ") if line.startswith(word)), None)
        at = at if word is None else word
        parts[at].append(line.removeprefix(word or ""))
    meaning, null, bound = (" ".join(part) for part in parts.values())
    return meaning, null, bound


def _shown(
    table: str, shown: str, name: str, heading: str, meaning: str, null: str, bound: str
) -> DeclaredColumn:
    kind, *options = (word.strip() for word in shown.split(","))
    if kind not in get_args(Kind):
        raise ValueError(f"{table}.{name}: {kind!r} is no kind of column")
    if_any, block, mark = False, 0, None
    for option in options:
        if option == "if any":
            if_any = True
        elif option.startswith("block "):
            block = int(option.removeprefix("block "))
        elif (found := _MARK.fullmatch(option)) and found[1] in MARKS:
            mark = (found[1], found[2])
        else:
            raise ValueError(f"{table}.{name}: {option!r} is nothing that a column can be")
    return DeclaredColumn(name, heading, cast(Kind, kind), meaning, null, bound, if_any, block, mark)
