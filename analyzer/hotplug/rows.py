# SPDX-License-Identifier: Apache-2.0
"""The hot.* rows of a run as objects, for what looks at them one by one."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from memtrace.analyzer.model.staged import Model

Pfns = tuple[int, int]
"""pfns ``[start, end)``."""


@dataclass(frozen=True)
class Occurrence:
    """One hot.* row of hot_intervals: times in ns, sizes in bytes, None where unknown."""

    id: int
    event: str
    start: int
    end: int
    dur: int | None
    tid: int | None
    comm: str | None
    pfn: int | None
    end_pfn: int | None
    size: int
    """Of the range that it was about, done or not."""
    bytes: int | None
    asked: int | None
    nid: int | None
    wish: int | None
    """The node asked for."""
    failed: bool
    altmap: bool
    error: int | None
    stack: str | None
    outer: int
    """The outermost occurrence around it, or itself, by id."""

    @property
    def pfns(self) -> Pfns:
        """Its range; empty if unknown."""
        return (0, 0) if self.pfn is None or self.end_pfn is None else (self.pfn, self.end_pfn)

    def holds(self, other: Occurrence) -> bool:
        """Whether ``other`` lies inside this interval, in the same thread."""
        same = self.tid is None or other.tid is None or self.tid == other.tid
        return same and other.id != self.id and self.start <= other.start and other.end <= self.end


_ROWS = """
SELECT id, event, begin_ns, end_ns, dur_ns, tid, comm, pfn, end_pfn, size, bytes, bytes_requested, nid,
    nid_requested, failed, altmap, error, stack, outer_id
FROM hot_intervals WHERE hot ORDER BY id
"""


def occurrences(model: Model) -> tuple[Occurrence, ...]:
    """All hot.* rows of a run by their start, the outer one first."""
    model.need("hot_intervals")
    found: Iterable[tuple[Any, ...]] = model.connection.execute(_ROWS).fetchall()
    return tuple(Occurrence(*row) for row in found)


def of(rows: Iterable[Occurrence], *events: str) -> tuple[Occurrence, ...]:
    """Those of these events that did not fail."""
    return tuple(row for row in rows if row.event in events and not row.failed)
