# SPDX-License-Identifier: Apache-2.0
"""The rules of the main table, each with a known answer."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from memtrace.analyzer.cells import MEASURED, by_cost, cells, in_cells
from memtrace.analyzer.keys import KEYS
from memtrace.analyzer.partials import Partials
from memtrace.tests.analyzer.recorded import PERIOD, Row, aggregated, streamed, time_only
from memtrace.traces.histogram import TOP_BIT
from memtrace.traces.schema import Flag

OneCell = Callable[..., dict[str, Any]]
ESTIMATED = int(Flag.AGGREGATED | Flag.ESTIMATED)


@pytest.fixture
def cell_of(partials_of: Callable[..., Partials]) -> OneCell:
    """The one cell, by event, that rows come to."""

    def make(*rows: Row, period_ns: int | None = None) -> dict[str, Any]:
        (row,) = cells(in_cells(partials_of(rows)), ["event"], period_ns)
        return row

    return make


def test_streamed_and_aggregated_rows_add_up(cell_of: OneCell) -> None:
    cell = cell_of(streamed(dur=100), streamed(dur=300, self_ns=250), aggregated("alloc", 8, 200))
    assert (cell["count"], cell["bytes"]) == (10, 40960)
    assert (cell["total_ns"], cell["self_ns"], cell["time"]) == (2000, 1950, "exact")
    assert cell["ns_per_4kib"] == 200
    assert cell["gib_per_s"] == pytest.approx(40960 / 2000 * 1e9 / 2**30, rel=1e-12)
    assert (cell["time_unknown_share"], cell["rate_bytes_share"], cell["durations"]) == (0, 1, 10)


def test_unknown_time_is_none_and_not_nought(cell_of: OneCell) -> None:
    cell = cell_of(streamed(dur=None), aggregated("alloc", 5))
    assert cell["count"] == 6
    assert cell["time"] == "unknown"
    assert cell["time_unknown_share"] == 1
    unknown = (
        "total_ns",
        "self_ns",
        "ns_per_4kib",
        "gib_per_s",
        "rate_bytes_share",
        "p50_ns",
        "max_ns",
        "max_is",
    )
    assert [cell[name] for name in unknown] == [None] * len(unknown)


def test_a_rate_rests_only_on_rows_with_bytes_and_time(cell_of: OneCell) -> None:
    cell = cell_of(
        streamed(order=0, dur=400),
        streamed(order=3, dur=None),
        streamed(order=None, dur=5000),
    )
    assert cell["total_ns"] == 5400
    assert cell["ns_per_4kib"] == 400
    assert cell["rate_bytes_share"] == pytest.approx(1 / 9)
    assert cell["time_unknown_share"] == pytest.approx(1 / 3)


def test_self_is_unknown_unless_known_wherever_total_is(cell_of: OneCell) -> None:
    assert cell_of(streamed(dur=10), streamed(dur=20, self_ns=None))["self_ns"] is None
    assert cell_of(streamed(dur=10), streamed(dur=None))["self_ns"] == 10


def test_an_inferred_row_with_its_own_estimate(cell_of: OneCell) -> None:
    flags = ESTIMATED | int(Flag.INFERRED)
    cell = cell_of(aggregated("zero.alloc", 1000, None, flags=flags, total_ns=4 * PERIOD), period_ns=PERIOD)
    assert (cell["count"], cell["time"]) == (1000, "estimated")
    assert cell["total_rel_error"] == 0.5, "four samples: two of four, one standard error"
    assert cell["ns_per_4kib"] == 4 * PERIOD / 1000


def test_time_without_count_is_that_of_the_cells_unmeasured_rows(cell_of: OneCell) -> None:
    cell = cell_of(aggregated("alloc", 1000), time_only("alloc", 9), period_ns=PERIOD)
    assert cell["count"] == 1000
    assert cell["total_ns"] == 9 * PERIOD
    assert cell["ns_per_4kib"] == 9 * PERIOD / 1000
    assert cell["total_rel_error"] == pytest.approx(1 / 3)
    assert cell["time_unknown_share"] == 0, "the estimate is for all of them"


def test_where_samples_tell_orders_apart_one_without_any_took_about_nothing(
    partials_of: Callable[..., Partials],
) -> None:
    rows = [aggregated("alloc", 1000), streamed("alloc", 9, None), time_only("alloc", 9)]
    parts = partials_of(rows, [KEYS[word] for word in ("event", "order", "comm")])
    small, huge = cells(parts, ["event", "order"], PERIOD)
    assert (small["total_ns"], small["time"], small["time_unknown_share"]) == (9 * PERIOD, "estimated", 0)
    assert (huge["order"], huge["total_ns"], huge["self_ns"], huge["time"]) == (9, 0, 0, "estimated")
    assert (huge["time_unknown_share"], huge["ns_per_4kib"]) == (0, None)
    # Samples have no task: their time may be anybody's, and nobody's is known.
    by_comm = {row["comm"]: row for row in cells(parts, ["event", "comm"], PERIOD)}
    assert by_comm[None]["total_ns"] == 9 * PERIOD
    (named,) = (row for comm, row in by_comm.items() if comm is not None)
    assert (named["total_ns"], named["time"], named["time_unknown_share"]) == (None, "unknown", 1)


def test_time_without_count_alone_has_no_rate(cell_of: OneCell) -> None:
    cell = cell_of(time_only("zero.user", 100))
    assert (cell["count"], cell["bytes"], cell["ns_per_4kib"]) == (None, None, None)
    assert (cell["total_ns"], cell["time_unknown_share"]) == (100 * PERIOD, None)


def test_less_than_a_sample_is_no_rate(cell_of: OneCell) -> None:
    cell = cell_of(aggregated("alloc", 7, None, flags=ESTIMATED, total_ns=0), period_ns=PERIOD)
    assert (cell["total_ns"], cell["time"]) == (0, "estimated")
    assert (cell["ns_per_4kib"], cell["gib_per_s"], cell["total_rel_error"]) == (None, None, None)


def test_measured_time_of_nought_is_a_time(cell_of: OneCell) -> None:
    cell = cell_of(streamed(dur=0))
    assert (cell["total_ns"], cell["ns_per_4kib"], cell["p50_ns"], cell["max_ns"]) == (0, 0, 0, 0)
    assert cell["gib_per_s"] is None


def test_measured_and_estimated_together_are_mixed(cell_of: OneCell) -> None:
    cell = cell_of(streamed(dur=3 * PERIOD), time_only("alloc", 1), period_ns=PERIOD)
    assert cell["time"] == "mixed"
    assert cell["total_rel_error"] == 0.25, "only the estimated quarter is uncertain"


def test_an_exact_time_has_no_sampling_error(cell_of: OneCell) -> None:
    assert cell_of(streamed(dur=10), period_ns=PERIOD)["total_rel_error"] is None


def test_the_recorders_own_and_failed_attempts_are_kept_apart(partials_of: Callable[..., Partials]) -> None:
    rows = [
        streamed(dur=1, flags=int(Flag.TRACER)),
        streamed(dur=1, flags=int(Flag.FAILED), bytes=None),
        streamed(dur=1, flags=int(Flag.TRACER | Flag.ZEROED)),
    ]
    assert len(in_cells(partials_of(rows))) == 0


class TestMaximum:
    """Exact if it was streamed, a bound if it was aggregated."""

    def test_streamed(self, cell_of: OneCell) -> None:
        cell = cell_of(streamed(dur=123_457), aggregated("alloc", 5, 300))
        assert (cell["max_ns"], cell["max_is"]) == (123_457, "exact")

    def test_aggregated(self, cell_of: OneCell) -> None:
        cell = cell_of(streamed(dur=100), aggregated("alloc", 5, 1000))
        assert (cell["max_ns"], cell["max_is"]) == (1023, "at most")

    def test_both_in_one_bucket(self, cell_of: OneCell) -> None:
        cell = cell_of(streamed(dur=1001), aggregated("alloc", 5, 1000))
        assert (cell["max_ns"], cell["max_is"]) == (1023, "at most")

    def test_aggregated_into_the_last_bucket(self, cell_of: OneCell) -> None:
        cell = cell_of(aggregated("alloc", 2, 1 << (TOP_BIT + 1)))
        assert (cell["max_ns"], cell["max_is"]) == (1 << TOP_BIT, "at least")

    def test_no_quantile_is_beyond_it(self, cell_of: OneCell) -> None:
        cell = cell_of(streamed(dur=1020))
        assert (cell["p50_ns"], cell["p99_ns"], cell["max_ns"]) == (1007, 1007, 1020)
        cell = cell_of(streamed(dur=1000))
        assert (cell["p50_ns"], cell["p99_ns"], cell["max_ns"]) == (1000, 1000, 1000)


@pytest.mark.parametrize("seed", range(4))
def test_streamed_and_aggregated_give_the_same_quantiles(seed: int, cell_of: OneCell) -> None:
    """The same durations, once streamed and once summed up by the kernel side."""
    values = np.random.default_rng(seed).lognormal(7, 1, 400).astype(int)
    one = cell_of(*(streamed(dur=int(v)) for v in values))
    other = cell_of(*(aggregated("alloc", 1, int(v)) for v in values))
    mixed = cell_of(
        *(streamed(dur=int(v)) if i % 3 else aggregated("alloc", 1, int(v)) for i, v in enumerate(values))
    )
    for name in ("p50_ns", "p90_ns", "p99_ns", "count", "total_ns", "durations"):
        assert one[name] == other[name] == mixed[name]
    for name, q in (("p50_ns", 0.5), ("p90_ns", 0.9), ("p99_ns", 0.99)):
        exact = np.quantile(values, q, method="inverted_cdf")
        assert math.isclose(one[name], exact, rel_tol=1 / 32)


def test_cells_are_sorted_with_unknown_last(partials_of: Callable[..., Partials]) -> None:
    rows = [streamed(order=o, dur=1, nid=n) for o in (2, None, 0) for n in (1, None, 0)]
    found = cells(partials_of(rows), ["order", "nid"])
    assert [(row["order"], row["nid"]) for row in found] == [
        (o, n) for o in (0, 2, None) for n in (0, 1, None)
    ]


def test_every_cell_has_every_column(partials_of: Callable[..., Partials]) -> None:
    for row in cells(partials_of("sampled"), ["event", "order"]):
        assert tuple(row) == ("event", "order", *MEASURED)


def test_by_cost_puts_the_most_time_then_bytes_then_count_first() -> None:
    rows: list[Row] = [
        {"event": "b", "total_ns": 9, "bytes": 9, "count": 9, "n": 4},
        {"event": "a", "total_ns": None, "bytes": 1, "count": 2, "n": 3},
        {"event": "a", "total_ns": None, "bytes": 5, "count": 1, "n": 2},
        {"event": "a", "total_ns": 1, "bytes": 0, "count": 1, "n": 1},
    ]
    assert [row["n"] for row in by_cost(rows, "event")] == [1, 2, 3, 4]


def test_any_key_partitions_the_same_sums(partials_of: Callable[..., Partials]) -> None:
    whole = cells(in_cells(partials_of("streamed")), ["event"])
    for word in KEYS:
        parts = cells(
            in_cells(partials_of("streamed", [KEYS["event"], KEYS[word]])), ["event", KEYS[word].output]
        )
        for total in whole:
            of = [row for row in parts if row["event"] == total["event"]]
            for name in ("count", "bytes", "total_ns", "self_ns", "durations"):
                assert sum(row[name] for row in of) == total[name], word
