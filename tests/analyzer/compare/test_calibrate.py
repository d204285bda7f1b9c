# SPDX-License-Identifier: Apache-2.0
"""One kernel against itself."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from memtrace.analyzer.compare.request import Request, make
from memtrace.errors import MemtraceError
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
    assert found["alloc.bytes"]["catches"] == 0.005
    assert "any metric: cried wolf in" in make(Request((), calibrate="runs")).text


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
