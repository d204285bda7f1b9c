# SPDX-License-Identifier: Apache-2.0
"""How many runs a change would need: the design of an experiment, from pilot runs.

between
    Standard deviation between runs of one kernel, of the logarithm of the metric
    (about its share of the value), pooled over the sides, less what the chance of
    the events inside a run explains.
within
    What that chance alone adds, from resampling the histograms (bootstrap.within).
runs
    A side, so that a change of the size asked for is found with a probability of
    POWER: Welch's t-test (noncentral t) at the stated error over the number of
    headline metrics, and never fewer than give the permutation test its smallest p.
    Where the runs tell the metric between bounds only, the change has to be larger
    by as much; and no change up to the margin is ever called one.
window
    By how much longer or shorter a recording pays best, if a run costs the time
    from boot to its start and the window itself: sqrt(boot / window) * within /
    between (Kalibera and Jones, ISMM 2013, eq. for the optimal repetition count).
    Above 1, longer windows buy more than further boots do.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from memtrace.analyzer.compare import bootstrap, permutation
from memtrace.analyzer.compare.bootstrap import Sample
from memtrace.analyzer.compare.changes import Rules, sample
from memtrace.analyzer.compare.metrics import Metric
from memtrace.analyzer.compare.percent import finite, percent
from memtrace.analyzer.compare.sides import Side, window_ns
from memtrace.analyzer.tables import Column, Table

if TYPE_CHECKING:
    import numpy as np

POWER = 0.8
MOST = 10_000


@dataclass(frozen=True)
class Spread:
    """How a metric varies among runs of one kernel."""

    between: float
    within: float | None
    """None: no durations tell."""
    pooled: float
    """Of both, as runs show it."""
    freedom: int
    bounds: float = 0.0
    """How far apart the bounds of a run's value are, of the logarithm."""


@dataclass(frozen=True)
class Need:
    """What one metric needs."""

    metric: Metric
    spread: Spread
    runs: int | None
    """A side; None: more than MOST."""
    window: float | None
    """Best length of a recording over that of the pilot; None where nothing tells."""
    detectable: float
    """The smallest change that as many runs as the pilot had find with that probability; inf for none."""


def needs(
    metrics: Sequence[Metric], sides: Sequence[Side], effect: float, rules: Rules, rng: np.random.Generator
) -> list[Need]:
    """What a change of ``effect`` needs, of each metric that at least two runs of a side know."""
    spreads = [(metric, spread) for metric in metrics if (spread := spread_of(metric, sides, rng))]
    per_metric = rules.alpha / max(1, len(spreads))
    pilot = min(len(side.runs) for side in sides)
    out = []
    for metric, spread in spreads:
        left = math.expm1(math.log1p(effect) - spread.bounds)
        told = left > 0 and effect > rules.margin
        runs = runs_needed(spread.pooled, left, per_metric, rules.alpha) if told else None
        verdicts = permutation.least_p(pilot, pilot) <= rules.alpha
        least = detectable(spread.pooled, pilot, per_metric) if verdicts else math.inf
        least = (1 + least) * math.exp(spread.bounds) - 1
        out.append(Need(metric, spread, runs, _window(spread, sides), max(least, rules.margin)))
    return out


def spread_of(metric: Metric, sides: Sequence[Side], rng: np.random.Generator) -> Spread | None:
    """The spread of a metric; None where no side has two runs with it, or one has 0."""
    samples = [s for side in sides if len((s := sample(side, metric)[0]).values) > 1]
    if not samples or any((s.values <= 0).any() for s in samples):
        return None
    return spread(samples, rng)


def spread(samples: Sequence[Sample], rng: np.random.Generator) -> Spread:
    """Pooled over samples of two runs and more, all above 0."""
    import numpy as np

    freedom = sum(len(s.values) - 1 for s in samples)
    pooled = sum(float(np.log(s.values).var(ddof=1)) * (len(s.values) - 1) for s in samples) / freedom
    within = float(np.mean([bootstrap.chance(s, i, rng) for s in samples for i in range(len(s.values))]))
    told = any(h is not None for s in samples for h in s.histograms)
    return Spread(
        math.sqrt(max(0.0, pooled - within)),
        math.sqrt(within) if told else None,
        math.sqrt(max(pooled, within)),
        freedom,
        float(
            np.mean(
                [np.log(s.bounds[1] / s.bounds[0]).mean() if s.bounds is not None else 0 for s in samples]
            )
        ),
    )


