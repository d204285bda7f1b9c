# SPDX-License-Identifier: Apache-2.0
"""The rules of the main table, each with a known answer."""

from __future__ import annotations

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

    def make(*rows: Row, period_ns: int | None = None, short: bool = False) -> dict[str, Any]:
        (row,) = cells(in_cells(partials_of(rows)), ["event"], period_ns, short=short)
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


def test_the_time_of_a_cell_that_no_sample_hit_is_unknown(
    partials_of: Callable[..., Partials],
) -> None:
    rows = [aggregated("alloc", 1000), streamed("alloc", 9, None), time_only("alloc", 9)]
    parts = partials_of(rows, [KEYS[word] for word in ("event", "order", "comm")])
    small, huge = cells(parts, ["event", "order"], PERIOD)
    assert (small["total_ns"], small["time"], small["time_unknown_share"]) == (9 * PERIOD, "estimated", 0)
    assert (huge["order"], huge["total_ns"], huge["self_ns"], huge["time"]) == (9, None, None, "unknown")
    assert (huge["time_unknown_share"], huge["total_is"], huge["ns_per_4kib"]) == (1, None, None)
    # The estimate of the whole event is for that cell too.
    (whole,) = cells(parts, ["event"], PERIOD)
    assert (whole["total_ns"], whole["total_is"], whole["time_unknown_share"]) == (9 * PERIOD, "estimate", 0)
    # Samples have no task: their time may be anybody's, and nobody's is known.
    by_comm = {row["comm"]: row for row in cells(parts, ["event", "comm"], PERIOD)}
    assert by_comm[None]["total_ns"] == 9 * PERIOD
    (named,) = (row for comm, row in by_comm.items() if comm is not None)
    assert (named["total_ns"], named["time"], named["time_unknown_share"]) == (None, "unknown", 1)


def test_time_without_count_alone_has_no_rate(cell_of: OneCell) -> None:
    cell = cell_of(time_only("zero.user", 100))
    assert (cell["count"], cell["bytes"], cell["ns_per_4kib"]) == (None, None, None)
    assert (cell["total_ns"], cell["time_unknown_share"]) == (100 * PERIOD, None)


def test_an_estimate_of_which_no_sample_was_taken_is_unknown(cell_of: OneCell) -> None:
    none = aggregated("alloc", 7, None, flags=ESTIMATED, total_ns=0, self_ns=0)
    cell = cell_of(none, period_ns=PERIOD)
    assert (cell["total_ns"], cell["self_ns"], cell["time"], cell["total_is"]) == (
        None,
        None,
        "unknown",
        None,
    )
    assert (cell["ns_per_4kib"], cell["gib_per_s"], cell["total_rel_error"]) == (None, None, None)
    assert cell["time_unknown_share"] == 1
    beside = cell_of(none, streamed(dur=100), period_ns=PERIOD)
    assert (beside["total_ns"], beside["time"], beside["total_is"]) == (100, "exact", "at least")
    assert beside["time_unknown_share"] == 7 / 8
    hit = cell_of(none, aggregated("alloc", 7, None, flags=ESTIMATED, total_ns=5 * PERIOD), period_ns=PERIOD)
    assert (hit["total_ns"], hit["total_is"], hit["time_unknown_share"]) == (5 * PERIOD, "estimate", 0)


def test_own_time_that_no_sample_hit_is_unknown(cell_of: OneCell) -> None:
    nested = aggregated("alloc", 7, None, flags=ESTIMATED, total_ns=5 * PERIOD, self_ns=0)
    cell = cell_of(nested, period_ns=PERIOD)
    assert (cell["total_ns"], cell["self_ns"]) == (5 * PERIOD, None)


@pytest.mark.parametrize(("samples", "rated"), [(1, False), (3, False), (4, True), (100, True)])
def test_fewer_than_four_samples_are_no_rate(cell_of: OneCell, samples: int, rated: bool) -> None:
    rows = (aggregated("zero.user", 1000, None, order=9), time_only("zero.user", samples))
    cell = cell_of(*rows, period_ns=PERIOD)
    assert cell["total_ns"] == samples * PERIOD
    assert (cell["rate_is"], cell["rate_bytes_share"]) == (("estimate", 1) if rated else (None, None))
    for name, rate in (
        ("ns_per_4kib", samples * PERIOD / 512_000),
        ("gib_per_s", 1000 * 2**21 / 2**30 / (samples * PERIOD / 1e9)),
    ):
        assert cell[name] == (pytest.approx(rate) if rated else None)


