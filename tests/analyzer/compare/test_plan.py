# SPDX-License-Identifier: Apache-2.0
"""How many runs a change needs: planned, and then found as often as promised."""

import numpy as np
import pytest

from memtrace.analyzer.compare import permutation, plan
from memtrace.analyzer.compare.bootstrap import Sample
from memtrace.tests.analyzer.compare.generated import write_side
from memtrace.tests.analyzer.compare.test_histogram import histogram

ALPHA = 0.05


@pytest.mark.parametrize(("deviation", "effect"), [(0.04, 0.05), (0.04, 0.1), (0.2, 0.3)])
def test_as_many_runs_as_planned_find_the_change_as_often(deviation: float, effect: float) -> None:
    runs = plan.runs_needed(deviation, effect, ALPHA, ALPHA)
    assert runs is not None
    rng = np.random.default_rng(runs)
    split = permutation.splits(runs, runs, rng)
    values = np.exp(rng.normal(0, deviation, (2 * runs, 400)))
    values[runs:] *= 1 + effect
    found = [
        permutation.p_values(permutation.statistics(values[:, i : i + 50], split)) <= ALPHA
        for i in range(0, 400, 50)
    ]
    assert np.mean(found) == pytest.approx(plan.power(runs, deviation, effect, ALPHA), abs=0.07)
    assert np.mean(found) > plan.POWER - 0.06


def test_never_fewer_than_allow_a_verdict() -> None:
    assert plan.runs_needed(1e-9, 0.5, ALPHA, ALPHA) == 4
    assert plan.runs_needed(0.001, 0.5, ALPHA, ALPHA) == 4


def test_more_than_anybody_boots_is_none() -> None:
    assert plan.runs_needed(2.0, 0.001, ALPHA, ALPHA) is None


def test_what_so_many_runs_find_is_what_needs_so_many() -> None:
    found = plan.detectable(0.04, 10, ALPHA)
    assert plan.power(10, 0.04, found, ALPHA) == pytest.approx(plan.POWER, abs=0.001)
    assert plan.runs_needed(0.04, found * 1.001, ALPHA, ALPHA) == 10
    assert plan.detectable(0.04, 1, ALPHA) == np.inf


def test_the_spread_is_split_into_boots_and_chance() -> None:
    """True standard deviations: 10 % between boots; the median of 1000 events of sigma 0.8 is off by
    sqrt(pi / 2) * 0.8 / sqrt(1000)."""
    rng = np.random.default_rng(1)
    took = rng.lognormal(8, 0.8, (40, 1_000)) * np.exp(rng.normal(0, 0.1, (40, 1)))
    made = tuple(histogram(row.astype(np.int64)) for row in took)
    sample = Sample(np.array([float(h.quantile(0.5)) for h in made]), made, "p50")
    found = plan.spread([sample], rng)
    assert found.within == pytest.approx(np.sqrt(np.pi / 2) * 0.8 / np.sqrt(1_000), rel=0.15)
    assert found.between == pytest.approx(0.1, rel=0.3)
    assert found.freedom == 39


def test_a_plan_from_one_pilot_side(folder: object, compared: object) -> None:
    from pathlib import Path

    from memtrace.analyzer.compare.request import Request, make

    write_side(Path("pilot"), 6, events=500)
    page = make(Request(("pilot",), plan="10%")).text
    assert "Runs needed for a change of 10.0%" in page
    assert "alloc.p50" in page
