# SPDX-License-Identifier: Apache-2.0
"""The hot.* rows of a run, and which of them lie inside which.

An occurrence runs from ``start`` to ``end`` (CLOCK_BOOTTIME, ns) in one thread.  One
interval holds another of the same thread that lies wholly inside it.  Where a row has no
self_ns (an import), its exclusive time is its length less that of the hot.* rows directly
inside (``filled``), and of the other events inside (inside.py): exact, but for events that
were not traced.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from memtrace.analyzer import callers
from memtrace.traces.schema import Flag

if TYPE_CHECKING:
    import duckdb

    from memtrace.traces.reader import Run

COLUMNS = (
    "event",
    "ts_ns",
    "dur_ns",
    "self_ns",
    "tid",
    "comm",
    "pfn",
    "bytes",
    "bytes_requested",
    "nid",
    "nid_requested",
    "flags",
    "error",
    "stack",
)


@dataclass(frozen=True)
class Occurrence:
    """One hot.* row: times in ns, sizes in bytes, None where unknown."""

    event: str
    end: int
    dur: int | None
    own: int | None
    """Exclusive time."""
    tid: int | None
    comm: str | None
    pfn: int | None
    bytes: int | None
    asked: int | None
    nid: int | None
    wish: int | None
    """The node asked for."""
    flags: int
    error: int | None
    stack: str | None
    filled: bool = False
    """Whether ``own`` is not the file's: only hot.* rows inside are taken off."""

    @property
    def start(self) -> int:
        return self.end - (self.dur or 0)

    @property
    def size(self) -> int:
        """Bytes of the range it was about, done or not."""
        return (self.asked if self.asked is not None else self.bytes) or 0

    @property
    def failed(self) -> bool:
        return bool(self.flags & Flag.FAILED)

    @property
    def altmap(self) -> bool:
        return bool(self.flags & Flag.ALTMAP)

    def pfns(self, page_size: int) -> tuple[int, int]:
        """pfns ``[start, end)`` of its range; empty if unknown."""
        return (0, 0) if self.pfn is None else (self.pfn, self.pfn + self.size // page_size)

    def holds(self, other: Occurrence) -> bool:
        """Whether ``other`` lies inside this interval, in the same thread."""
        same = self.tid is None or other.tid is None or self.tid == other.tid
        return same and other is not self and self.start <= other.start and other.end <= self.end


def occurrences(run: Run, connection: duckdb.DuckDBPyConnection) -> tuple[Occurrence, ...]:
    """All hot.* rows of a run by their start, the outer one first."""
    have = [name for name in COLUMNS if name in run.columns]
    named = ", ".join(f'"{n}"' if n in have else f'NULL AS "{n}"' for n in COLUMNS)
    rows = run.relation(connection, have)
    found = callers.query(rows, f"SELECT {named} FROM rows_ WHERE event::VARCHAR LIKE 'hot.%'").fetchall()
    return nested(sorted((Occurrence(*row) for row in found), key=lambda o: (o.start, -o.end)))


def nested(rows: Sequence[Occurrence]) -> tuple[Occurrence, ...]:
    """The rows (by start, outer first) with exclusive times that are missing filled in."""
    inner: dict[int, int] = {}
    open_: dict[int | None, list[int]] = {}
    for at, row in enumerate(rows):
        stack = open_.setdefault(row.tid, [])
        while stack and rows[stack[-1]].end < row.end:
            stack.pop()
        if stack and row.dur is not None:
            inner[stack[-1]] = inner.get(stack[-1], 0) + row.dur
        if row.dur is not None:
            stack.append(at)
    return tuple(_timed(row, inner.get(at, 0)) for at, row in enumerate(rows))


def _timed(row: Occurrence, inner: int) -> Occurrence:
    import dataclasses

    if row.own is not None or row.dur is None:
        return row
    return dataclasses.replace(row, own=max(row.dur - inner, 0), filled=True)


def of(rows: Iterable[Occurrence], *events: str) -> tuple[Occurrence, ...]:
    """Those of these events that did not fail."""
    return tuple(row for row in rows if row.event in events and not row.failed)


def within(rows: Iterable[Occurrence], outer: Occurrence) -> tuple[Occurrence, ...]:
    """Those inside ``outer``."""
    return tuple(row for row in rows if outer.holds(row))
