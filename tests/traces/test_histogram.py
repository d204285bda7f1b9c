# SPDX-License-Identifier: Apache-2.0
"""The buckets' arithmetic, against a definition in plain integers."""

from __future__ import annotations

from fractions import Fraction

import numpy as np
import pytest

from memtrace.traces.histogram import BUCKETS, ERROR, SUB, SUB_BITS, TOP_BIT, bucket_of, lower_edge, width

TOP = 1 << TOP_BIT


def bucket_by_definition(value: int) -> int:
    """Values below SUB have a bucket each; above, an octave has SUB of equal width."""
    value = min(value, TOP)
    if value < SUB:
        return value
    exponent = value.bit_length() - 1
    return (exponent - SUB_BITS + 1) * SUB + ((value >> (exponent - SUB_BITS)) - SUB)


def edges() -> list[int]:
    """Every value at, just below and just above every bucket's edge, and the ends."""
    starts = [int(e) for e in lower_edge(np.arange(BUCKETS))]
    around = {max(s + d, 0) for s in starts for d in (-2, -1, 0, 1, 2)}
    return sorted(around | {1 << b for b in range(63)} | {(1 << b) - 1 for b in range(64)})


def test_every_bucket_edge_is_where_the_definition_has_it() -> None:
    values = edges()
    assert bucket_of(values).tolist() == [bucket_by_definition(v) for v in values]


def test_small_values_exhaustively() -> None:
    values = np.arange(1 << 16)
    assert bucket_of(values).tolist() == [bucket_by_definition(v) for v in range(1 << 16)]


@pytest.mark.parametrize("bit", range(SUB_BITS, TOP_BIT))
def test_octaves_meet_without_gap_or_overlap(bit: int) -> None:
    first = int(bucket_of(1 << bit))
    assert int(bucket_of((1 << bit) - 1)) == first - 1
    assert int(lower_edge(first)) == 1 << bit
    assert int(width(first)) == 1 << (bit - SUB_BITS)


def test_edges_and_widths_tile_the_range() -> None:
    buckets = np.arange(BUCKETS)
    starts = lower_edge(buckets)
    assert starts[0] == 0
    assert starts[-1] == TOP
    assert (starts[:-1] + width(buckets[:-1]) == starts[1:]).all()
    assert (bucket_of(starts) == buckets).all()
    assert (bucket_of(starts[1:] - 1) == buckets[:-1]).all()


def test_the_last_bucket_takes_all_that_is_longer() -> None:
    assert bucket_of([TOP - 1, TOP, TOP + 1, (1 << 63) - 1]).tolist() == [BUCKETS - 2] + [BUCKETS - 1] * 3


def test_the_middle_of_a_bucket_is_within_the_stated_error() -> None:
    """For every bucket but the last, at both of its ends, in exact arithmetic."""
    for bucket, (start, size) in enumerate(
        zip(lower_edge(np.arange(BUCKETS - 1)), width(np.arange(BUCKETS - 1)), strict=True)
    ):
        low, high = int(start), int(start + size - 1)
        middle = Fraction(low + high, 2)
        for value in (low, high):
            error = abs(middle - value) / value if value else Fraction(0)
            assert error <= Fraction(ERROR), bucket
    # The bound is no larger than need be: the first value of an octave nearly reaches it.
    wide = int(bucket_of(1 << 40))
    assert (int(width(wide)) - 1) / 2 / (1 << 40) > ERROR * 0.999


def test_histograms_merge_by_adding() -> None:
    rng = np.random.default_rng(1)
    parts = [np.exp(rng.uniform(0, 28, n)).astype(np.int64) for n in (1000, 1, 5000)]
    counts = [np.bincount(bucket_of(p), minlength=BUCKETS) for p in parts]
    assert (np.bincount(bucket_of(np.concatenate(parts)), minlength=BUCKETS) == sum(counts)).all()


def test_any_shape_and_integer_type_goes_in() -> None:
    assert bucket_of(17).shape == ()
    assert bucket_of([[1, 2], [3, 400]]).shape == (2, 2)
    assert bucket_of([]).shape == (0,)
    for kind in (np.uint8, np.int16, np.uint32, np.int64):
        assert bucket_of(np.array([0, 15, 16, 100], kind)).tolist() == [0, 15, 16, bucket_by_definition(100)]
