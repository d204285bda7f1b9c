# SPDX-License-Identifier: Apache-2.0
"""The table ``parallel``: memory accepted a second against the number of CPUs that do it at once.

Time is cut wherever a CPU enters or leaves accept_memory(); each piece belongs
to the number of CPUs inside it then.  Of calls that are partly in a window, that part
counts, and the call itself if it ended in it.

cpus
    CPUs inside accept_memory() at once, for memory of one node (or, nid null, of
    any node).
wall_ns
    Time with exactly that many.
calls
    Calls that ended with exactly that many inside.
bytes, gib_per_s
    Memory accepted in that time, and per second of it, of all these CPUs
    together.  The memory of one accept is spread evenly over its time: of
    ``accept.arch``, so that waiting accepts nothing; of the whole call where that has
    no site.
wait_share
    Share of these CPUs' time in which they were in accept_memory() and not in the
    platform's accept: the lock, the bitmap, and others' overlapping ranges.  Known only with
    accept.arch.
marginal
    What one more CPU added, as a share of what one CPU alone accepts: 1 is
    perfect scaling, 0 is saturation.  marginal_low and marginal_high bound it
    with 95 % confidence (jackknife over 20 stretches of equal wall time).  Null for
    the first row, and where either row has fewer than 30 calls.

Saturated at k CPUs: the first k after which one more adds surely (upper bound)
less than a quarter of the first CPU; not saturated: surely (lower bound) more up to
all that were seen; else it cannot be told.  Nothing is said of numbers of CPUs that were never
seen at once, and nothing of waiting, of several CPUs' throughput and of saturation where CPUs took turns
on a clock of instructions (analyzer/clock.py).  Exact but for the even spreading; with durations asked only.
"""

from __future__ import annotations

import itertools
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from memtrace.analyzer.accept.intervals import sweep
from memtrace.analyzer.accept.rows import ARCH, BLOCK, CALL, UNKNOWN, Accepts, Spans
from memtrace.analyzer.cells import FEW, GIB
from memtrace.analyzer.render.units import written
from memtrace.analyzer.tables import Column, Table

if TYPE_CHECKING:
    from memtrace.analyzer.accept.rows import Floats, Ints

STRETCHES = 20
NEGLIGIBLE = 0.25
PROPORTIONAL = 1.2
SUPERLINEAR = (
    "one more CPU seems to add more than a whole one: accepts that are long for reasons of their own outlast"
    " the others and end alone, so that the throughput of few CPUs comes out too low"
)
_Z95 = 1.96


@dataclass(frozen=True)
class Point:
    """What was seen with exactly ``cpus`` CPUs inside."""

    cpus: int
    wall_ns: int
    calls: int
    bytes: float | None
    """None where the memory of an accept is unknown."""
    wait_share: float | None
    error: float
    """One standard error of bytes / wall_ns, in bytes per ns."""

    @property
    def rate(self) -> float:
        """Bytes per ns; 0 where the memory is unknown."""
        return (self.bytes or 0.0) / self.wall_ns


@dataclass(frozen=True)
class Knee:
    """Whether throughput saturates on a node: at ``cpus``, or not up to ``seen``, or unknown."""

    nid: int | None
    cpus: int | None
    seen: int
    """The most CPUs at once that there is evidence for; 0: for none."""
    text: str


Curves = Mapping[int | None, tuple[Point, ...]]
"""The points of each node, and of the machine (None) if it has several with accepts."""


def curves(accepts: Accepts, window: tuple[int, int] | None = None) -> Curves:
    """All curves of some accepts, of what lies in the window."""
    import numpy as np

    spans = accepts.levels[accepts.work]
    known = np.unique(spans.nid).tolist()
    nids: list[int | None] = [nid for nid in known if nid != UNKNOWN]
    if known != nids or len(nids) != 1:
        nids.insert(0, None)
    return {nid: curve(accepts, nid, window) for nid in nids}


