# SPDX-License-Identifier: Apache-2.0
"""The change and its interval, by a hierarchical bootstrap over runs and their histograms.

Runs are drawn with replacement, n of n, on each side.  The spread between runs
already contains what the chance of their events adds, so drawing these again in
every run would count it twice (Davison and Hinkley, Bootstrap Methods, 3.8).  It
is done as far as the runs vary less than their own events alone would make them,
as happens with few or rare occurrences: the deviations of a resampled histogram are
added with the weight that brings the variance up to that.

A plain percentile interval of 5 runs a side covers 88 % instead of 95 %; a
studentized one fails where one run in ten is an outlier.  What covers (see
tests/analyzer/compare/test_coverage.py) is the percentile interval with each
side's deviations stretched by sqrt(n / (n - 1)), since a resample varies that
much less than a new sample, and the quantiles by Student's t over the normal's,
Welch's degrees of freedom.

Where a run has 0, the interval is that of the logarithm of the ratio of arithmetic
means, to first order (delta method): each side's deviations over its own mean.
Deviations of the difference over the mean before would leave out that this mean
is itself uncertain, by as much more as the change is large.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from memtrace.analyzer.compare.histogram import Histogram
from memtrace.analyzer.compare.metrics import QUANTILES

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    Floats = npt.NDArray[np.float64]
    Ints = npt.NDArray[np.int64]

DRAWS = 4_000
FEWEST = 3
"""Runs a side below which there is no interval."""
_REPLICATES = 200
_ENOUGH = 20
"""Durations below which a histogram says nothing about its own chance."""


@dataclass(frozen=True)
class Sample:
    """One metric on one side: the runs that know it, a value each."""

    values: Floats
    histograms: tuple[Histogram | None, ...] = ()
    """Of the same runs; empty: none."""
    measure: str = ""
    bounds: Floats | None = None
    """Shape (2, runs): what each value is at least and at most; None: just what it is."""

    def of(self, runs: Ints) -> Sample:
        """That of some of the runs."""
        histograms = tuple(self.histograms[i] for i in runs) if self.histograms else ()
        bounds = None if self.bounds is None else self.bounds[:, runs]
        return Sample(self.values[runs], histograms, self.measure, bounds)

    def raised(self, effect: float) -> Sample:
        """All runs with more by a share ``effect``."""
        bounds = None if self.bounds is None else self.bounds * (1 + effect)
        return replace(self, values=self.values * (1 + effect), bounds=bounds)

    @property
    def resolution(self) -> float:
        """The widest of the bounds, as a share of the value."""
        if self.bounds is None:
            return 0.0
        some = self.values > 0
        return float(((self.bounds[1] - self.bounds[0])[some] / self.values[some]).max(initial=0.0))


@dataclass(frozen=True)
class Estimate:
    """A change, and its interval at each level asked for."""

    before: float
    after: float
    change: float | None
    """after / before - 1; None where before is 0."""
    intervals: tuple[tuple[float, float] | None, ...]
    """Of ``change``; inf where before is 0; None with fewer than FEWEST runs on a side."""


def estimate(before: Sample, after: Sample, levels: Sequence[float], rng: np.random.Generator) -> Estimate:
    """The change from before to after, with an interval for each of the confidence ``levels``.

    Values with bounds have the interval from the lower end of the least change that
    they allow to the upper end of the greatest.
    """
    import numpy as np

    if before.bounds is not None or after.bounds is not None:
        return _bounded(before, after, levels, rng)
    logs = bool((before.values > 0).all() and (after.values > 0).all())
    old, new = (mean(s.values, logs=logs) for s in (before, after))
    change = new / old - 1 if old else (0.0 if new == old else None)
    if min(len(before.values), len(after.values)) < FEWEST:
        return Estimate(old, new, change, (None,) * len(levels))
    if not old:
        ends = (0.0, 0.0) if new == old else (np.inf, np.inf)
        return Estimate(old, new, change, (ends,) * len(levels))
    if not new:
        return Estimate(old, new, change, ((-1.0, -1.0),) * len(levels))
    # The mean of logarithms moves by the mean of its parts; the logarithm of a mean
    # by what the mean moves over itself.
    sides = []
    for sample, center in ((before, old), (after, new)):
        moved, variance = _draw(np.log(sample.values) if logs else sample.values / center, sample, logs, rng)
        sides.append((moved, variance, len(sample.values)))
    freedom = _freedom(*((variance, n) for _, variance, n in sides))
    moved = sides[1][0] - sides[0][0]
    center = np.log(after.values).mean() - np.log(before.values).mean() if logs else np.log(new / old)
    found = []
    for level in levels:
        low, high = center + _quantiles(moved, level) * _stretch(level, freedom)
        found.append((float(np.expm1(low)), float(np.expm1(high))))
    return Estimate(old, new, change, tuple(found))


def _bounded(before: Sample, after: Sample, levels: Sequence[float], rng: np.random.Generator) -> Estimate:
    """The same of values that are known between bounds only."""
    import numpy as np

    seed = rng.integers(1 << 62)
    (low, high), (later_low, later_high) = (_ends(sample) for sample in (before, after))
    pairs = (
        (replace(before, bounds=None), replace(after, bounds=None)),
        (replace(before, values=high, bounds=None), replace(after, values=later_low, bounds=None)),
        (replace(before, values=low, bounds=None), replace(after, values=later_high, bounds=None)),
    )
    # The same draws for all three, so that values without bounds widen nothing.
    same = [estimate(old, new, levels, np.random.default_rng(seed)) for old, new in pairs]
    found: list[tuple[float, float] | None] = []
    for intervals in zip(*(one.intervals for one in same), strict=True):
        known = [interval for interval in intervals if interval is not None]
        found.append((min(i[0] for i in known), max(i[1] for i in known)) if known else None)
    return replace(same[0], intervals=tuple(found))


def _ends(sample: Sample) -> tuple[Floats, Floats]:
    if sample.bounds is None:
        return sample.values, sample.values
    return sample.bounds[0], sample.bounds[1]


def mean(values: Floats, *, logs: bool) -> float:
    """The geometric mean, or the arithmetic one; runs that all agree give just their value."""
    import numpy as np

    if values.min() == values.max():
        return float(values[0])
    return float(np.exp(np.log(values).mean())) if logs else float(values.mean())


def within(sample: Sample, run: int, rng: np.random.Generator) -> Floats | None:
    """Logarithms of what resampling a run's histogram does to its value; None where it has none."""
    import numpy as np

    histogram = sample.histograms[run] if sample.histograms else None
    if histogram is None or len(histogram) < _ENOUGH or sample.values[run] <= 0:
        return None
    if sample.measure in QUANTILES:
        again = histogram.quantiles_again(QUANTILES[sample.measure], rng, _REPLICATES)
    else:
        again = histogram.sums_again(rng, _REPLICATES)
    logs = np.log(np.maximum(again, 1e-9))
    about_mean: Floats = logs - logs.mean()
    return about_mean


