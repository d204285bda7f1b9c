# SPDX-License-Identifier: Apache-2.0
"""What a collected or imported run was made from, and what is missing of a boot."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from memtrace.analyzer.tables import Caveat, Column, Table

if TYPE_CHECKING:
    from memtrace.traces.reader import Run


def sources(run: Run) -> Table:
    """One row for each source, with what became of its lines."""
    rows = tuple(
        {
            "source": s.name,
            "format": s.format,
            "lines": s.lines,
            "rows": s.rows,
            "ignored": s.ignored,
            "unparsed": s.unparsed,
            "offset_ns": s.offset_ns,
            "uncertainty_ns": s.uncertainty_ns,
            "clock": s.clock,
        }
        for s in run.header.sources
    )
    shown = tuple(i for i, row in enumerate(rows) if row["lines"] or row["rows"])
    return Table("sources", "Sources", _NAMES, rows, _COLUMNS, keys=2, shown=shown)


def caveats(run: Run) -> Iterator[Caveat]:
    """Sources that were not there, lines that were not understood, clocks that could not be aligned."""
    for source in run.header.sources:
        if not source.lines and source.format != "memtrace":
            yield Caveat("source-missing", f"{source.name}: {source.clock or 'nothing in it'}")
            continue
        if source.unparsed:
            first = f"; the first: {source.examples[0][:60]!r}" if source.examples else ""
            yield Caveat(
                "unparsed", f"{source.name}: {source.unparsed} of {source.lines} lines not understood{first}"
            )
        if source.rows and source.offset_ns is None:
            yield Caveat("not-aligned", f"{source.name}: its clock could not be aligned: {source.clock}")


_NAMES = ("source", "format", "lines", "rows", "ignored", "unparsed", "offset_ns", "uncertainty_ns", "clock")
_COLUMNS = (
    Column("source", "source"),
    Column("format", "format"),
    Column("lines", "lines", "count"),
    Column("rows", "rows", "count"),
    Column("ignored", "ignored", "count"),
    Column("unparsed", "unparsed", "count"),
    Column("offset_ns", "clock offset", "ns"),
    Column("uncertainty_ns", "+/-", "ns"),
)