def curve(accepts: Accepts, nid: int | None, window: tuple[int, int] | None = None) -> tuple[Point, ...]:
    """The points of a node, or of the machine for None; none without durations."""
    calls = accepts.call if accepts.call.timed.any() else accepts.levels[accepts.work]
    inside = _of(calls, nid, window)
    if not len(inside):
        return ()
    arch = _of(accepts.arch, nid, window)
    work = arch if len(arch) else inside
    times, (cpus, rate, working) = sweep(
        [_count(inside), _rate(work), _count(work)],
    )
    sized = bool((work.size != UNKNOWN).all())
    ends = inside.end if window is None else inside.end[inside.end < window[1]]
    return _points(times, cpus.astype("int64"), rate, working if len(arch) else None, ends, sized)


def _of(spans: Spans, nid: int | None, window: tuple[int, int] | None) -> Spans:
    """Those with durations, cut to the window; ``dur`` is still that of the whole."""
    import numpy as np

    chosen = spans.timed & (spans.dur > 0)
    found = spans.where(chosen if nid is None else chosen & (spans.nid == nid))
    if window is None:
        return found
    begin, end = np.maximum(found.begin, window[0]), np.minimum(found.end, window[1])
    return replace(found, begin=begin, end=end).where(end > begin)


def _count(spans: Spans) -> tuple[Ints, Floats]:
    import numpy as np

    one = np.ones(len(spans))
    return np.concatenate((spans.begin, spans.end)), np.concatenate((one, -one))


def _rate(spans: Spans) -> tuple[Ints, Floats]:
    import numpy as np

    each = np.maximum(spans.size, 0) / spans.dur
    return np.concatenate((spans.begin, spans.end)), np.concatenate((each, -each))


def _points(
    times: Ints, cpus: Ints, rate: Floats, working: Floats | None, ends: Ints, sized: bool
) -> tuple[Point, ...]:
    import numpy as np

    wall = np.diff(times)
    cpus, rate = cpus[:-1], rate[:-1]
    ended = cpus[np.maximum(np.searchsorted(times, ends) - 1, 0)]
    points = []
    for k in np.unique(cpus[cpus > 0]).tolist():
        at = cpus == k
        took, done = wall[at], np.maximum(rate[at], 0) * wall[at]
        share = None
        if working is not None:
            share = float(np.clip(1 - (working[:-1][at] * took).sum() / (k * took.sum()), 0, 1))
        points.append(
            Point(
                cpus=k,
                wall_ns=int(took.sum()),
                calls=int((ended == k).sum()),
                bytes=float(done.sum()) if sized else None,
                wait_share=share,
                error=_error(took, done),
            )
        )
    return tuple(points)


