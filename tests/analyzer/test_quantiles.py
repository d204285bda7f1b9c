# SPDX-License-Identifier: Apache-2.0
"""Quantiles from histograms, held against numpy's exact ones."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pytest

from memtrace.analyzer.quantiles import group_quantiles, middle, upper_edge
from memtrace.traces.histogram import BUCKETS, ERROR, bucket_of, lower_edge, width

Ints = npt.NDArray[np.int64]
PER_MILLE = (1, 500, 900, 990, 999, 1000)
EXACT = [q / 1000 for q in PER_MILLE]


def durations(kind: str, seed: int) -> Ints:
    rng = np.random.default_rng(seed)
    count = int(rng.integers(1, 5000))
    if kind == "lognormal":
        drawn = rng.lognormal(6, 1.5, count)
    elif kind == "bimodal":
        drawn = rng.normal(300, 20, count) * np.where(rng.random(count) < 0.97, 1, 30_000)
    elif kind == "uniform":
        drawn = rng.uniform(0, 100, count)
    elif kind == "heavy":
        drawn = np.minimum(rng.pareto(0.7, count) * 100, 2.0**40)
    else:
        drawn = np.full(count, rng.uniform(0, 1e9))
    values: Ints = np.abs(drawn).astype(np.int64)
    return values


def one(values: Ints) -> Ints:
    """Quantiles of one group by its histogram."""
    buckets, counts = np.unique(bucket_of(values), return_counts=True)
    found: Ints = group_quantiles(np.zeros_like(buckets), buckets, counts, 1, PER_MILLE)[0]
    return found


@pytest.mark.parametrize("seed", range(8))
@pytest.mark.parametrize("kind", ["lognormal", "bimodal", "uniform", "heavy", "constant"])
def test_they_are_within_a_thirty_second_of_the_exact_ones(kind: str, seed: int) -> None:
    values = durations(kind, seed)
    exact = np.quantile(values, EXACT, method="inverted_cdf")
    assert (np.abs(one(values) - exact) <= ERROR * exact).all()


def test_below_32_they_are_exact() -> None:
    values = np.random.default_rng(1).integers(0, 32, 1000)
    assert one(values).tolist() == np.quantile(values, EXACT, method="inverted_cdf").tolist()


@pytest.mark.parametrize("seed", range(5))
def test_merged_parts_give_the_quantiles_of_the_whole(seed: int) -> None:
    values = durations("lognormal", seed)
    parts = np.array_split(np.random.default_rng(seed).permutation(values), 7)
    histograms = [np.unique(bucket_of(part), return_counts=True) for part in parts]
    buckets = np.concatenate([b for b, _ in histograms])
    counts = np.concatenate([c for _, c in histograms])
    merged = group_quantiles(np.zeros_like(buckets), buckets, counts, 1, PER_MILLE)[0]
    assert merged.tolist() == one(values).tolist()


def test_each_group_has_its_own() -> None:
    rng = np.random.default_rng(2)
    group = rng.integers(0, 5, 4000)
    group[group == 3] = 4
    values = (rng.lognormal(5, 1, 4000) * (group + 1)).astype(np.int64)
    found = group_quantiles(group, bucket_of(values), np.ones_like(group), 5, PER_MILLE)
    assert found[3].tolist() == [-1] * len(PER_MILLE), "no occurrences, no quantile"
    for number in (0, 1, 2, 4):
        assert found[number].tolist() == one(values[group == number]).tolist()


def test_no_occurrences_at_all() -> None:
    none = np.zeros(0, dtype=np.int64)
    assert group_quantiles(none, none, none, 2, (500,)).tolist() == [[-1], [-1]]


def test_huge_counts_are_counted_exactly() -> None:
    buckets = np.array([10, 20, 30])
    counts = np.array([1 << 53, 1, 1 << 53])
    group = np.zeros_like(buckets)
    assert group_quantiles(group, buckets, counts, 1, (500, 501))[0].tolist() == [20, 30]


def test_the_middle_lies_in_its_bucket() -> None:
    buckets = np.arange(BUCKETS)
    assert (bucket_of(middle(buckets)) == buckets).all()
    assert (upper_edge(buckets) == lower_edge(buckets) + width(buckets) - 1).all()
    assert (bucket_of(upper_edge(buckets)) == buckets).all()
