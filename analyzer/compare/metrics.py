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
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from memtrace.analyzer import cells
from memtrace.analyzer.compare import durations
from memtrace.analyzer.compare.durations import histogram
from memtrace.analyzer.compare.fine import Fine, around
from memtrace.analyzer.compare.histogram import Histogram
from memtrace.analyzer.facts import period_ns
from memtrace.analyzer.keys import KEYS, Key
from memtrace.analyzer.partials import Partials, Unknown
from memtrace.analyzer.scan import connect, partials
from memtrace.analyzer.tables import Kind
from memtrace.traces.schema import Flag

if TYPE_CHECKING:
    from memtrace.analyzer.partials import Bools
    from memtrace.traces.reader import Run

FAMILY_BYTES = ("accept", "alloc", "zero")
SAME_BYTES = ("accept",)
"""Families whose nested events handle the same memory."""
QUANTILES = {"p10": 0.1, "p50": 0.5, "p99": 0.99}
TIMES = ("total", "worst", "ns_per_4kib", *QUANTILES)
SUMS = ("count", "bytes", "total")
UNKNOWN = "unknown"
"""The cell of which no key is known."""
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
    occurrences: int
    """In the file, all of them."""
    counts: dict[str, int]
    """Of each event in the metrics."""

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


def measure(run: Run, by: Sequence[Key]) -> Measured:
    """The metrics of a run, its cells by the keys ``by``."""
    grouped = tuple(dict.fromkeys((KEYS["event"], *by)))
    with connect(run) as connection:
        scanned = partials(run, tuple(dict.fromkeys((*grouped, KEYS["parent"]))), connection)
        inside = cells.in_cells(scanned)
        finer = around(run, inside, grouped, list(QUANTILES.values()), connection)
    period = period_ns(run) or 0
    events = sorted(set(inside.keys["event"]))
    watched = {s.event for s in run.header.manifest if s.site} | set(events)
    headline = dict(_phases(run))
    parts: dict[Metric, Value] = {}
    for family in sorted({event.partition(".")[0] for event in events}):
        headline.update(_family(family, inside, period))
    for event in events:
        of = inside.where(_is(inside, "event", event))
        found = _quantiles(of, finer and finer.of(event))
        headline.update({Metric(event, name): value for name, value in found.items()})
        parts.update({Metric(event, name): value for name, value in _sums(of, period).items()})
        parts.update(_cells(event, of, grouped[1:], finer, period))
    counts = {event: int(inside.count[_is(inside, "event", event)].sum()) for event in events}
    parts = {metric: value for metric, value in parts.items() if metric not in headline}
    return Measured(headline, parts, frozenset(watched), int(scanned.count.sum()), counts)


def _phases(run: Run) -> Iterator[tuple[Metric, Value]]:
    for name in dict.fromkeys(phase.name for phase in run.header.phases):
        phases = [phase for phase in run.header.phases if phase.name == name]
        starts, ends = [p.start_ns for p in phases], [p.end_ns for p in phases]
        known = [t for t in (*starts, *ends) if t is not None]
        if len(known) == 2 * len(phases):
            length = max(t for t in ends if t is not None) - min(t for t in starts if t is not None)
            yield Metric("boot", name), Value(float(length))
        else:
            yield Metric("boot", name), Value(None, "one of its ends is not known")


def _family(family: str, inside: Partials, period: int) -> dict[Metric, Value]:
    """The headline metrics of a family that has occurrences."""
    import numpy as np

    ours = np.array([e.partition(".")[0] == family for e in inside.keys["event"]], dtype=bool)
    of = inside.where(ours)
    total, worst = _time(of, period), _worst(of)
    found = {Metric(family, "total"): total, Metric(family, "worst"): worst}
    if family in FAMILY_BYTES:
        outer = np.array([(p or "").partition(".")[0] != family for p in of.keys["parent"]], dtype=bool)
        size = _sum(of.where(outer) if family in SAME_BYTES else of, "bytes", Unknown.BYTES)
        if uncounted := _uncounted(of):
            size = Value(None, f"bytes of {', '.join(uncounted)} are unknown: only its time was sampled")
        found[Metric(family, "bytes")] = size
        if total.value is None or size.value is None:
            found[Metric(family, "ns_per_4kib")] = Value(None, total.why or size.why)
        elif size.value:
            found[Metric(family, "ns_per_4kib")] = replace(total, value=total.value * cells.PAGE / size.value)
    return found