def _error(wall: Ints, done: Floats) -> float:
    """Standard error of sum(done) / sum(wall), from stretches of equal wall time, each left out once."""
    import numpy as np

    total = wall.sum()
    stretch = np.minimum((np.cumsum(wall) - wall) * STRETCHES // max(int(total), 1), STRETCHES - 1)
    walls = np.bincount(stretch, weights=wall, minlength=STRETCHES)
    dones = np.bincount(stretch, weights=done, minlength=STRETCHES)
    some = walls > 0
    n = int(some.sum())
    if n < 2:
        return float("inf")
    rates = (done.sum() - dones[some]) / (total - walls[some])
    return float(np.sqrt((n - 1) / n * ((rates - rates.mean()) ** 2).sum()))


def parallel(accepts: Accepts, found: Curves, doubt: str = "") -> Table:
    """One row per node and number of CPUs; the machine's first, where it has several nodes.

    ``doubt`` says why waiting and overlap cannot be measured in this run, "" if they can.
    """
    rows = [row for nid, points in found.items() for row in _rows(nid, points)]
    if doubt and rows:
        rows = [row | dict.fromkeys(_OF_OVERLAP if row["cpus"] > 1 else _OF_WAITING) for row in rows]
        note = f"cannot be told what one more CPU adds, and whether it saturates: {doubt}"
        return Table("parallel", _TITLE, _NAMES, tuple(rows), _COLUMNS, 2, notes=(note,))
    notes = [knee(nid, points).text for nid, points in found.items() if points]
    low = [row["marginal_low"] for row in rows if row["marginal_low"] is not None]
    if any(bound > PROPORTIONAL for bound in low):
        notes.append(SUPERLINEAR)
    if not rows:
        unknown = "unknown: no accept of this run has a duration"
        notes = [unknown] if len(accepts.levels[accepts.work]) else [accepts.none]
    elif not len(accepts.arch):
        event = CALL if len(accepts.call) else BLOCK
        notes.append(f"waiting and accepting cannot be told apart: {ARCH} has no site, only {event}")
    return Table("parallel", _TITLE, _NAMES, tuple(rows), _COLUMNS, 2, notes=tuple(notes))


def _rows(nid: int | None, points: tuple[Point, ...]) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = []
    for before, point in zip((None, *points), points, strict=False):
        low, mid, high = marginal(points, before, point) or (None, None, None)
        rows.append(
            {
                "of": "machine" if nid is None else f"node {nid}",
                "nid": nid,
                "cpus": point.cpus,
                "wall_ns": point.wall_ns,
                "calls": point.calls,
                "bytes": None if point.bytes is None else round(point.bytes),
                "gib_per_s": None if point.bytes is None else point.rate * 1e9 / GIB,
                "wait_share": point.wait_share,
                "marginal": mid,
                "marginal_low": low,
                "marginal_high": high,
            }
        )
    return rows


def marginal(
    points: tuple[Point, ...], before: Point | None, point: Point
) -> tuple[float, float, float] | None:
    """What each CPU more added from one point to the next, of what one alone does: low, value, high."""
    first = points[0]
    if before is None or min(before.calls, point.calls, first.calls) < FEW or first.cpus != 1:
        return None
    if first.rate <= 0:
        return None
    scale = (point.cpus - before.cpus) * first.rate
    value = (point.rate - before.rate) / scale
    error = _Z95 * (point.error**2 + before.error**2) ** 0.5 / scale
    return value - error, value, value + error


def knee(nid: int | None, points: tuple[Point, ...]) -> Knee:
    """Where throughput saturates, with the evidence in words."""
    where = "machine" if nid is None else f"node {nid}"
    seen, doubt = 0, ""
    for before, point in itertools.pairwise(points):
        found = marginal(points, before, point)
        if found is None:
            continue
        low, value, high = found
        evidence = f"{value:.0%} of the first (95%: {low:.0%} to {high:.0%}; {point.calls} calls)"
        if high < NEGLIGIBLE:
            rate = written(before.rate * 1e9 / GIB, "rate")
            text = f"{where}: saturated at {before.cpus} ({rate} GiB/s): one more adds {evidence}"
            return Knee(nid, before.cpus, point.cpus, text)
        if low < NEGLIGIBLE:
            doubt = (
                doubt
                or f"{where}: cannot be told whether it saturates at {before.cpus}: one more adds {evidence}"
            )
        seen = point.cpus
    if doubt or seen > 1:
        return Knee(nid, None, seen, doubt or f"{where}: no saturation up to {seen} CPUs at once")
    text = f"{where}: cannot be told whether it saturates: fewer than {FEW} calls with several CPUs at once"
    return Knee(nid, None, seen, text)


_TITLE = "CPUs accepting at once"
_OF_WAITING = ("wait_share", "marginal", "marginal_low", "marginal_high")
_OF_OVERLAP = ("gib_per_s", *_OF_WAITING)
_NAMES = (
    "of",
    "nid",
    "cpus",
    "wall_ns",
    "calls",
    "bytes",
    "gib_per_s",
    "wait_share",
    "marginal",
    "marginal_low",
    "marginal_high",
)
_COLUMNS = (
    Column("of", "of"),
    Column("cpus", "CPUs", "number"),
    Column("wall_ns", "wall", "ns"),
    Column("calls", "calls", "count"),
    Column("bytes", "memory", "bytes"),
    Column("gib_per_s", "GiB/s", "rate"),
    Column("wait_share", "waiting", "share"),
    Column("marginal", "one more", "share"),
    Column("marginal_low", "at least", "share"),
    Column("marginal_high", "at most", "share"),
)
