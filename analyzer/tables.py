# SPDX-License-Identifier: Apache-2.0
"""What an analysis hands to the renderers: tables, caveats, and the report of them.

A table's rows are the machine's view: every column, units in the names, unknown
as None.  Its ``columns`` say how a page shows it: heading, kind and marks.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Literal

Kind = Literal["text", "stack", "number", "count", "bytes", "ns", "rate", "share", "signed"]
"""How a value is written for people: see render/units.py."""

Row = Mapping[str, Any]

MARKS: dict[str, str] = {
    "~": "estimated (sampling or a difference), not a sum of measured intervals",
    ">": "covers only part of the occurrences; the rest is unknown",
    "<": "upper edge of the bucket, not a measured value",
}
"""Signs before a value, and the line under the table that explains each one used."""

UNKNOWN = "-"


@dataclass(frozen=True)
class Column:
    """How a page shows one column of a table."""

    name: str
    heading: str
    kind: Kind = "text"
    mark: Callable[[Row], str] | None = None
    """The sign (a key of MARKS, or "") that stands before this row's value."""
    block: int = 0
    """Where a table is too wide for the page, columns of one block stay together."""
    if_any: bool = False
    """Left out where every row has 0 or nothing."""
    note: str = ""
    """A sentence under every table that shows the column."""


@dataclass(frozen=True)
class Table:
    """One table of a report."""

    name: str
    title: str
    names: tuple[str, ...]
    """All columns, in order."""
    rows: tuple[Row, ...]
    """Each with all the columns; None for unknown."""
    columns: tuple[Column, ...]
    """Those that a page shows, keys first."""
    keys: int = 1
    """How many of the columns shown name the row rather than measure it."""
    section: bool = False
    """The first key heads a section of rows where the layout has room for that."""
    shown: tuple[int, ...] | None = None
    """Rows (by position) that a page shows; None: all."""
    top: int | None = None
    """At most so many of them are shown (of each section); None: all."""
    notes: tuple[str, ...] = ()
    """Sentences under the table; those that begin with "- " are items of a list."""

    def page(self) -> tuple[tuple[Row, ...], int]:
        """The rows that a page shows, and how many ``top`` leaves out."""
        rows = self.rows if self.shown is None else tuple(self.rows[i] for i in self.shown)
        if self.top is None:
            return rows, 0
        kept: list[Row] = []
        in_section: Counter[Any] = Counter()
        for row in rows:
            section = row[self.columns[0].name] if self.section else None
            in_section[section] += 1
            if in_section[section] <= self.top:
                kept.append(row)
        return tuple(kept), len(rows) - len(kept)


@dataclass(frozen=True)
class Caveat:
    """Something that narrows what the numbers mean; ``id`` is stable."""

    id: str
    text: str


@dataclass(frozen=True)
class Report:
    """One view of one run."""

    view: str
    title: str
    run: Mapping[str, Any]
    """Facts about the run with units in the names, for JSON."""
    heading: tuple[tuple[str, str], ...]
    """The header block of a page: label and text of each line."""
    tables: tuple[Table, ...]
    caveats: tuple[Caveat, ...] = ()
    main: str = "main"
    """Name of the table that formats of one table take."""
    figures: tuple[str, ...] = ()
    """SVG elements, for formats that can show them."""

    def table(self, name: str) -> Table | None:
        """The table of that name, None if this report has none."""
        return next((t for t in self.tables if t.name == name), None)
