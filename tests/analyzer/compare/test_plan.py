# SPDX-License-Identifier: Apache-2.0
"""How many runs a change needs: planned, and then found as often as promised."""

import json
from pathlib import Path

import numpy as np
import pytest

from memtrace.analyzer.compare import permutation, plan
from memtrace.analyzer.compare.bootstrap import Sample, estimate
from memtrace.analyzer.compare.changes import Rules, different
from memtrace.analyzer.compare.request import Request, make
from memtrace.errors import MemtraceError
from memtrace.tests.analyzer.compare.generated import write_run, write_side
from memtrace.tests.analyzer.compare.test_bounds import summed
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


@pytest.mark.parametrize("bounds", [0.0, 0.03])
def test_the_verdict_finds_a_change_with_as_many_runs_as_planned(bounds: float) -> None:
    """5 % between runs of 2 %, of seven metrics; 3 % of it lost where the runs tell bounds only."""
    rng, rules = np.random.default_rng(3), Rules()
    effect = 0.05
    left = np.expm1(np.log1p(effect) - bounds)
    runs = plan.runs_needed(0.02, left, rules.alpha / 7, rules.alpha)
    assert runs is not None
    split = permutation.splits(runs, runs, rng, 999)[:1_000]
    found = []
    for _ in range(100):
        values = np.exp(rng.normal(0, 0.02, (2 * runs, 7)))
        values[runs:, 0] *= 1 + effect
        p = permutation.step_down(permutation.statistics(values, split))[0]
        low, high = np.exp(-bounds / 2), np.exp(bounds / 2)
        before, after = (
            Sample(v, (), "p50", np.array([v * low, v * high])) for v in np.split(values[:, 0], 2)
        )
        (interval,) = estimate(before, after, (rules.confidence,), rng).intervals
        assert interval is not None
        found.append(different(interval, float(p), rules))
    assert np.mean(found) > plan.POWER - 0.1


def test_bounds_and_margin_limit_what_any_number_of_runs_finds() -> None:
    values = np.array([1.0, 1.001, 0.999, 1.0]) * 1_000
    sample = Sample(values, (), "p50", np.array([values * 0.97, values * 1.03]))
    found = plan.spread([sample], np.random.default_rng(1))
    assert found.bounds == pytest.approx(np.log(1.03 / 0.97))


def test_too_few_runs_for_a_verdict_find_nothing(folder: Path) -> None:
    """Three runs a side cannot give a p of 5 %, however large the change."""
    write_side(folder / "pilot", 3)
    document = json.loads(make(Request(("pilot",), plan="50%", format="json")).text)
    assert {row["detectable"] for row in document["tables"]["plan"]} == {None}
    document = json.loads(make(Request(("pilot",), plan="50%", format="json", confidence="90%")).text)
    assert None not in {row["detectable"] for row in document["tables"]["plan"]}


def test_a_plan_says_what_sums_of_the_kernel_cannot_tell(folder: Path) -> None:
    took = np.random.default_rng(1).lognormal(8, 0.5, (5, 400)).astype(np.int64)
    for i, one in enumerate(took):
        write_run(folder / "pilot" / f"{i}.parquet", summed(one), i)
    document = json.loads(make(Request(("pilot",), plan="2%", format="json")).text)
    rows = {row["metric"]: row for row in document["tables"]["plan"]}
    assert rows["alloc.p50"]["runs_needed"] is None
    assert rows["alloc.p50"]["detectable"] > 0.05
    assert rows["alloc.bytes"]["detectable"] == 0.01, "up to the margin all is equivalent"
    assert rows["alloc.bytes"]["runs_needed"] == 4
    with pytest.raises(MemtraceError, match="within the margin"):
        make(Request(("pilot",), plan="1%"))


def test_a_plan_from_one_pilot_side(folder: object, compared: object) -> None:
    write_side(Path("pilot"), 6, events=500)
    page = make(Request(("pilot",), plan="10%")).text
    assert "Runs needed for a change of 10.0%" in page
    assert "alloc.p50" in page
