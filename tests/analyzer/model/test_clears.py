# SPDX-License-Identifier: Apache-2.0
"""The staged table clears: what is exact, estimated, a bound or unknown."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import pytest

from memtrace.analyzer.cells import in_cells, of_run
from memtrace.analyzer.keys import DEFAULT
from memtrace.analyzer.model.staged import model
from memtrace.analyzer.scan import connect, partials
from memtrace.analyzer.tables import Row
from memtrace.tests.analyzer.cases import CASES
from memtrace.tests.analyzer.recorded import (
    PERIOD,
    Case,
    aggregated,
    header,
    status,
    streamed,
    time_only,
)
from memtrace.tests.analyzer.recorded import Row as CaseRow
from memtrace.traces.reader import Run
from memtrace.traces.schema import Flag

RunOf = Callable[[Case | str], Run]
ESTIMATED = int(Flag.AGGREGATED | Flag.ESTIMATED)
INFERRED = ESTIMATED | int(Flag.INFERRED | Flag.ZEROED)
QUERY = 'SELECT * FROM clears ORDER BY event, "order" NULLS LAST, nid NULLS LAST'


def asked(run: Run, query: str) -> list[Row]:
    with model(run) as tables:
        tables.need("clears")
        return list(tables.query(query))


def of(run_of: RunOf, rows: Sequence[CaseRow], **samples: int) -> Row:
    """The one group of clears of these rows; two seconds on two CPUs."""
    told = status(samples={"period_ns": PERIOD, **samples} if samples else {})
    (found,) = asked(run_of(Case(rows, header("zero.user"), told)), QUERY)
    return found


def test_measured_clears_are_exact(run_of: RunOf) -> None:
    found = of(run_of, [streamed("zero.user", 9, 1000), streamed("zero.user", 9, 3000)])
    assert (found["count"], found["bytes"], found["total_ns"]) == (2, 4 << 20, 4000)
    assert (found["total_is"], found["untimed"], found["inferred"]) == ("exact", 0, 0)
    assert found["ns_per_4kib"] == 4000 / 1024
    assert found["gib_per_s"] == pytest.approx((4 << 20) / 2**30 / 4e-6)


def test_the_recorders_own_and_failed_ones_and_other_events_are_left_out(run_of: RunOf) -> None:
    flags = [int(Flag.TRACER), int(Flag.FAILED)]
    others = [streamed("zero.user", 9, 7, flags=flag) for flag in flags]
    assert of(run_of, [streamed("zero.user", 9, 5), streamed("alloc", 9, 7), *others])["total_ns"] == 5


def test_a_clear_without_a_time_makes_the_sum_a_lower_bound(run_of: RunOf) -> None:
    found = of(run_of, [streamed("zero.user", 9, 1000), streamed("zero.user", 9, None)])
    assert (found["total_ns"], found["total_is"], found["untimed"]) == (1000, "at least", 1)
    assert found["ns_per_4kib"] == 1000 / 512, "of the one that has a time"


def test_sampled_time_is_an_estimate_and_a_bound_where_samples_are_missing(run_of: RunOf) -> None:
    rows = [aggregated("zero.user", 100, None, 9), time_only("zero.user", 16, 9)]
    whole, short = of(run_of, rows, all=3900), of(run_of, rows, all=2000)
    assert (whole["total_ns"], whole["total_is"], whole["untimed"]) == (16 * PERIOD, "estimate", 0)
    assert (short["total_ns"], short["total_is"], short["gib_per_s"]) == (16 * PERIOD, "at least", None)
    assert whole["ns_per_4kib"] == short["ns_per_4kib"] == 16 * PERIOD / 51_200


@pytest.mark.parametrize(("samples", "rated"), [(3, False), (4, True)])
def test_fewer_than_four_samples_are_no_rate(run_of: RunOf, samples: int, rated: bool) -> None:
    found = of(run_of, [aggregated("zero.user", 100, None, 9), time_only("zero.user", samples, 9)], all=3900)
    assert (found["ns_per_4kib"] is not None, found["gib_per_s"] is not None) == (rated, rated)


def test_what_no_sample_hit_is_unknown(run_of: RunOf) -> None:
    found = of(run_of, [aggregated("zero.user", 9, None, flags=INFERRED, total_ns=0)], all=3900)
    assert (found["count"], found["inferred"], found["untimed"]) == (9, 9, 9)
    assert (found["total_ns"], found["total_is"], found["ns_per_4kib"]) == (None, None, None)


def test_time_alone_has_no_number(run_of: RunOf) -> None:
    found = of(run_of, [time_only("zero.user", 100, None)], all=3900)
    assert (found["count"], found["bytes"], found["total_ns"]) == (None, None, 100 * PERIOD)
    assert found["ns_per_4kib"] is None


@pytest.mark.parametrize("case", sorted(CASES))
def test_the_report_has_the_same_numbers(run_of: RunOf, case: str) -> None:
    """The cells of the summary come from numpy, these from SQL."""
    run = run_of(case)
    with connect(run) as connection:
        cells = of_run(run, in_cells(partials(run, DEFAULT, connection)), ["event", "order", "nid"])
    names = ("event", "order", "nid", "count", "bytes", "total_ns", "total_is", "ns_per_4kib", "gib_per_s")
    wanted = [tuple(row[n] for n in names) for row in cells if str(row["event"]).startswith("zero.")]
    found = [tuple(row[n] for n in names) for row in asked(run, QUERY)]
    assert [row[:7] for row in found] == [row[:7] for row in wanted]
    for ours, theirs in zip(found, wanted, strict=True):
        assert ours[7:] == pytest.approx(theirs[7:])
