# SPDX-License-Identifier: Apache-2.0
"""What one accept costs, as a model: a fixed part for each call and a part for each 2 MiB unit.

The time of a call that accepts n units is taken as fixed + n * per_unit.  Both
come from a least-squares line through the median time of each size seen
(``accept.arch``, or ``accept.call`` where it tells the bytes really accepted),
weighted by the number of calls of that size; medians, so that a preempted vCPU does not
tilt the line.  It needs two sizes with at least FEWEST calls each: with one size
the parts cannot be told apart, and are unknown.  Each part's standard error is from
1000 bootstrap samples of the calls.  On x86 sizes differ by themselves: the
first call of a stretch accepts a guard unit behind its 4 MiB, later ones find their own
first unit accepted.

The rate of one CPU (ns per byte) is time over memory of all accepts of a node.
Where they overlap by more than OVERLAP of their time (and so may have waited for
each other, or shared the platform's throughput), it is that of the accepts that
had their node to themselves: none was under way there when they began, and none began
within the 90th percentile of all durations after.  (That none overlapped them is
no criterion: it would choose the short ones.)  With fewer than FEWEST of these,
the second condition is dropped, then the first.  The recorder's own accepts count
too: they cost the same.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from memtrace.analyzer.accept.calls import UNIT
from memtrace.analyzer.accept.intervals import union_ns
from memtrace.analyzer.accept.rows import UNKNOWN, Accepts, Spans
from memtrace.analyzer.quantiles import exact_quantile

if TYPE_CHECKING:
    from memtrace.analyzer.accept.rows import Floats, Ints

FEWEST = 5
OVERLAP = 0.1
_SAMPLES = 1000
_MOST = 2000
"""Calls of one size that a bootstrap sample is drawn from (evenly picked)."""


@dataclass(frozen=True)
class Cost:
    """ns of one call: ``fixed`` + ``per_unit`` for each 2 MiB; errors are one standard error."""

    fixed: float
    per_unit: float
    fixed_error: float
    per_unit_error: float
    half: tuple[float, float, float]
    """(fixed + per_unit) / (fixed + 2 * per_unit): value, and its 95 % bounds."""
    sizes: tuple[tuple[int, int], ...]
    """Units of a call, and how many calls had so many."""


def cost(accepts: Accepts) -> Cost | str:
    """The model, or why there is none."""
    import numpy as np

    spans = unhindered(accepts)
    if not spans.timed.any():
        return "no accept has a duration"
    chosen = spans.timed & (spans.bytes > 0) & (spans.bytes != UNKNOWN)
    if not chosen.any():
        return f"{', '.join(accepts.events)} does not tell the bytes really accepted"
    units, number = np.unique(spans.bytes[chosen] // UNIT, return_counts=True)
    some = (number >= FEWEST) & (units > 0)
    if some.sum() < 2:
        seen = ", ".join(f"{n} of {u * 2} MiB" for u, n in zip(units.tolist(), number.tolist(), strict=True))
        return f"two sizes with {FEWEST} calls each are needed, and there were {seen}"
    groups = [spans.dur[chosen & (spans.bytes // UNIT == u)] for u in units[some]]
    weights = number[some].astype(float)
    fixed, per_unit = _line(units[some], np.array([np.median(g) for g in groups]), weights)
    fixed_error, unit_error, bounds = _errors(units[some], groups, weights)
    sizes = tuple(zip(units[some].tolist(), number[some].tolist(), strict=True))
    value = float(_half(fixed, per_unit))
    return Cost(float(fixed), float(per_unit), fixed_error, unit_error, (value, *bounds), sizes)


def ns_per_byte(accepts: Accepts, nid: int | None = None) -> float | None:
    """Time of one CPU for a byte, on a node or (None) anywhere; None where it is unknown.

    Accepts that all took nothing are of a clock that is too coarse for them: unknown.
    """
    spans = unhindered(accepts)
    chosen = spans.timed & (spans.size > 0)
    if nid is not None:
        chosen &= spans.nid == nid
    size = int(spans.size[chosen].sum())
    taken = int(spans.dur[chosen].sum())
    return taken / size if size and taken else None


def unhindered(accepts: Accepts) -> Spans:
    """All accepts if they hardly overlap; else those that had their node to themselves."""
    import numpy as np

    spans = accepts.best
    if not spans.timed.any():
        return spans
    by_node = np.lexsort((spans.begin, spans.nid))
    begin, end, nid = spans.begin[by_node], spans.end[by_node], spans.nid[by_node]
    # Nodes one after the other in time, so that one running maximum serves them all.
    usual = exact_quantile(np.sort(spans.dur[spans.timed]), 900)
    apart = (int(end.max() - begin.min()) + usual + 1) * np.cumsum(np.append(0, np.diff(nid) != 0))
    begin, end = begin + apart, end + apart
    if union_ns(begin, end) >= (1 - OVERLAP) * int((end - begin).sum()):
        return spans
    reached = np.maximum.accumulate(end)
    first = np.append(True, begin[1:] >= reached[:-1])
    undisturbed = first & np.append(np.diff(begin) > usual, True)
    for chosen in (undisturbed, first):
        if chosen.sum() >= FEWEST:
            return spans.where(by_node[chosen])
    return spans


def _line(units: Ints, medians: Floats, weights: Floats) -> tuple[Floats, Floats]:
    """Weighted least squares, for each row of medians (shape (…, sizes))."""
    w = weights / weights.sum()
    x = (w * units).sum()
    y = (w * medians).sum(axis=-1)
    slope = (w * (units - x) * medians).sum(axis=-1) / (w * (units - x) ** 2).sum()
    return y - slope * x, slope


def _half(fixed: Floats, per_unit: Floats) -> Floats:
    """What one unit takes of two: between one half (nothing fixed) and 1 (all of it)."""
    import numpy as np

    fixed, per_unit = np.maximum(fixed, 0), np.maximum(per_unit, 0)
    halves: Floats = (fixed + per_unit) / np.maximum(fixed + 2 * per_unit, 1e-9)
    return halves


def _errors(units: Ints, groups: list[Ints], weights: Floats) -> tuple[float, float, tuple[float, float]]:
    """Standard errors of both parts, and 95 % bounds of _half()."""
    import numpy as np

    random = np.random.default_rng(0)
    medians = []
    for group in groups:
        picked = group[np.linspace(0, len(group) - 1, min(len(group), _MOST)).astype(int)]
        # The median of a sample with repetition has the rank of a Beta variate.
        half = len(picked) / 2
        rank = random.beta(half + 0.5, half + 0.5, _SAMPLES)
        medians.append(np.quantile(picked, rank))
    fixed, per_unit = _line(units, np.stack(medians, axis=-1), weights)
    low, high = np.quantile(_half(fixed, per_unit), (0.025, 0.975))
    return float(fixed.std()), float(per_unit.std()), (float(low), float(high))
