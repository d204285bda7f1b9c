# SPDX-License-Identifier: Apache-2.0
"""A line through bounds: the true one is never further away than the uncertainty says."""

from __future__ import annotations

import random

import pytest

from memtrace.analyzer.gmem.line import fit

Bounds = list[tuple[int, int, int, int]]
S = 10**9
OFFSET = 46_855_157_924


def truth(at: int, drift_ppm: float) -> int:
    return OFFSET + round(at * drift_ppm * 1e-6)


def bounds(count: int, drift_ppm: float, span_s: int = 10, seed: int = 1) -> Bounds:
    """Accepts of 1 to 3 ms; the host is seen in them, 10 to 300 us off both ends."""
    made, dice = [], random.Random(seed)
    for n in range(count):
        begin = 5 * S + n * span_s * S // count
        end = begin + dice.randint(1_000_000, 3_000_000)
        early, late = (dice.randint(10_000, 300_000) for _ in range(2))
        made.append((begin, truth(begin, drift_ppm) + early, end, truth(end, drift_ppm) - late))
    return made


@pytest.mark.parametrize("drift_ppm", [0.0, 9.7, -400.0])
@pytest.mark.parametrize("count", [1, 3, 40, 10_000])
def test_the_truth_is_within_the_uncertainty(drift_ppm: float, count: int) -> None:
    known = bounds(count, drift_ppm)
    line = fit(known)
    assert line.agreeing == count
    for at in (known[0][0], known[-1][2]):
        here = line.offset_ns + line.drift_ppm * 1e-6 * (at - line.at_ns)
        assert abs(here - truth(at, drift_ppm)) <= line.uncertainty_ns
    assert line.uncertainty_ns <= 3_000_000
    assert abs(line.drift_ppm - drift_ppm) <= line.drift_uncertainty_ppm + 0.01


def test_many_bounds_tell_more_than_few() -> None:
    few, many = fit(bounds(5, 9.7)), fit(bounds(500, 9.7))
    assert many.uncertainty_ns < few.uncertainty_ns
    assert abs(many.drift_ppm - 9.7) < abs(few.drift_ppm - 9.7) + 5


def test_bounds_of_other_moments_are_left_out() -> None:
    known = bounds(60, 9.7)
    # A third is of something else: 20 ms to 1 s off, all to one side.
    dice = random.Random(2)
    wrong = [
        (a, high + (off := dice.randint(20, 1000) * 10**6), b, low + off) for a, high, b, low in known[::3]
    ]
    line = fit(known[1::3] + known[2::3] + wrong)
    here = line.offset_ns + line.drift_ppm * 1e-6 * (known[30][0] - line.at_ns)
    assert abs(here - truth(known[30][0], 9.7)) <= line.uncertainty_ns
    assert line.agreeing == 40
