# SPDX-License-Identifier: Apache-2.0
"""A straight line through intervals: how the difference of two clocks moves, from bounds of it.

Two clocks that nobody sets run at a constant ratio, so that their difference is a line in time,
and each event that both saw bounds it at its moment.  The lines within all bounds are a convex set;
its extremes at the ends of the stretch are found by linear programming.  The line taken is the mean
of the extreme ones, its uncertainty the most that one of them is away from it.  Bounds that no line
can keep together with the others are left out, the worst first, and counted.

Outside of the stretch the line is not known as well as its uncertainty says.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np

MOST_DRIFT = 1000.0
"""ppm: both clocks slewed as far as the kernel lets them be (MAXFREQ, include/linux/timex.h)."""
MOST_BOUNDS = 4000
"""More are thinned out: the closest bounds of each part of the stretch stay."""
_NS = 1e-3
"""One ns in us, the unit of values here."""
_LINES = ((None, None), (-MOST_DRIFT, MOST_DRIFT))


@dataclass(frozen=True)
class Line:
    """``offset_ns`` at the moment ``at_ns``, and ``drift_ppm`` more for each second after it, in us."""

    at_ns: int
    offset_ns: int
    drift_ppm: float
    drift_uncertainty_ppm: float
    uncertainty_ns: int
    agreeing: int


@dataclass(frozen=True)
class _Bounds:
    """Arrays of one length: at most ``high`` us at ``early`` s, at least ``low`` us at ``late`` s."""

    early: np.ndarray
    high: np.ndarray
    late: np.ndarray
    low: np.ndarray

    def of(self, which: np.ndarray) -> _Bounds:
        """Some of them, by indices or a mask."""
        return _Bounds(self.early[which], self.high[which], self.late[which], self.low[which])

    @property
    def ends(self) -> tuple[float, float]:
        """First and last moment."""
        return float(self.early.min()), float(self.late.max())


def fit(bounds: list[tuple[int, int, int, int]]) -> Line:
    """The line that most bounds agree on: one or more of (moment, at most, later moment, at least), ns."""
    import numpy as np

    middle, base = (min(b[0] for b in bounds) + max(b[2] for b in bounds)) // 2, bounds[0][1]
    shift = np.array([middle, base, middle, base])
    columns = np.array([[x - int(s) for x, s in zip(b, shift, strict=True)] for b in bounds], float).T
    every = _Bounds(columns[0] / 1e9, columns[1] * _NS, columns[2] / 1e9, columns[3] * _NS)
    kept = _thinned(every.of(_near(every)))
    while (beyond := _beyond(kept)).max() > _NS:
        kept = kept.of(beyond <= beyond.max() / 2)
    ends = kept.ends
    lines = np.array([line for end in ends for line in _extremes(kept, end)])
    value, drift = lines.mean(axis=0)
    away = max(float(np.abs(lines[:, 0] - value + (lines[:, 1] - drift) * end).max()) for end in ends) + _NS
    agree = (every.low <= value + drift * every.late + away) & (
        every.high >= value + drift * every.early - away
    )
    turned = max(abs(slope - float(drift)) for slope in _slopes(kept))
    return Line(
        middle, base + round(value / _NS), float(drift), turned, int(away / _NS) + 1, int(agree.sum())
    )


def _near(bounds: _Bounds) -> np.ndarray:
    """Indices of those that a line through where most overlap can reach at all."""
    import numpy as np

    edges = np.concatenate([bounds.low, bounds.high])
    step = np.concatenate([np.ones(len(bounds.low)), -np.ones(len(bounds.high))])
    order = np.lexsort((-step, edges))
    best = int(np.argmax(np.cumsum(step[order])))
    bottom, top = edges[order][best], edges[order][best + 1]
    reach = MOST_DRIFT * (bounds.ends[1] - bounds.ends[0])
    found: np.ndarray = np.flatnonzero((bounds.low <= top + reach) & (bounds.high >= bottom - reach))
    return found


def _thinned(bounds: _Bounds) -> _Bounds:
    """At most MOST_BOUNDS: the closest of each part of the stretch."""
    import numpy as np

    count = len(bounds.early)
    if count <= MOST_BOUNDS:
        return bounds
    parts = MOST_BOUNDS // 4
    first, last = bounds.ends
    part = np.minimum(((bounds.early - first) / (last - first or 1) * parts).astype(int), parts - 1)
    order = np.lexsort((bounds.high - bounds.low, part))
    place = np.arange(count) - np.searchsorted(part[order], part[order])
    return bounds.of(np.sort(order[place < 4]))


def _beyond(bounds: _Bounds) -> np.ndarray:
    """How far each is from being kept by the line for which the sum of that is the least."""
    import numpy as np
    from scipy.optimize import linprog
    from scipy.sparse import eye, hstack, vstack

    count = len(bounds.early)
    rows, most = _constraints(bounds)
    slack = vstack([eye(count), eye(count)])
    found = linprog(
        np.concatenate([[0.0, 0.0], np.ones(count)]),
        A_ub=hstack([rows, -slack]),
        b_ub=most,
        bounds=[*_LINES, *[(0, None)] * count],
        method="highs",
    )
    beyond: np.ndarray = found.x[2:]
    return beyond


def _extremes(bounds: _Bounds, at: float) -> list[tuple[float, float]]:
    """Value and drift of the lowest and of the highest line at a moment; there must be one."""
    return [_least(bounds, sign, sign * at) for sign in (1, -1)]


def _slopes(bounds: _Bounds) -> list[float]:
    """The least and the most drift of a line."""
    return [_least(bounds, 0, sign)[1] for sign in (1, -1)]


def _least(bounds: _Bounds, value: float, drift: float) -> tuple[float, float]:
    """Value and drift of the line within the bounds whose sum of the two, so weighted, is the least."""
    from scipy.optimize import linprog

    rows, most = _constraints(bounds)
    line = linprog([value, drift], A_ub=rows, b_ub=most + _NS, bounds=_LINES, method="highs").x
    return float(line[0]), float(line[1])


def _constraints(bounds: _Bounds) -> tuple[np.ndarray, np.ndarray]:
    """Rows and right sides of: line at early <= high, and -(line at late) <= -low."""
    import numpy as np

    ones = np.ones(len(bounds.early))
    upper, lower = np.column_stack([ones, bounds.early]), np.column_stack([-ones, -bounds.late])
    return np.vstack([upper, lower]), np.concatenate([bounds.high, -bounds.low])
