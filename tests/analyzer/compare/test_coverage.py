# SPDX-License-Identifier: Apache-2.0
"""Intervals cover the truth at their stated rate, whatever the boots' noise looks like."""

from collections.abc import Callable

import numpy as np
import pytest
from scipy import stats

from memtrace.analyzer.compare import bootstrap
from memtrace.analyzer.compare.bootstrap import Sample, estimate
from memtrace.tests.analyzer.compare.generated import Floats
from memtrace.tests.analyzer.compare.test_histogram import histogram

TRIALS = 1_000
LEVEL = 0.95
TRUE = 1.07

NOISE: dict[str, Callable[[np.random.Generator, int], Floats]] = {
    "normal, 4 %": lambda rng, n: np.exp(rng.normal(0, 0.04, n)),
    "lognormal, 50 %": lambda rng, n: np.exp(rng.normal(0, 0.5, n)),
    "one boot in ten much slower": lambda rng, n: (
        np.exp(rng.normal(0, 0.04, n)) * np.where(rng.random(n) < 0.1, 1 + rng.exponential(1, n), 1)
    ),
    "heavy tails": lambda rng, n: np.exp(0.05 * rng.standard_t(3, n)),
}


@pytest.mark.parametrize("boots", [(3, 3), (5, 5), (10, 10), (4, 12)], ids=str)
@pytest.mark.parametrize("noise", NOISE)
def test_intervals_cover_the_truth(noise: str, boots: tuple[int, int]) -> None:
    rng = np.random.default_rng(hash_of(noise, boots))
    make = NOISE[noise]
    covered = 0
    for _ in range(TRIALS):
        before, after = Sample(1e6 * make(rng, boots[0])), Sample(1e6 * TRUE * make(rng, boots[1]))
        (interval,) = estimate(before, after, (LEVEL,), rng).intervals
        assert interval is not None
        covered += interval[0] <= TRUE - 1 <= interval[1]
    # 1.5 % less than stated is what skewed noise costs at worst; the rest is the trials' own chance.
    assert covered >= stats.binom.ppf(0.001, TRIALS, LEVEL - 0.015)


def hash_of(noise: str, boots: tuple[int, int]) -> list[int]:
    return [list(NOISE).index(noise), *boots]


def test_a_plain_percentile_interval_would_not() -> None:
    """Why the interval is stretched: five boots a side, normal noise."""
    rng = np.random.default_rng(3)
    covered = 0
    for _ in range(400):
        x, y = rng.normal(0, 0.04, (2, 5))
        drawn = rng.integers(0, 5, (2, 2_000, 5))
        moved = y[drawn[1]].mean(1) - x[drawn[0]].mean(1)
        low, high = np.quantile(moved, [0.025, 0.975])
        covered += low <= 0 <= high
    assert covered / 400 < 0.92


def test_chance_inside_runs_widens_the_interval_where_runs_hide_it() -> None:
    """Three boots whose p99 happen to agree: their own events say how far p99 is known."""
    rng = np.random.default_rng(4)
    histograms = tuple(histogram(rng.lognormal(8, 1, 200).astype(np.int64)) for _ in range(3))
    values = np.array([30_000.0, 30_001.0, 30_002.0])
    with_events, without = Sample(values, histograms, "p99"), Sample(values)
    wide = estimate(with_events, with_events, (LEVEL,), np.random.default_rng(1)).intervals[0]
    narrow = estimate(without, without, (LEVEL,), np.random.default_rng(1)).intervals[0]
    assert wide is not None and narrow is not None
    assert narrow[1] < 0.001 < 0.1 < wide[1]


def test_chance_inside_runs_is_not_counted_twice() -> None:
    """Where boots differ by more than their events explain, the runs alone say so."""
    rng = np.random.default_rng(5)
    histograms = tuple(histogram(rng.lognormal(8, 1, 100_000).astype(np.int64)) for _ in range(5))
    values = np.array([1.0, 1.2, 0.8, 1.1, 0.9]) * 30_000
    found = [
        estimate(s, s, (LEVEL,), np.random.default_rng(1)).intervals[0]
        for s in (Sample(values, histograms, "p50"), Sample(values))
    ]
    assert found[0] is not None and found[1] is not None
    assert found[0] == pytest.approx(found[1], rel=0.05)


