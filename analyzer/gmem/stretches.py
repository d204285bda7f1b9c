# SPDX-License-Identifier: Apache-2.0
"""Stretches of time in each of which two clocks run evenly, from bounds of their difference.

A clock that jumps, as where a guest is paused or its clocksource changes, or that is slewed, as
by an NTP client, leaves no line within all bounds (see ``line``).  They are then parted where
both parts are kept best: the later the cut, the less are those before it, and the more those
after it, so that bisection finds it; and the parts are parted again until each has its line.
Parts of fewer than ``FEWEST`` bounds are of other moments; what they parted is joined again.

Where there is more than one stretch, the clocks are known not to run evenly, and so perhaps
not within a stretch either: the uncertainty is then what the bounds leave to any curve.

A jump so small that one line keeps all bounds is not seen.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from memtrace.analyzer.gmem.line import MOST_DRIFT, NS, Bounds, fit, kept, margin, strayed

if TYPE_CHECKING:
    import numpy as np

FEWEST = 3
MOST_PARTS = 64
"""Bounds that fall into more have nothing to do with each other."""


@dataclass(frozen=True)
class Stretch:
    """The difference is ``offset_ns`` at the moment ``at_ns``, and ``drift_ppm`` us more each second.

    To within ``uncertainty_ns`` from ``begin_ns`` to ``end_ns``: from the first of the ``agreeing``
    bounds, which it keeps, to the last.
    """

    begin_ns: int
    end_ns: int
    at_ns: int
    offset_ns: int
    drift_ppm: float
    drift_uncertainty_ppm: float
    uncertainty_ns: int
    agreeing: int


def stretches(bounds: list[tuple[int, int, int, int]]) -> list[Stretch]:
    """By time, of one or more (moment, at most, later moment, at least), ns; none where none agree."""
    import numpy as np

    begin, base = min(b[0] for b in bounds), bounds[0][1]
    shift = (begin, base, begin, base)
    columns = np.array([[x - s for x, s in zip(b, shift, strict=True)] for b in sorted(bounds)], float).T
    every = Bounds(columns[0] / 1e9, columns[1] * NS, columns[2] / 1e9, columns[3] * NS)
    fewest = min(FEWEST, len(bounds))
    parts = [part for part in _parted([every.of(_near(every))]) if len(part) >= fewest]
    joined = _joined(parts)
    return [_stretch(part, begin, base, len(joined) == 1) for part in joined]


def _stretch(bounds: Bounds, begin: int, base: int, even: bool) -> Stretch:
    line = fit(bounds)
    value_off = line.value_off if even else max(line.value_off, strayed(bounds, line))
    first, last = (begin + round(end * 1e9) for end in bounds.ends)
    middle = (first + last) // 2
    offset = base + round((line.value + line.drift * (middle - begin) / 1e9) / NS)
    off = int(value_off / NS) + 1
    return Stretch(first, last, middle, offset, line.drift, line.drift_off, off, kept(bounds, line))


def _parted(parts: list[Bounds]) -> list[Bounds]:
    """Parts that a line keeps, by time; or none, if they are too many."""
    done: list[Bounds] = []
    while parts:
        part = parts.pop()
        if len(done) + len(parts) > MOST_PARTS:
            return []
        if len(part) < 2 or margin(part) >= 0:
            done.append(part)
        else:
            cut = _cut(part)
            parts += [part.of(slice(cut)), part.of(slice(cut, None))]
    return done[::-1]


def _cut(bounds: Bounds) -> int:
    """How many are before the cut at which the one of both parts that is kept worse is kept best."""
    first, last = 1, len(bounds) - 1
    while first < last:
        middle = (first + last) // 2
        if margin(bounds.of(slice(middle))) > margin(bounds.of(slice(middle, None))):
            first = middle + 1
        else:
            last = middle
    cuts = [cut for cut in (first - 1, first) if cut]
    return max(cuts, key=lambda cut: min(margin(bounds.of(slice(cut))), margin(bounds.of(slice(cut, None)))))


def _joined(parts: list[Bounds]) -> list[Bounds]:
    """Parts, by time, of which no two neighbours are kept by one line."""
    joined: list[Bounds] = []
    for part in parts:
        if joined and margin(both := joined[-1].and_then(part)) >= 0:
            joined[-1] = both
        else:
            joined.append(part)
    return joined


def _near(bounds: Bounds) -> np.ndarray:
    """Indices of those that a line through where most overlap can reach at all."""
    import numpy as np

    edges = np.concatenate([bounds.low, bounds.high])
    step = np.concatenate([np.ones(len(bounds)), -np.ones(len(bounds))])
    order = np.lexsort((-step, edges))
    best = int(np.argmax(np.cumsum(step[order])))
    bottom, top = edges[order][best], edges[order][best + 1]
    reach = MOST_DRIFT * (bounds.ends[1] - bounds.ends[0])
    found: np.ndarray = np.flatnonzero((bounds.low <= top + reach) & (bounds.high >= bottom - reach))
    return found
