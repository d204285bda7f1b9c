# SPDX-License-Identifier: Apache-2.0
"""The tests on runs: exact, corrected together, and never fooled by many events."""

import itertools

import numpy as np
import pytest
from scipy import stats

from memtrace.analyzer.compare import permutation
from memtrace.analyzer.compare.bootstrap import Sample, estimate
from memtrace.tests.analyzer.compare.generated import Floats, durations

TRIALS = 2_000
ALPHA = 0.05
SPLIT_10 = permutation.splits(10, 10, np.random.default_rng(1))


def most(rate: float, trials: int) -> float:
    """What a rate of so many trials exceeds by chance once in 1000 times."""
    return float(stats.binom.ppf(0.999, trials, rate)) / trials


def metrics(took: Floats) -> Floats:
    """What a comparison makes of each run: total, median, p99, longest; shape (runs, 4)."""
    return np.stack([took.sum(1), *np.quantile(took, (0.5, 0.99), axis=1), took.max(1)], axis=1)


def different(values: Floats, split: np.ndarray) -> np.ndarray:
    return permutation.step_down(permutation.statistics(values, split)) <= ALPHA


def test_all_splits_are_there_once_and_the_true_one_is_first() -> None:
    split = permutation.splits(3, 4, np.random.default_rng(0))
    assert split[0].tolist() == [False] * 3 + [True] * 4
    assert {tuple(np.flatnonzero(row).tolist()) for row in split} == set(itertools.combinations(range(7), 4))
    assert len(split) == 35
    assert len(SPLIT_10) == permutation.SAMPLED + 1
    assert (SPLIT_10.sum(axis=1) == 10).all()


def test_the_statistic_is_welchs_t_of_the_logarithms() -> None:
    values = np.random.default_rng(5).lognormal(0, 0.5, (9, 3))
    ours = permutation.statistics(values, permutation.splits(4, 5, np.random.default_rng(0)))[0]
    theirs = stats.ttest_ind(np.log(values[4:]), np.log(values[:4]), equal_var=False).statistic
    assert ours == pytest.approx(np.abs(theirs), rel=1e-4)


def test_p_is_that_of_scipys_permutation_test() -> None:
    values = np.random.default_rng(6).lognormal(0, 0.5, 8)
    values[4:] *= 1.6

    def welch(x: Floats, y: Floats, axis: int = -1) -> Floats:
        t: Floats = np.abs(stats.ttest_ind(x, y, axis=axis, equal_var=False).statistic)
        return t

    logs = np.log(values)
    theirs = stats.permutation_test((logs[:4], logs[4:]), welch, vectorized=True, alternative="greater")
    split = permutation.splits(4, 4, np.random.default_rng(0))
    ours = permutation.p_values(permutation.statistics(values[:, None], split))[0]
    assert ours == pytest.approx(theirs.pvalue)


def test_the_smallest_p_is_what_the_number_of_splits_allows() -> None:
    for before, after in ((3, 3), (4, 4), (3, 5), (2, 9)):
        values = np.concatenate([np.ones(before), np.full(after, 2.0)])[:, None]
        split = permutation.splits(before, after, np.random.default_rng(0))
        p = permutation.p_values(permutation.statistics(values, split))[0]
        assert p == pytest.approx(permutation.least_p(before, after))


def test_runs_that_are_all_alike_are_not_different() -> None:
    split = permutation.splits(5, 5, np.random.default_rng(0))
    same = np.full((10, 1), 4096.0)
    assert permutation.p_values(permutation.statistics(same, split))[0] == 1
    assert permutation.p_values(permutation.statistics(same * 0, split))[0] == 1


def test_corrected_together_is_never_less_than_alone_nor_more_than_bonferroni_by_chance() -> None:
    rng = np.random.default_rng(7)
    values = rng.lognormal(0, 0.1, (10, 6))
    values[5:, :2] *= 1.5
    t = permutation.statistics(values, permutation.splits(5, 5, rng))
    alone, together = permutation.p_values(t), permutation.step_down(t)
    assert (together >= alone).all()
    assert (together[:2] <= ALPHA).all() and (together[2:] > ALPHA).all()