def _uncounted(of: Partials) -> list[str]:
    """Events of which nothing but sampled time is in the file."""
    import numpy as np

    sampled, events = _time_only(of), np.array(of.keys["event"])
    return sorted(set(events[sampled & (of.self_ns > 0)]) - set(events[~sampled]))


def _sums(of: Partials, period: int) -> dict[str, Value]:
    return {
        "count": _sum(of, "count", Unknown.COUNT),
        "bytes": _sum(of, "bytes", Unknown.BYTES),
        "total": _time(of, period),
    }


def _quantiles(of: Partials, finer: Fine | None) -> dict[str, Value]:
    made, longest = histogram(of, finer=finer), durations.longest(of)
    if made is None or longest is None:
        return {}
    found = {}
    for name, share in QUANTILES.items():
        low, high = (min(end, longest[1]) for end in made.bounds(share))
        value = min(max(float(made.quantile(share)), low), high)
        found[name] = Value(value, histogram=made, bounds=_bounds(low, high))
    return found


def _worst(of: Partials) -> Value:
    found = durations.longest(of)
    if found is None:
        return Value(None, "no durations were seen")
    return Value(found[1], bounds=_bounds(*found))


def _bounds(low: float, high: float) -> tuple[float, float] | None:
    return (low, high) if low < high else None


def _cells(
    event: str, of: Partials, by: Sequence[Key], finer: Fine | None, period: int
) -> dict[Metric, Value]:
    names, group = of.groups([key.output for key in by])
    found: dict[Metric, Value] = {}
    for i, values in enumerate(names):
        words = [f"{key.word}={v}" for key, v in zip(by, values, strict=True) if v is not None]
        part = of.where(group == i)
        if by:
            both = (_sums(part, period) | _quantiles(part, finer and finer.of(event, values))).items()
            found.update({Metric(event, name, ",".join(words) or UNKNOWN): value for name, value in both})
    return found


def _is(of: Partials, key: str, value: str) -> Bools:
    import numpy as np

    return np.array([v == value for v in of.keys[key]], dtype=bool)


def _sum(of: Partials, name: str, quantity: Unknown) -> Value:
    """Their number or bytes; unknown where they are known for a part only."""
    known = of.known(quantity)
    if len(of) and not known.any():
        return Value(None, "not seen by its site")
    untold = ~known & ~_time_only(of)
    if untold.any():
        what = "number is" if quantity is Unknown.COUNT else f"{name} are"
        some, all_ = int(of.rows[untold].sum()), int(of.rows.sum())
        if of.known(Unknown.COUNT)[untold].all():
            some, all_ = int(of.count[untold].sum()), int(of.count.sum())
        return Value(None, f"{what} unknown for {some} of {all_} occurrences")
    return Value(float(getattr(of, name).sum()))


def _time_only(of: Partials) -> Bools:
    """Rows of sampled time, which stand for what others count."""
    timed, counted, sized = (of.known(u) for u in (Unknown.TOTAL, Unknown.COUNT, Unknown.BYTES))
    return timed & ~counted & ~sized


def _time(of: Partials, period: int) -> Value:
    """Exclusive time; unknown where it is known for a part only.

    ``period``: ns that one sample stands for.
    """
    timed, counted = (of.known(u) for u in (Unknown.TOTAL, Unknown.COUNT))
    if not timed.any():
        return Value(None, "no time was seen")
    if (timed & ~of.known(Unknown.SELF)).any():
        return Value(None, "its exclusive time is not known")
    untimed, count = int(of.count[counted & ~timed].sum()), int(of.count.sum())
    # Sampled time without a number stands for what was counted without a time.
    if untimed and not _time_only(of).any():
        return Value(None, f"time is unknown for {untimed} of {count} occurrences")
    total, sampled = int(of.self_ns.sum()), of.having(Flag.ESTIMATED) & timed
    by_samples = int(of.self_ns[sampled].sum())
    error = math.sqrt(by_samples * period) / total if total else 0.0
    return Value(float(total), "", histogram(of, own=True), None, bool(sampled.any()), error)