def runs_needed(deviation: float, effect: float, per_metric: float, alpha: float) -> int | None:
    """Runs a side that find ``effect`` with POWER at the error ``per_metric``; None above MOST."""
    least = next(n for n in range(bootstrap.FEWEST, 100) if permutation.least_p(n, n) <= alpha)

    def falls_short(runs: int) -> bool:
        return power(runs, deviation, effect, min(per_metric, _attainable(runs, alpha))) < POWER

    low, high = least, least
    while falls_short(high):
        low, high = high, high * 2
        if high > MOST:
            return None
    while low < high:
        middle = (low + high) // 2
        if falls_short(middle):
            low = middle + 1
        else:
            high = middle
    return high


def _attainable(runs: int, alpha: float) -> float:
    """The largest p up to ``alpha`` that relabelling so many runs a side can give."""
    least = permutation.least_p(runs, runs)
    return math.floor(alpha / least) * least


def power(runs: int, deviation: float, effect: float, alpha: float) -> float:
    """The probability that Welch's t-test of ``runs`` a side finds a change of ``effect``."""
    from scipy import stats

    if deviation < 1e-6:
        return 1.0
    freedom = 2 * (runs - 1)
    shift = abs(math.log1p(effect)) / (deviation * math.sqrt(2 / runs))
    # Above, the other tail is nothing, and scipy's noncentral t loses its digits.
    if shift > 30:
        return 1.0
    return float(stats.nct.sf(stats.t.ppf(1 - alpha / 2, freedom), freedom, shift))


def detectable(deviation: float, runs: int, alpha: float) -> float:
    """The smallest increase that so many runs a side find with POWER; inf for one run."""
    if runs < 2:
        return math.inf
    low, high = 0.0, 1e-4
    while power(runs, deviation, high, alpha) < POWER:
        low, high = high, high * 2
        if high > 1e6:
            return math.inf
    for _ in range(30):
        middle = (low + high) / 2
        low, high = (middle, high) if power(runs, deviation, middle, alpha) < POWER else (low, middle)
    return high


def _window(spread: Spread, sides: Sequence[Side]) -> float | None:
    runs = [run for side in sides for run in side.runs]
    boot = sum(run.status.started_ns for run in runs) / len(runs)
    window = sum(window_ns(side) * len(side.runs) for side in sides) / len(runs)
    if not spread.between or not spread.within or window <= 0 or boot <= 0:
        return None
    return math.sqrt(boot / window) * spread.within / spread.between


def table(needs: Sequence[Need], effect: float, rules: Rules, runs: int) -> Table:
    """What a change of ``effect`` needs."""
    rows = tuple(
        {
            "metric": need.metric.name,
            "sd_between": need.spread.between,
            "sd_within": need.spread.within,
            "runs_needed": need.runs,
            "detectable": finite(need.detectable),
            "best_window": need.window,
        }
        | {
            "_detectable": percent(need.detectable) if math.isfinite(need.detectable) else "none",
            "_window": None if need.window is None else f"x{need.window:.2g}",
            "_runs": "more" if need.runs is None else str(need.runs),
        }
        for need in needs
    )
    names = ("metric", "sd_between", "sd_within", "runs_needed", "detectable", "best_window")
    columns = (
        Column("metric", "metric"),
        Column("sd_between", "between runs", "share"),
        Column("sd_within", "within", "share"),
        Column("_runs", "runs a side", "number"),
        Column("_detectable", f"{runs} find", "number"),
        Column("_window", "window", "number"),
    )
    notes = (
        f"runs a side: to find a change of {effect:.1%} with a probability of {POWER:.0%} at"
        f" {rules.confidence:.0%} confidence over these metrics together",
        f'"{runs} find": the change that as many runs as these find so; between runs, within: standard'
        " deviations; window: the length of a recording that pays best, as a multiple of these runs'",
    )
    title = f"Runs needed for a change of {effect:.1%}"
    return Table(
        "plan", title, names, rows, columns, notes=notes if rows else ("nothing varies that is known",)
    )