def test_copies_of_a_metric_cost_nothing() -> None:
    """Metrics that rise and fall together are one question: Holm would ask eight times as much."""
    rng = np.random.default_rng(8)
    one = rng.lognormal(0, 0.04, (8, 1))
    one[4:] *= 1.3
    t = permutation.statistics(np.repeat(one, 8, axis=1), permutation.splits(4, 4, rng))
    assert permutation.step_down(t) == pytest.approx(permutation.p_values(t))


def test_a_run_that_does_not_know_a_metric_is_left_out_of_it_alone() -> None:
    rng = np.random.default_rng(9)
    values = rng.lognormal(0, 0.1, (8, 2))
    values[0, 1] = np.nan
    split = permutation.splits(4, 4, rng)
    t = permutation.statistics(values, split)
    assert t[0, 0] == pytest.approx(permutation.statistics(values[:, :1], split)[0, 0])
    logs = np.log(values[:, 1])
    theirs = stats.ttest_ind(logs[4:], logs[1:4], equal_var=False).statistic
    assert t[0, 1] == pytest.approx(abs(theirs), rel=1e-4)


@pytest.mark.parametrize("boots", [4, 5, 10])
def test_identical_kernels_are_called_different_no_more_often_than_stated(boots: int) -> None:
    """Any of four headline metrics, in 2000 comparisons of a kernel with itself."""
    rng = np.random.default_rng(boots)
    split = permutation.splits(boots, boots, rng)
    alarms = 0
    for _ in range(TRIALS):
        values = metrics(durations(rng, 2 * boots, 150))
        alarms += bool(different(values, split).any())
    assert alarms / TRIALS <= most(ALPHA, TRIALS)


def test_no_shape_of_noise_between_boots_raises_false_alarms() -> None:
    """One boot in ten twice as slow, ties, and zeros: exact all the same."""
    rng = np.random.default_rng(11)
    split = permutation.splits(5, 5, rng)
    shapes = np.stack(
        [
            np.where(rng.random((TRIALS, 10)) < 0.1, 2.0, 1.0) * rng.lognormal(0, 0.02, (TRIALS, 10)),
            np.round(rng.lognormal(1, 0.3, (TRIALS, 10))),
            rng.poisson(0.7, (TRIALS, 10)).astype(np.float64),
        ],
        axis=2,
    )
    for i in range(shapes.shape[2]):
        t = permutation.statistics(shapes[:, :, i].T, split)
        alarms = permutation.p_values(t) <= ALPHA
        assert alarms.mean() <= most(ALPHA, TRIALS)


def test_a_change_of_a_tenth_is_found_in_ten_boots_a_side() -> None:
    """With 4 % between boots: test and interval, corrected for all four metrics."""
    rng = np.random.default_rng(12)
    trials, found = 200, 0
    for _ in range(trials):
        before, after = (metrics(durations(rng, 10, 2_000) * factor) for factor in (1.0, 1.1))
        p = permutation.step_down(permutation.statistics(np.concatenate([before, after]), SPLIT_10))
        median = (Sample(before[:, 1]), Sample(after[:, 1]))
        (interval,) = estimate(*median, (0.95,), rng).intervals
        found += bool(p[1] <= ALPHA and interval is not None and interval[0] > 0)
    assert found >= 0.9 * trials


def test_pooling_events_instead_of_runs_cries_wolf_nearly_always() -> None:
    """What must not be done, on the same data: thousands of events are not thousands of boots."""
    rng = np.random.default_rng(13)
    trials = 200
    pooled = runs = 0
    for _ in range(trials):
        took = durations(rng, 10, 3_000)
        pooled += stats.mannwhitneyu(took[:5].ravel(), took[5:].ravel()).pvalue <= ALPHA
        runs += bool(different(metrics(took), permutation.splits(5, 5, rng)).any())
    assert pooled / trials > 0.5
    assert runs / trials <= most(ALPHA, trials)
