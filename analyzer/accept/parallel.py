# SPDX-License-Identifier: Apache-2.0
"""The table ``parallel``: memory accepted a second against the number of CPUs that do it at once.

What is counted is defined in concurrency.py.

cpus
    CPUs inside accept_memory() at once, for memory of one node (or, nid null, of
    any node).
wall_ns
    Time with exactly that many.
calls
    Calls that ended with exactly that many inside.
bytes, gib_per_s
    Memory accepted in that time, and per second of it, of all these CPUs
    together.
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
on a clock of instructions (analyzer/clock.py).
"""

from __future__ import annotations

import itertools
from dataclasses import dataclass
from typing import Any

from memtrace.analyzer.accept.concurrency import Curves, Point
from memtrace.analyzer.accept.rows import ARCH, BLOCK, CALL, Accepts
from memtrace.analyzer.cells import FEW, GIB
from memtrace.analyzer.render.units import written
from memtrace.analyzer.tables import Column, Table

NEGLIGIBLE = 0.25
PROPORTIONAL = 1.2
SUPERLINEAR = (
    "one more CPU seems to add more than a whole one: accepts that are long for reasons of their own outlast"
    " the others and end alone, so that the throughput of few CPUs comes out too low"
)
_Z95 = 1.96


@dataclass(frozen=True)
class Knee:
    """Whether throughput saturates on a node: at ``cpus``, or not up to ``seen``, or unknown."""

    nid: int | None
    cpus: int | None
    seen: int
    """The most CPUs at once that there is evidence for; 0: for none."""
    text: str


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
        notes = [unknown] if len(accepts) else [accepts.none]
    elif ARCH not in accepts.seen:
        event = CALL if CALL in accepts.seen else BLOCK
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
