# SPDX-License-Identifier: Apache-2.0
"""What is taken from one run: nothing twice, nothing unknown as 0."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from memtrace.analyzer.compare.measure import measure
from memtrace.analyzer.compare.metrics import QUANTILES, Measured, Metric
from memtrace.analyzer.keys import DEFAULT, KEYS, Key
from memtrace.tests.analyzer.cases import CASES
from memtrace.tests.analyzer.recorded import (
    PERIOD,
    Case,
    Row,
    aggregated,
    header,
    status,
    streamed,
    time_only,
    write,
)
from memtrace.traces.histogram import bucket_of
from memtrace.traces.reader import open_run
from memtrace.traces.run import Phase
from memtrace.traces.schema import Flag

Measure = Callable[..., Measured]


@pytest.fixture
def measured(tmp_path: Path) -> Measure:
    """The metrics of rows, or of a case."""

    def make(rows: Sequence[Row] | Case, by: Sequence[Key] = DEFAULT, **fields: Any) -> Measured:
        events = sorted({row["event"] for row in rows}) if not isinstance(rows, Case) else ()
        case = rows if isinstance(rows, Case) else Case(rows, header(*events, **fields), status())
        (tmp_path / "run.parquet").unlink(missing_ok=True)
        write(case, tmp_path / "run.parquet")
        return measure(open_run(tmp_path / "run.parquet"), by)

    return make


def values(found: Measured) -> dict[str, float | None]:
    return {m.name: v.value for m, v in (found.headline | found.parts).items()}


def test_nested_time_and_bytes_are_counted_once(measured: Measure) -> None:
    """An acceptance inside an allocation; a block inside a call: one time each, 4 MiB once."""
    rows = [
        streamed("alloc", 0, 10_000, self_ns=1_000, bytes=4096),
        streamed("accept.call", None, 9_000, self_ns=2_000, bytes=4 << 20, parent="alloc"),
        streamed("accept.block", 10, 7_000, self_ns=7_000, bytes=4 << 20, parent="accept.call"),
    ]
    found = values(measured(rows))
    assert found["alloc.total"] == 1_000
    assert found["accept.total"] == 9_000
    assert found["accept.bytes"] == 4 << 20
    assert found["accept.ns_per_4kib"] == 9_000 * 4096 / (4 << 20)
    assert found["accept.call.total"] == 2_000
    assert found["accept.call.bytes"] == found["accept.block.bytes"] == 4 << 20
    assert found["accept.worst"] == 9_000


def test_an_interrupts_allocation_inside_another_is_of_other_memory(measured: Measure) -> None:
    """8 of order 0, and in two of these an interrupt that takes 32 KiB: time once, memory twice."""
    rows = [streamed("alloc", 0, 1_000, self_ns=800 if i < 2 else 1_000) for i in range(8)]
    rows += [streamed("alloc", 3, 200, parent="alloc") for _ in range(2)]
    found = values(measured(rows))
    assert found["alloc.bytes"] == 8 * 4096 + 2 * 32768
    assert found["alloc.bytes"] == sum(found[f"alloc.bytes[order={o},node=0]"] or 0 for o in (0, 3))
    assert found["alloc.total"] == 8_000
    assert found["alloc.ns_per_4kib"] == pytest.approx(8_000 / 24)


def test_bytes_that_were_seen_in_part_are_no_sum(measured: Measure) -> None:
    """Half of them would be compared with all of them."""
    found = measured([streamed("zero.user", 9 if i % 2 else None, 100_000) for i in range(10)])
    for metric in (Metric("zero", "bytes"), Metric("zero", "ns_per_4kib")):
        value = found.headline[metric]
        assert (value.value, value.why) == (None, "bytes are unknown for 5 of 10 occurrences")
    assert found.parts[Metric("zero.user", "bytes")].value is None
    assert found.parts[Metric("zero.user", "bytes", "order=9,node=0")].value == 5 * (2 << 20)
    assert found.parts[Metric("zero.user", "count")].value == 10


def test_sampled_time_does_not_make_number_and_bytes_unknown(measured: Measure) -> None:
    counted = [aggregated("alloc", 100, None)]
    found = values(measured([*counted, time_only("alloc", 7)]))
    assert (found["alloc.bytes"], found["alloc.count"]) == (100 * 4096, 100)
    assert found["alloc.total"] == 7 * PERIOD


def test_each_clearing_counts_wherever_it_was_done(measured: Measure) -> None:
    rows = [
        streamed("zero.alloc", 9, 100_000, parent="alloc"),
        streamed("zero.user", 9, 60_000),
        streamed("alloc", 9, 120_000, self_ns=20_000),
    ]
    found = values(measured(rows))
    assert found["zero.bytes"] == 2 * (2 << 20)
    assert found["zero.total"] == 160_000


def test_blocks_of_hot_added_memory_have_no_bytes_in_common(measured: Measure) -> None:
    """hot.add and hot.online handle the same memory: a sum would say it twice."""
    rows = [
        streamed("hot.add", None, 5_000, bytes=1 << 27),
        streamed("hot.online", None, 9_000, bytes=1 << 27),
    ]
    found = values(measured(rows))
    assert "hot.bytes" not in found
    assert found["hot.add.bytes"] == found["hot.online.bytes"] == 1 << 27
    assert found["hot.total"] == 14_000
    assert not Metric("hot.add", "bytes").costs and Metric("hot", "total").costs


def test_aggregates_and_streams_of_the_same_events_are_the_same(measured: Measure) -> None:
    streams = measured([streamed("alloc", 0, 256) for _ in range(500)])
    sums = measured([aggregated("alloc", 300, 256), aggregated("alloc", 200, 256)])
    # All at the edge of a bucket: that their sum is 500 times the edge tells that none is longer.
    assert values(streams) == values(sums)


def test_what_the_kernel_summed_is_known_between_bounds(measured: Measure) -> None:
    """Half 256, half 264 ns, in the bucket from 256 to 271: where in it, a sum does not tell."""
    took = [256] * 250 + [264] * 250
    streams = measured([streamed("alloc", 0, d) for d in took])
    sums = measured([aggregated("alloc", 500, 260)])
    for name, true in {"alloc.p10": 256, "alloc.p50": 256, "alloc.p99": 264, "alloc.worst": 264}.items():
        exact, bounded = (
            next(value for metric, value in found.headline.items() if metric.name == name)
            for found in (streams, sums)
        )
        assert (exact.value, exact.bounds) == (true, None)
        assert bounded.bounds is not None and bounded.value is not None
        assert 256 <= bounded.bounds[0] <= min(true, bounded.value)
        assert max(true, bounded.value) <= bounded.bounds[1] <= 271


@pytest.mark.parametrize("value", [17, 100_350, 102_000, 1_048_577])
def test_all_percentiles_of_durations_that_are_all_alike_are_just_that(measured: Measure, value: int) -> None:
    found = values(measured([streamed("zero.user", 9, value) for _ in range(200)]))
    percentiles = {name: v for name, v in found.items() if ".p" in name}
    assert len(percentiles) == 6 and set(percentiles.values()) == {value}


MADE: dict[str, Callable[[np.random.Generator], np.ndarray]] = {
    "lognormal": lambda rng: rng.lognormal(8, 1, 3_000),
    "narrow": lambda rng: rng.normal(100_350, 300, 3_000),
    "two values in one bucket": lambda rng: rng.choice([100_350, 102_000], 3_000),
    "a step and its tail": lambda rng: 5_000 + rng.exponential(20_000, 3_000) * (rng.random(3_000) < 0.1),
}


@pytest.mark.parametrize("tail", [None, 0.5, 0.95, 1.0], ids="streamed from {}".format)
@pytest.mark.parametrize("made", MADE)
def test_percentiles_lie_within_their_bounds(measured: Measure, made: str, tail: float | None) -> None:
    """Those of order 0 at least so long are streamed, the others summed, as a recorder does."""
    took = MADE[made](np.random.default_rng(1)).astype(np.int64)
    least = 0 if tail is None else np.quantile(took, tail)
    rows = [streamed("alloc", 0, int(d)) for d in took[took >= least]]
    for bucket in np.unique(bucket_of(took[took < least])):
        of = took[(took < least) & (bucket_of(took) == bucket)]
        sums = {"total_ns": int(of.sum()), "self_ns": int(of.sum())}
        rows.append(aggregated("alloc", len(of), int(of[0]), **sums))
    found = measured(rows)
    worst = found.headline[Metric("alloc", "worst")]
    for name, share in QUANTILES.items():
        true = np.quantile(took, share, method="inverted_cdf")
        for cell in ("", "order=0,node=0"):
            value = found.value(Metric("alloc", name, cell))
            assert value is not None and value.value is not None and worst.value is not None
            low, high = value.bounds or (value.value, value.value)
            assert low <= true <= high <= worst.value
            assert low <= value.value <= high
            assert high / low < (1.0003 if tail is None else 1.0667)
    assert worst.value is not None
    low, high = worst.bounds or (worst.value, worst.value)
    assert low <= took.max() <= high


def test_percentiles_of_every_key_are_exact(measured: Measure) -> None:
    """The second look finds rows by whatever they are grouped by, unknown ones too."""
    rows = [
        streamed("alloc", order, 100_000 + 50 * i, comm=comm, stack=stack, flags=flags, gfp=gfp)
        for i, (order, comm, stack, flags, gfp) in enumerate(
            [(0, "a", "x;alloc_pages", 0, 5), (None, None, None, int(Flag.ZEROED), None)] * 20
        )
    ]
    for word in ("order", "comm", "caller", "stack", "zeroed", "flags", "gfp", "site", "parent", "cpu"):
        found = measured(rows, (KEYS["event"], KEYS[word]))
        medians = {m.cell: v for m, v in (found.headline | found.parts).items() if m.measure == "p50"}
        assert all(value.bounds is None for value in medians.values()), word
        assert medians[""].value == 100_000 + 50 * 19
        if len(medians) > 2:
            cells = {value.value for cell, value in medians.items() if cell}
            assert cells == {100_000 + 50 * 18, 100_000 + 50 * 19}, word


def test_cells_are_named_by_what_is_known_of_them(measured: Measure) -> None:
    rows = [streamed("alloc", 3, 500, nid=1), streamed("alloc", None, 700, nid=0, bytes=None)]
    found = values(measured(rows))
    assert found["alloc.p50[order=3,node=1]"] == pytest.approx(500)
    assert found["alloc.count[node=0]"] == 1
    assert found["alloc.bytes[node=0]"] is None
    by_comm = measured(rows, (KEYS["event"], KEYS["comm"]))
    assert values(by_comm)["alloc.total[comm=memhog]"] == 1_200


def test_watched_and_not_seen_is_nothing_unwatched_is_unknown(measured: Measure) -> None:
    found = measured(Case((streamed("alloc", 0, 5),), header("alloc", "zero.user"), status()))
    assert found.value(Metric("zero", "total")) is not None
    assert found.value(Metric("zero.user", "bytes", "order=9,node=0")).value == 0  # type: ignore[union-attr]
    assert found.value(Metric("zero.user", "p50")) is None
    assert found.value(Metric("accept", "total")) is None


def test_time_that_was_not_seen_is_unknown_and_says_so(measured: Measure) -> None:
    found = measured(CASES["tracepoint"]())
    value = found.headline[Metric("alloc", "total")]
    assert value.value is None and value.why
    assert found.headline[Metric("alloc", "bytes")].value == 1_600 * 4096


def test_time_that_was_seen_in_part_is_no_total(measured: Measure) -> None:
    found = measured([streamed("alloc", 0, 500), streamed("alloc", 0, None)])
    assert found.headline[Metric("alloc", "total")].value is None
    assert "1 of 2" in found.headline[Metric("alloc", "total")].why


def test_the_recorders_own_and_failed_ones_are_left_out(measured: Measure) -> None:
    rows = [
        streamed("alloc", 0, 100),
        streamed("alloc", 0, 9_000, flags=int(Flag.TRACER)),
        streamed("alloc", 9, 8_000, flags=int(Flag.FAILED)),
    ]
    found = values(measured(rows))
    assert (found["alloc.total"], found["alloc.worst"], found["alloc.count[order=0,node=0]"]) == (100, 100, 1)


def test_a_phase_lasts_from_its_first_start_to_its_last_end(measured: Measure) -> None:
    phases = (
        Phase("deferred", 1_000, 5_000, "dmesg", nid=0),
        Phase("deferred", 2_000, 9_000, "dmesg", nid=1),
        Phase("userspace", 10_000, None, "dmesg"),
    )
    found = values(measured([streamed("alloc", 0, 5)], phases=phases))
    assert found["boot.deferred"] == 8_000
    assert found["boot.userspace"] is None


def test_sampled_time_says_so_with_its_error(measured: Measure) -> None:
    case = Case(
        [aggregated("alloc", 100, None), time_only("alloc", 9), streamed("zero.user", 9, 50)],
        header("alloc", "zero.user"),
        status(samples={"period_ns": PERIOD}),
    )
    found = measured(case).headline
    total, rate = found[Metric("alloc", "total")], found[Metric("alloc", "ns_per_4kib")]
    assert (total.value, total.estimated) == (9 * PERIOD, True)
    assert total.error == rate.error == pytest.approx(1 / 3)
    assert not found[Metric("zero", "total")].estimated and not found[Metric("alloc", "bytes")].estimated


def sampled(samples: int, **told: int) -> Case:
    """A sample due each millisecond on two CPUs for two seconds."""
    rows = [aggregated("alloc", 100, None), time_only("alloc", samples)]
    return Case(rows, header("alloc"), status(samples={"period_ns": PERIOD, **told}))


def test_a_time_for_which_samples_are_missing_is_withheld(measured: Measure) -> None:
    short, whole = (measured(sampled(9, all=n)).headline[Metric("alloc", "total")] for n in (2000, 3900))
    assert (short.value, whole.value) == (None, 9 * PERIOD)
    assert short.why.startswith("a lower bound: only 50% of the clock samples")


@pytest.mark.parametrize(("samples", "rated"), [(3, False), (4, True)])
def test_fewer_than_four_samples_are_no_rate(measured: Measure, samples: int, rated: bool) -> None:
    found = measured(sampled(samples)).headline
    assert found[Metric("alloc", "total")].value == samples * PERIOD
    assert (found[Metric("alloc", "ns_per_4kib")].value is not None) == rated


def test_bytes_of_a_family_are_unknown_where_one_event_has_but_sampled_time(measured: Measure) -> None:
    """Clears of huge pages by samples alone, beside counted ones of small pages: no rate mixes the two."""
    found = measured([aggregated("zero.alloc", 100, 300), time_only("zero.user", 9)]).headline
    assert found[Metric("zero", "total")].value is not None
    for name in ("bytes", "ns_per_4kib"):
        value = found[Metric("zero", name)]
        assert value.value is None and "bytes of zero.user are unknown" in value.why
