# SPDX-License-Identifier: Apache-2.0
"""Quantiles, held against numpy's exact ones."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pytest

from memtrace.analyzer.quantiles import group_quantiles, middle, upper_edge
from memtrace.traces.histogram import BUCKETS, bucket_of, lower_edge, width

Ints = npt.NDArray[np.int64]
Bools = npt.NDArray[np.bool_]
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


def grouped(values: Ints, exact: bool = False) -> tuple[Ints, Ints, Bools]:
    """Values and how often each occurs, as the kernel sums them or one by one."""
    kept = values if exact else np.asarray(upper_edge(bucket_of(values)))
    found, counts = np.unique(kept, return_counts=True)
    return found, counts, np.full(len(found), exact)


def one(*parts: tuple[Ints, Ints, Bools], per_mille: tuple[int, ...] = PER_MILLE) -> tuple[Ints, Bools]:
    """Quantiles of one group, and whether they are exact."""
    value, count, exact = (np.concatenate(column) for column in zip(*parts, strict=True))
    found, told = group_quantiles(np.zeros_like(value), value, count, exact, 1, per_mille)
    return found[0], told[0]


@pytest.mark.parametrize("seed", range(8))
@pytest.mark.parametrize("kind", ["lognormal", "bimodal", "uniform", "heavy", "constant"])
def test_one_by_one_they_are_those_of_numpy(kind: str, seed: int) -> None:
    values = durations(kind, seed)
    found, told = one(grouped(values, exact=True))
    assert told.all() and found.tolist() == np.quantile(values, EXACT, method="inverted_cdf").tolist()


@pytest.mark.parametrize("seed", range(8))
@pytest.mark.parametrize("kind", ["lognormal", "bimodal", "uniform", "heavy", "constant"])
def test_summed_they_are_bounds_from_above_in_the_same_bucket(kind: str, seed: int) -> None:
    values = durations(kind, seed)
    exact = np.quantile(values, EXACT, method="inverted_cdf")
    found, told = one(grouped(values))
    assert not told.any()
    assert (found >= exact).all() and (bucket_of(found) == bucket_of(exact)).all()


@pytest.mark.parametrize("seed", range(8))
def test_of_a_mixture_a_quantile_is_exact_only_where_nothing_summed_is_near(seed: int) -> None:
    values = durations("lognormal", seed)
    tail = values > np.quantile(values, 0.8)
    exact = np.quantile(values, EXACT, method="inverted_cdf")
    found, told = one(grouped(values[~tail]), grouped(values[tail], exact=True))
    assert (found[told] == exact[told]).all() and (found >= exact).all()
    assert told.tolist()[-3:] == [True] * 3 and not told[0]


@pytest.mark.parametrize("seed", range(5))
def test_merged_parts_give_the_quantiles_of_the_whole(seed: int) -> None:
    values = durations("lognormal", seed)
    parts = np.array_split(np.random.default_rng(seed).permutation(values), 7)
    assert one(*map(grouped, parts))[0].tolist() == one(grouped(values))[0].tolist()


def test_each_group_has_its_own() -> None:
    rng = np.random.default_rng(2)
    group = rng.integers(0, 5, 4000)
    group[group == 3] = 4
    values = (rng.lognormal(5, 1, 4000) * (group + 1)).astype(np.int64)
    ones = np.ones_like(group)
    found, told = group_quantiles(group, values, ones, ones > 0, 5, PER_MILLE)
    assert found[3].tolist() == [-1] * len(PER_MILLE), "no occurrences, no quantile"
    for number in (0, 1, 2, 4):
        assert found[number].tolist() == one(grouped(values[group == number], exact=True))[0].tolist()
        assert told[number].all()


def test_no_occurrences_at_all() -> None:
    none = np.zeros(0, dtype=np.int64)
    found, _ = group_quantiles(none, none, none, none > 0, 2, (500,))
    assert found.tolist() == [[-1], [-1]]


def test_huge_counts_are_counted_exactly() -> None:
    values = np.array([10, 20, 30])
    counts = np.array([1 << 53, 1, 1 << 53])
    found, _ = one((values, counts, values > 0), per_mille=(500, 501))
    assert found.tolist() == [20, 30]


def test_the_middle_lies_in_its_bucket() -> None:
    buckets = np.arange(BUCKETS)
    assert (bucket_of(middle(buckets)) == buckets).all()
    assert (upper_edge(buckets) == lower_edge(buckets) + width(buckets) - 1).all()
    assert (bucket_of(upper_edge(buckets)) == buckets).all()