def chance(sample: Sample, run: int, rng: np.random.Generator) -> float:
    """The variance of what within() gives; 0 where a run has no histogram."""
    histogram = sample.histograms[run] if sample.histograms else None
    if histogram is not None and len(histogram) >= _ENOUGH and sample.measure not in QUANTILES:
        return histogram.sum_variance()
    again = within(sample, run, rng)
    return 0.0 if again is None else float(again.var())


def _draw(values: Floats, sample: Sample, logs: bool, rng: np.random.Generator) -> tuple[Floats, float]:
    """Deviations of the mean in each draw, and the variance of a run."""
    import numpy as np

    n = len(values)
    drawn = rng.integers(0, n, (DRAWS, n))
    moved = (values[drawn].mean(axis=1) - values.mean()) * np.sqrt(n / (n - 1))
    variance = float(values.var(ddof=1))
    if not logs or not any(h is not None for h in sample.histograms):
        return moved, variance
    inside = float(np.mean([chance(sample, i, rng) for i in range(n)]))
    if inside <= variance:
        return moved, variance
    again = [within(sample, i, rng) for i in range(n)]
    table = np.array([np.zeros(_REPLICATES) if a is None else a for a in again])
    weight = np.sqrt(1 - variance / inside)
    moved += weight * table[drawn, rng.integers(0, _REPLICATES, (DRAWS, n))].mean(axis=1)
    return moved, inside


def _quantiles(moved: Floats, level: float) -> Floats:
    import numpy as np

    tail = (1 - level) / 2
    found: Floats = np.quantile(moved, [tail, 1 - tail])
    return found


def _stretch(level: float, freedom: float) -> float:
    from scipy import stats

    tail = (1 - level) / 2
    return float(stats.t.ppf(tail, freedom) / stats.norm.ppf(tail))


def _freedom(*sides: tuple[float, int]) -> float:
    """Welch's degrees of freedom; those of both sides together where nothing varies."""
    terms = [(variance / n, n - 1) for variance, n in sides]
    spread = sum(t**2 / below for t, below in terms)
    return sum(t for t, _ in terms) ** 2 / spread if spread > 0 else float(sum(b for _, b in terms))
