# SPDX-License-Identifier: Apache-2.0
"""A straight line through intervals: how the difference of two clocks moves, from bounds of it.

Two clocks that nobody sets run at a constant ratio, so that their difference is a line in time,
and each event that both saw bounds it at its moment.  The lines within all bounds are a convex set;
its extremes at the ends of the stretch are found by linear programming.  The line taken is the mean
of the extreme ones, its uncertainty the most that one of them is away from it.

Outside of the stretch the line is not known as well as its uncertainty says.
"""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np

MOST_DRIFT = 1000.0
"""ppm: both clocks slewed as far as the kernel lets them be (MAXFREQ, include/linux/timex.h)."""
MOST_BOUNDS = 4000
"""More are thinned out: the closest bounds of each part of the stretch stay."""
NS = 1e-3
"""One ns in us, the unit of values here."""
_LINES = ((None, None), (-MOST_DRIFT, MOST_DRIFT))


@dataclass(frozen=True)
class Line:
    """``value`` us at 0 s and ``drift`` us more each second, and how far off each of them may be."""

    value: float
    drift: float
    value_off: float
    """At any moment from the first bound to the last."""
    drift_off: float


@dataclass(frozen=True)
class Bounds:
    """Arrays of one length: at most ``high`` us at ``early`` s, at least ``low`` us at ``late`` s."""

    early: np.ndarray
    high: np.ndarray
    late: np.ndarray
    low: np.ndarray

    def __len__(self) -> int:
        return len(self.early)

    def of(self, which: np.ndarray | slice) -> Bounds:
        """Some of them, by indices, a mask or a slice."""
        return Bounds(self.early[which], self.high[which], self.late[which], self.low[which])

    def and_then(self, others: Bounds) -> Bounds:
        """These and others."""
        import numpy as np

        pairs = ((getattr(self, f.name), getattr(others, f.name)) for f in fields(self))
        return Bounds(*(np.concatenate(pair) for pair in pairs))

    @property
    def ends(self) -> tuple[float, float]:
        """First and last moment."""
        return float(self.early.min()), float(self.late.max())


def fit(bounds: Bounds) -> Line:
    """The line through bounds whose ``margin`` is not negative."""
    import numpy as np

    close = thinned(bounds)
    ends = close.ends
    lines = np.array([line for end in ends for line in _extremes(close, end)])
    value, drift = (float(mean) for mean in lines.mean(axis=0))
    off = max(float(np.abs(lines[:, 0] - value + (lines[:, 1] - drift) * end).max()) for end in ends)
    turned = max(abs(_least(close, 0, sign)[1] - drift) for sign in (1, -1))
    return Line(value, drift, off + NS, turned)


def kept(bounds: Bounds, line: Line) -> int:
    """How many of the bounds the line keeps, to within how far off it may be."""
    low = bounds.low <= line.value + line.drift * bounds.late + line.value_off
    high = bounds.high >= line.value + line.drift * bounds.early - line.value_off
    return int((low & high).sum())


def strayed(bounds: Bounds, line: Line) -> float:
    """us that the difference may be away from the line at one of the bounds, which are by ``early``.

    Whether or not it is straight: as far as a bound there lets it be, or one near it and what the
    two clocks can drift in between.
    """
    import numpy as np

    above = bounds.high - (line.value + line.drift * bounds.early)
    below = (line.value + line.drift * bounds.late) - bounds.low
    away, drifted = np.maximum(above, below), MOST_DRIFT * bounds.early
    by_before = np.minimum.accumulate(away - drifted) + drifted
    by_after = np.minimum.accumulate((away + drifted)[::-1])[::-1] - drifted
    return float(np.minimum(by_before, by_after).max())


def margin(bounds: Bounds) -> float:
    """us by which some line is within all bounds; negative: by which each line is beyond one of them."""
    import numpy as np
    from scipy.optimize import linprog

    rows, most = _constraints(thinned(bounds))
    wide = np.column_stack([rows, np.ones(len(rows))])
    found = linprog([0, 0, -1], A_ub=wide, b_ub=most, bounds=[*_LINES, (None, None)], method="highs")
    return float(found.x[2])


def thinned(bounds: Bounds) -> Bounds:
    """At most MOST_BOUNDS: the closest of each part of the stretch."""
    import numpy as np

    count = len(bounds)
    if count <= MOST_BOUNDS:
        return bounds
    parts = MOST_BOUNDS // 4
    first, last = bounds.ends
    part = np.minimum(((bounds.early - first) / (last - first or 1) * parts).astype(int), parts - 1)
    order = np.lexsort((bounds.high - bounds.low, part))
    place = np.arange(count) - np.searchsorted(part[order], part[order])
    return bounds.of(np.sort(order[place < 4]))


def _extremes(bounds: Bounds, at: float) -> list[tuple[float, float]]:
    """Value and drift of the lowest and of the highest line at a moment; there must be one."""
    return [_least(bounds, sign, sign * at) for sign in (1, -1)]


def _least(bounds: Bounds, value: float, drift: float) -> tuple[float, float]:
    """Value and drift of the line within the bounds whose sum of the two, so weighted, is the least."""
    from scipy.optimize import linprog

    rows, most = _constraints(bounds)
    line = linprog([value, drift], A_ub=rows, b_ub=most + NS, bounds=_LINES, method="highs").x
    return float(line[0]), float(line[1])


def _constraints(bounds: Bounds) -> tuple[np.ndarray, np.ndarray]:
    """Rows and right sides of: line at early <= high, and -(line at late) <= -low."""
    import numpy as np

    ones = np.ones(len(bounds))
    upper, lower = np.column_stack([ones, bounds.early]), np.column_stack([-ones, -bounds.late])
    return np.vstack([upper, lower]), np.concatenate([bounds.high, -bounds.low])
