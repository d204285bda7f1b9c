# SPDX-License-Identifier: Apache-2.0
"""What is compared: the numbers of one run, by name.

A *family* is the events whose names begin alike: alloc, zero, accept, hot.
Window: the whole run.  The recorder's own occurrences and failed attempts are left
out (cells.APART).  Every time is exclusive (``self_ns``), so that nothing nested
is added twice; except worst and the percentiles, which are of single durations
with all that was nested in them.

FAMILY.total, FAMILY.worst
    Time of the family's events; their longest duration.  Where that was summed in
    the kernel it has bounds: the mean of its bucket, and the most that the bucket's
    edge and sum allow, which is the value.
FAMILY.bytes, FAMILY.ns_per_4kib
    Memory of the family's events, and total over it.  Of accept only of those that
    are not nested in another accept, which handles the same memory; an alloc or a
    zero inside another is an interrupt's, of other memory.  Not of hot: hot.add and
    hot.online handle the same memory, one after the other.
EVENT.p10, EVENT.p50, EVENT.p99
    Percentiles of durations, with bounds, see histogram.py.  What else the machine does lengthens
    events and shortens none: p10 is moved by it the least, p99 the most.
boot.PHASE
    Length of a phase of the boot, from its first start to its last end on any node.
EVENT.count, EVENT.bytes, EVENT.total, and all of EVENT.…[order=9,node=1]
    The same of one event, and of one cell of it.

A run in which an event was watched and did not occur has 0 of it; one in which
it was not watched has nothing.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from memtrace.analyzer.compare.histogram import Histogram
from memtrace.analyzer.in_file import InFile
from memtrace.analyzer.tables import Kind

QUANTILES = {"p10": 0.1, "p50": 0.5, "p99": 0.99}
TIMES = ("total", "worst", "ns_per_4kib", *QUANTILES)
SUMS = ("count", "bytes", "total")
_KINDS: dict[str, Kind] = {"count": "count", "bytes": "bytes", "ns_per_4kib": "ns"}


@dataclass(frozen=True, order=True)
class Metric:
    """One number of a run."""

    scope: str
    """A family, an event, or boot."""
    measure: str
    cell: str = ""
    """order=9,node=1 (keys that are unknown left out); empty for all of the scope."""

    @property
    def name(self) -> str:
        return f"{self.scope}.{self.measure}" + (f"[{self.cell}]" if self.cell else "")

    @property
    def family(self) -> str:
        return self.scope.partition(".")[0]

    @property
    def timed(self) -> bool:
        """Whether it is a time (the others are numbers and bytes)."""
        return self.scope == "boot" or self.measure in TIMES

    @property
    def unit(self) -> str:
        return "ns" if self.timed else {"count": "occurrences"}.get(self.measure, self.measure)

    @property
    def kind(self) -> Kind:
        """How it is written for people."""
        return "ns" if self.timed else _KINDS[self.measure]

    @property
    def costs(self) -> bool:
        """Whether more of it is worse; not so of the memory and blocks that were hot-added."""
        return not (self.family == "hot" and self.measure in ("bytes", "count"))


@dataclass(frozen=True)
class Value:
    """A metric in one run."""

    value: float | None
    """None: unknown."""
    why: str = ""
    """Why it is unknown."""
    histogram: Histogram | None = None
    """The durations it is made of, where they are known."""
    bounds: tuple[float, float] | None = None
    """What it is at least and at most, where the file does not tell it exactly."""
    estimated: bool = False
    """Whether it rests on samples of the clock."""
    error: float = 0.0
    """One standard error of that, as a share of the value (cells.py, total_rel_error)."""


@dataclass(frozen=True)
class Measured:
    """All metrics of a run."""

    headline: dict[Metric, Value]
    parts: dict[Metric, Value]
    """Per event, and per cell of it."""
    watched: frozenset[str]
    """Events that had a site, or occurred."""
    in_file: InFile
    """What all its rows stand for."""
    counts: dict[str, int]
    """Of each event in the metrics."""
    phase_sources: tuple[str, ...] = ()
    """What the phases of the boot are by (the staged table phases)."""

    def value(self, metric: Metric) -> Value | None:
        """Its value, 0 where the event was watched and did not occur, None where it was not."""
        found = self.headline.get(metric) or self.parts.get(metric)
        if found is not None:
            return found
        watched = metric.scope in self.watched or metric.scope in {e.partition(".")[0] for e in self.watched}
        return Value(0.0) if watched and metric.measure in SUMS and metric.scope != "boot" else None

    def known(self, metric: Metric) -> float:
        """Its value; NaN where it is unknown."""
        found = self.value(metric)
        return math.nan if found is None or found.value is None else found.value
