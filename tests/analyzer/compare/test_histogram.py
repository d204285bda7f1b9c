# SPDX-License-Identifier: Apache-2.0
"""Quantiles between the edges of buckets, and resampling without drawing events."""

import numpy as np
import pytest

from memtrace.analyzer.compare.histogram import Histogram
from memtrace.traces.histogram import bucket_of


def histogram(values: np.ndarray) -> Histogram:
    buckets, place = np.unique(bucket_of(values), return_inverse=True)
    count = np.bincount(place)
    return Histogram.of_buckets(buckets, count, np.bincount(place, weights=values).astype(np.int64))


@pytest.mark.parametrize("value", [17, 2_063, 1_000_000, 1_048_577])
def test_the_median_of_durations_that_are_all_alike_is_exact(value: int) -> None:
    made = histogram(np.full(100, value))
    assert made.quantile(0.5) == pytest.approx(value)
    assert made.quantile([0.01, 0.99]) == pytest.approx(value, rel=1 / 32)


@pytest.mark.parametrize("change", [1.001, 1.01, 1.02, 1.05])
def test_a_change_smaller_than_a_bucket_is_seen(change: float) -> None:
    """Bucket edges must neither hide a change nor make a larger one of it."""
    took = np.random.default_rng(1).lognormal(12, 0.3, 20_000)
    before, after = (histogram((took * f).astype(np.int64)).quantile(0.5) for f in (1, change))
    assert after / before == pytest.approx(change, abs=0.002)


@pytest.mark.parametrize("share", [0.5, 0.9, 0.99])
def test_quantiles_are_near_those_of_the_durations(share: float) -> None:
    took = np.random.default_rng(2).lognormal(8, 1, 50_000).astype(np.int64)
    assert histogram(took).quantile(share) == pytest.approx(np.quantile(took, share), rel=0.005)


@pytest.mark.parametrize("share", [0.5, 0.99])
def test_resampled_quantiles_spread_as_those_of_resampled_durations(share: float) -> None:
    rng = np.random.default_rng(3)
    took = rng.lognormal(8, 0.7, 2_000)
    ours = histogram(took.astype(np.int64)).quantiles_again(share, rng, 2_000)
    drawn = np.quantile(rng.choice(took, (2_000, len(took))), share, axis=1)
    assert np.log(ours).std() == pytest.approx(np.log(drawn).std(), rel=0.15)


def test_resampled_sums_spread_as_those_of_resampled_durations() -> None:
    rng = np.random.default_rng(4)
    took = rng.lognormal(8, 0.7, 500)
    ours = histogram(took.astype(np.int64)).sums_again(rng, 2_000)
    drawn = rng.choice(took, (2_000, len(took))).sum(axis=1)
    assert ours.mean() == pytest.approx(took.sum(), rel=0.01)
    assert ours.std() == pytest.approx(drawn.std(), rel=0.1)
    assert histogram(took.astype(np.int64)).sum_variance() == pytest.approx(np.log(drawn).var(), rel=0.2)


def test_as_many_durations_that_are_all_alike_always_sum_up_to_the_same() -> None:
    made = histogram(np.full(40, 2_000_000))
    assert made.sum_variance() == pytest.approx(0)
    assert made.sums_again(np.random.default_rng(1), 50) == pytest.approx(np.full(50, 8e7))
