# SPDX-License-Identifier: Apache-2.0
"""Known changes of durations, streamed and summed: what is said contains the truth."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from memtrace.analyzer.compare.bootstrap import Sample, estimate
from memtrace.analyzer.compare.request import Request, make
from memtrace.tests.analyzer.compare.conftest import Compare
from memtrace.tests.analyzer.compare.generated import durations, rows_of, write_run
from memtrace.tests.analyzer.compare.test_histogram import histogram
from memtrace.tests.analyzer.recorded import aggregated
from memtrace.traces.histogram import bucket_of

PERCENTILES = ("p10", "p50", "p99")
BOOTS = 6


def summed(took: np.ndarray) -> list[dict[str, object]]:
    """The rows of a kernel that sums all of them."""
    rows = []
    for bucket in np.unique(bucket_of(took)):
        of = took[bucket_of(took) == bucket]
        rows.append(aggregated("alloc", len(of), int(of[0]), total_ns=int(of.sum()), self_ns=int(of.sum())))
    return rows


def side(folder: Path, took: np.ndarray, first: int = 0, *, sums: bool = False) -> None:
    """A run for each row of durations, shape (runs, events)."""
    for i, one in enumerate(took.astype(np.int64)):
        rows = summed(one) if sums else rows_of(one)
        write_run(folder / f"{i}.parquet", rows, first + i, stream_all=not sums)


def narrow(nanoseconds: int) -> np.ndarray:
    """200 events a run, all alike, 0.05 % between runs at most."""
    return np.repeat(nanoseconds * np.linspace(0.9995, 1.0005, BOOTS), 200).reshape(BOOTS, 200)


@pytest.mark.parametrize("sums", [False, True], ids=["streamed", "summed"])
def test_a_change_of_every_duration_is_that_of_each_percentile(
    folder: Path, compared: Compare, sums: bool
) -> None:
    """+1.64 % within one bucket, wherever in it: no interval may leave that out, no gate go by less."""
    side(folder / "before", narrow(100_350), sums=sums)
    side(folder / "after", narrow(102_000), 50, sums=sums)
    true = 102_000 / 100_350 - 1
    gates = tuple(f"alloc.{name}>+{2.5 if name == 'p10' else 3}%" for name in PERCENTILES)
    found = compared("before", "after", fail_on=gates)
    assert found.exit_code in ((0,) if not sums else (0, 125))
    for name in (*PERCENTILES, "worst"):
        row = found.change(f"alloc.{name}")
        assert row["change_low"] <= true <= row["change_high"]
        assert row["before"] <= found.change("alloc.worst")["before"]
        if not sums:
            assert row["change"] == pytest.approx(true, abs=1e-5)
            assert row["verdict"] == "worse"
            assert compared("before", "after", fail_on=(f"alloc.{name}>+1%",)).exit_code == 1
        else:
            assert row["verdict"] != "equivalent"


def test_one_kernel_streamed_and_summed_is_not_called_different(folder: Path, compared: Compare) -> None:
    side(folder / "streamed", narrow(245_980))
    side(folder / "summed", narrow(245_980), 50, sums=True)
    for sides in (("streamed", "summed"), ("summed", "streamed")):
        found = compared(*sides)
        assert "every event" in found.findings["streaming"]
        assert found.verdicts <= {"equivalent", "~"}
    gated = compared("streamed", "summed", fail_on=("alloc.worst>+3%",))
    assert gated.exit_code == 125
    assert gated.change("alloc.worst")["resolution"] > 0.03
    assert "known between bounds" in make(Request(("streamed", "summed"))).text


@pytest.mark.parametrize("change", [1.0, 1.02, 1.3])
def test_percentiles_of_sums_contain_what_streams_tell(
    folder: Path, compared: Compare, change: float
) -> None:
    took = durations(np.random.default_rng(1), 2 * BOOTS, 2_000, noise=0.002)
    took[BOOTS:] *= change
    for name, sums in (("streamed", False), ("summed", True)):
        side(folder / name / "before", took[:BOOTS], sums=sums)
        side(folder / name / "after", took[BOOTS:], 50, sums=sums)
    exact, bounded = (compared(f"{n}/before", f"{n}/after") for n in ("streamed", "summed"))
    for name in PERCENTILES:
        inside, around = (found.change(f"alloc.{name}") for found in (exact, bounded))
        assert around["change_low"] <= inside["change"] <= around["change_high"]
        assert inside["resolution"] < 0.0005 < around["resolution"] < 0.067
    assert bounded.change("alloc.p50")["verdict"] == ("worse" if change == 1.3 else "~")


def test_bounded_values_have_the_interval_of_all_they_may_be() -> None:
    """Four runs without noise, each between 100 and 106: anything from -6 % to +6 % is possible."""
    values = np.full(4, 103.0)
    bounds = np.array([[100.0] * 4, [106.0] * 4])
    made = (histogram(np.full(50, 103)),) * 4
    both = Sample(values, made, "p50", bounds)
    found = estimate(both, both, (0.95,), np.random.default_rng(1))
    assert found.change == 0
    assert found.intervals[0] == pytest.approx((100 / 106 - 1, 106 / 100 - 1))
    exact = Sample(values, made, "p50")
    found = estimate(both, exact, (0.95,), np.random.default_rng(1))
    assert found.intervals[0] == pytest.approx((103 / 106 - 1, 103 / 100 - 1))
