# SPDX-License-Identifier: Apache-2.0
"""One kernel against itself."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from memtrace.analyzer.compare import permutation
from memtrace.analyzer.compare.bootstrap import Sample, estimate
from memtrace.analyzer.compare.calibrate import calibrate
from memtrace.analyzer.compare.changes import Rules, different
from memtrace.analyzer.compare.metrics import Measured, Metric, Value
from memtrace.analyzer.compare.request import Request, make
from memtrace.analyzer.compare.sides import Side
from memtrace.analyzer.in_file import InFile
from memtrace.errors import MemtraceError
from memtrace.tests.analyzer.cases import CASES
from memtrace.tests.analyzer.compare.generated import durations, rows_of, write_run, write_side


def rows(folder: str, **asked: Any) -> dict[str, dict[str, Any]]:
    document = json.loads(make(Request((), calibrate=folder, format="json", **asked)).text)
    return {row["metric"]: row for row in document["tables"]["calibration"]}


def test_it_cries_wolf_no_more_often_than_stated_and_says_what_it_catches(folder: Path) -> None:
    write_side(folder / "runs", 20, events=1_000)
    found = rows("runs")
    median = found["alloc.p50"]
    assert median["false_alarms"] <= 0.05
    assert 0.05 <= median["catches"] <= 0.15
    assert median["sd"] == pytest.approx(0.045, abs=0.02)
    assert median["pairs_apart"] > 0.2, "single runs of one kernel differ by 5 % all the time"
    assert not median["drift"]
    # It never varies, but what is not beyond the margin is called equivalent.
    assert found["alloc.bytes"]["catches"] == 0.02
    assert rows("runs", margin="0.1%", metric=("alloc.bytes",))["alloc.bytes"]["catches"] == 0.005
    assert "any metric: cried wolf in" in make(Request((), calibrate="runs")).text


def test_what_it_catches_a_comparison_catches(folder: Path) -> None:
    """Twelve kernels of known noise, each compared with itself raised by what it is said to catch."""
    rng, rules = np.random.default_rng(1), Rules()
    metrics = [Metric("alloc", name) for name in ("p10", "p50")]
    split = permutation.splits(6, 6, rng, 999)
    alarms, found = [], []
    for _ in range(12):
        said = calibrate(_side(rng, 12, metrics), metrics, 0.05, rules)
        alarms.append(said.any_alarm)
        for i, one in enumerate(said.metrics):
            assert one.catches is not None
            for _ in range(10):
                values = _noisy(rng, 12)
                values[6:, i] *= 1 + one.catches
                p = permutation.step_down(permutation.statistics(values, split))[i]
                halves = Sample(values[:6, i]), Sample(values[6:, i])
                (interval,) = estimate(*halves, (rules.confidence,), rng).intervals
                assert interval is not None
                found.append(different(interval, float(p), rules))
    assert np.mean(alarms) <= 0.08
    assert 0.8 <= np.mean(found) <= 1.0


def _noisy(rng: np.random.Generator, runs: int) -> np.ndarray:
    """Two metrics of 4 % between runs, shape (runs, 2)."""
    return 1e6 * np.exp(rng.normal(0, 0.04, (runs, 2)))


def _side(rng: np.random.Generator, runs: int, metrics: list[Metric]) -> Side:
    header = dataclasses.replace(CASES["empty"]().header, anchors=())
    made: Any = [SimpleNamespace(header=header, path=Path(f"{i:03d}.parquet")) for i in range(runs)]
    measured = [
        Measured(
            {m: Value(float(v)) for m, v in zip(metrics, row, strict=True)}, {}, frozenset(), InFile(1), {}
        )
        for row in _noisy(rng, runs)
    ]
    return Side("made", tuple(made), tuple(measured))


def test_a_machine_that_drifts_is_noticed(folder: Path) -> None:
    took = durations(np.random.default_rng(1), 12, 500) * np.linspace(1, 1.5, 12)[:, None]
    for i in range(12):
        # Names do not tell the time: the clock anchors do.
        write_run(folder / "runs" / f"{11 - i:02d}.parquet", rows_of(took[i]), i)
    assert rows("runs")["alloc.p50"]["drift"]


def test_too_few_runs_are_no_calibration(folder: Path) -> None:
    write_side(folder / "runs", 7, events=20)
    with pytest.raises(MemtraceError) as caught:
        make(Request((), calibrate="runs"))
    assert caught.value.exit_code == 125