def test_a_few_samples_beside_much_measured_time_leave_a_rate(cell_of: OneCell) -> None:
    own = aggregated("alloc", 10, None, flags=ESTIMATED, total_ns=PERIOD)
    cell = cell_of(streamed(dur=9 * PERIOD), own, period_ns=PERIOD)
    assert (cell["rate_is"], cell["ns_per_4kib"]) == ("estimate", 10 * PERIOD / 11)


def test_an_estimate_by_difference_rests_on_no_samples(cell_of: OneCell) -> None:
    cell = cell_of(aggregated("alloc", 7, None, flags=ESTIMATED, total_ns=700))
    assert (cell["ns_per_4kib"], cell["rate_is"], cell["total_is"]) == (100, "estimate", "estimate")


def test_where_samples_are_missing_the_estimate_is_a_lower_bound(cell_of: OneCell) -> None:
    rows = (aggregated("alloc", 1000), time_only("alloc", 100))
    whole, short = (cell_of(*rows, period_ns=PERIOD, short=short) for short in (False, True))
    assert (whole["total_is"], whole["total_rel_error"], whole["rate_is"]) == ("estimate", 0.1, "estimate")
    assert (short["total_is"], short["total_rel_error"], short["rate_is"]) == ("at least", None, "at least")
    assert short["total_ns"] == whole["total_ns"]
    assert short["ns_per_4kib"] == whole["ns_per_4kib"], "at least so much, too"
    assert whole["gib_per_s"] is not None and short["gib_per_s"] is None, "it would be at most so much"


def test_what_was_measured_needs_no_samples(cell_of: OneCell) -> None:
    cell = cell_of(streamed(dur=10), period_ns=PERIOD, short=True)
    assert (cell["total_is"], cell["rate_is"]) == ("exact", "exact")
    assert cell["gib_per_s"] is not None


def test_a_time_of_a_part_is_at_least_that(cell_of: OneCell) -> None:
    cell = cell_of(streamed(dur=10), streamed(dur=None))
    assert (cell["total_is"], cell["rate_is"]) == ("at least", "exact")
    own = aggregated("alloc", 10, None, flags=ESTIMATED, total_ns=25 * PERIOD)
    cell = cell_of(own, streamed(dur=None), period_ns=PERIOD)
    assert (cell["total_is"], cell["total_rel_error"]) == ("at least", None)


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
        assert (cell["p50_ns"], cell["p99_ns"], cell["max_ns"]) == (1020, 1020, 1020)
        cell = cell_of(streamed(dur=1000))
        assert (cell["p50_ns"], cell["p99_ns"], cell["max_ns"]) == (1000, 1000, 1000)


@pytest.mark.parametrize("seed", range(4))
def test_streamed_quantiles_are_exact_and_aggregated_ones_bounds(seed: int, cell_of: OneCell) -> None:
    """The same durations, once streamed and once summed up by the kernel side."""
    values = np.random.default_rng(seed).lognormal(7, 1, 400).astype(int)
    one = cell_of(*(streamed(dur=int(v)) for v in values))
    other = cell_of(*(aggregated("alloc", 1, int(v)) for v in values))
    mixed = cell_of(
        *(streamed(dur=int(v)) if i % 3 else aggregated("alloc", 1, int(v)) for i, v in enumerate(values))
    )
    for name in ("count", "total_ns", "durations"):
        assert one[name] == other[name] == mixed[name]
    for name, q in (("p50", 0.5), ("p90", 0.9), ("p99", 0.99)):
        exact = int(np.quantile(values, q, method="inverted_cdf"))
        assert (one[f"{name}_ns"], one[f"{name}_is"]) == (exact, "exact")
        for bound in (other, mixed):
            assert exact <= bound[f"{name}_ns"] <= exact * 17 / 16
        assert other[f"{name}_is"] == "at most"
        assert mixed[f"{name}_is"] == "at most" or mixed[f"{name}_ns"] == exact


def test_a_quantile_in_the_last_bucket_is_a_bound_from_below(cell_of: OneCell) -> None:
    cell = cell_of(*(streamed(dur=1000) for _ in range(60)), aggregated("alloc", 40, 1 << (TOP_BIT + 1)))
    assert (cell["p50_ns"], cell["p50_is"]) == (1000, "exact")
    assert (cell["p90_ns"], cell["p90_is"]) == (1 << TOP_BIT, "at least")


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
        split = in_cells(partials_of("streamed", [KEYS["event"], KEYS[word]]))
        parts = cells(split, ["event", KEYS[word].output])
        for total in whole:
            of = [row for row in parts if row["event"] == total["event"]]
            for name in ("count", "bytes", "total_ns", "self_ns", "durations"):
                assert sum(row[name] for row in of) == total[name], word