def test_p99_of_few_events_covers_too() -> None:
    """Hierarchical end to end: 4 boots of 300 heavy-tailed events each."""
    rng = np.random.default_rng(6)
    covered, trials = 0, 300
    for _ in range(trials):
        sides = []
        for factor in (1.0, TRUE):
            took = rng.lognormal(8, 0.8, (4, 300)) * factor * np.exp(rng.normal(0, 0.02, (4, 1)))
            made = tuple(histogram(row.astype(np.int64)) for row in took)
            sides.append(Sample(np.array([float(h.quantile(0.99)) for h in made]), made, "p99"))
        (interval,) = estimate(sides[0], sides[1], (LEVEL,), rng).intervals
        assert interval is not None
        covered += interval[0] <= TRUE - 1 <= interval[1]
    assert covered >= stats.binom.ppf(0.001, trials, LEVEL)


def test_with_zeros_arithmetic_means_are_compared() -> None:
    before = Sample(np.tile([0.0, 10.0, 20.0, 10.0], 3))
    after = Sample(np.tile([20.0, 30.0, 40.0, 30.0], 3))
    found = estimate(before, after, (LEVEL,), np.random.default_rng(1))
    assert (found.before, found.after) == (10, 30)
    assert found.change == pytest.approx(2.0)
    assert found.intervals[0] is not None
    assert 0 < found.intervals[0][0] < 2.0 < found.intervals[0][1]


@pytest.mark.parametrize("boots", [5, 10, 20])
@pytest.mark.parametrize("true", [0.2, 1.0, 2.0, 10.0])
def test_intervals_cover_the_truth_where_some_runs_have_nothing(true: float, boots: int) -> None:
    """One run in seven without an occurrence, on both sides, and changes of any size."""
    rng = np.random.default_rng([boots, round(10 * true)])
    covered = trials = 0
    while trials < TRIALS:
        before, after = rng.gamma(4, 0.25, (2, boots)) * (rng.random((2, boots)) > 0.15)
        if not (before.any() and after.any()) or min(before.min(), after.min()) > 0:
            continue
        (interval,) = estimate(Sample(before), Sample(after * true), (LEVEL,), rng).intervals
        assert interval is not None
        trials += 1
        covered += interval[0] <= true - 1 <= interval[1]
    assert covered >= stats.binom.ppf(0.001, TRIALS, LEVEL - 0.015)


def test_one_empty_run_of_five_leaves_a_large_change_uncertain() -> None:
    """The mean before is 8, or 10 without the empty run: +1150 % or +900 %."""
    before, after = Sample(np.array([0.0, 10, 10, 10, 10])), Sample(np.full(5, 100.0))
    found = estimate(before, after, (LEVEL,), np.random.default_rng(1))
    assert found.change == pytest.approx(11.5)
    assert found.intervals[0] is not None
    assert found.intervals[0][0] < 9 < 11.5 < 15 < found.intervals[0][1]


def test_from_nothing_to_something_has_no_ratio() -> None:
    found = estimate(Sample(np.zeros(4)), Sample(np.full(4, 7.0)), (LEVEL,), np.random.default_rng(1))
    assert found.change is None
    assert found.intervals[0] == (np.inf, np.inf)
    gone = estimate(Sample(np.full(4, 7.0)), Sample(np.zeros(4)), (LEVEL,), np.random.default_rng(1))
    assert (gone.change, gone.intervals[0]) == (-1.0, (-1.0, -1.0))
    nothing = estimate(Sample(np.zeros(4)), Sample(np.zeros(4)), (LEVEL,), np.random.default_rng(1))
    assert (nothing.change, nothing.intervals[0]) == (0.0, (0.0, 0.0))


def test_too_few_runs_have_no_interval() -> None:
    few, enough = Sample(np.ones(bootstrap.FEWEST - 1)), Sample(np.ones(bootstrap.FEWEST))
    assert estimate(few, enough, (LEVEL,), np.random.default_rng(1)).intervals == (None,)
    assert estimate(enough, enough, (LEVEL,), np.random.default_rng(1)).intervals == ((0.0, 0.0),)


def test_the_same_seed_gives_the_same_interval() -> None:
    before, after = Sample(np.array([1.0, 1.1, 0.9])), Sample(np.array([1.2, 1.3, 1.25]))
    first, second = (estimate(before, after, (LEVEL,), np.random.default_rng(7)) for _ in range(2))
    assert first == second
