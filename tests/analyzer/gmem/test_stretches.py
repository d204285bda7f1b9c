# SPDX-License-Identifier: Apache-2.0
"""Two clocks by bounds of their difference: the truth is never further away than the uncertainty says."""

from __future__ import annotations

import math
import random

import pytest

from memtrace.analyzer.gmem.stretches import FEWEST, Stretch, stretches

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


def told(found: list[Stretch], at: int) -> tuple[float, Stretch]:
    """The difference at a moment, and the stretch that tells it."""
    stretch = max((s for s in found if s.begin_ns <= at), key=lambda s: s.begin_ns, default=found[0])
    return stretch.offset_ns + stretch.drift_ppm * 1e-6 * (at - stretch.at_ns), stretch


@pytest.mark.parametrize("drift_ppm", [0.0, 9.7, -400.0])
@pytest.mark.parametrize("count", [1, 3, 40, 10_000])
def test_the_truth_is_within_the_uncertainty(drift_ppm: float, count: int) -> None:
    known = bounds(count, drift_ppm)
    (line,) = stretches(known)
    assert line.agreeing == count
    assert (line.begin_ns, line.end_ns) == (known[0][0], known[-1][2])
    for at in (known[0][0], known[-1][2]):
        assert abs(told([line], at)[0] - truth(at, drift_ppm)) <= line.uncertainty_ns
    assert line.uncertainty_ns <= 3_000_000
    assert abs(line.drift_ppm - drift_ppm) <= line.drift_uncertainty_ppm + 0.01


def test_many_bounds_tell_more_than_few() -> None:
    (few,), (many,) = stretches(bounds(5, 9.7)), stretches(bounds(500, 9.7))
    assert many.uncertainty_ns < few.uncertainty_ns
    assert abs(many.drift_ppm - 9.7) < abs(few.drift_ppm - 9.7) + 5


def test_bounds_of_other_moments_are_left_out() -> None:
    known = bounds(60, 9.7)
    # A third is of something else: 20 ms to 1 s off, all to one side.
    dice = random.Random(2)
    wrong = [
        (a, high + (off := dice.randint(20, 1000) * 10**6), b, low + off) for a, high, b, low in known[::3]
    ]
    (line,) = stretches(known[1::3] + known[2::3] + wrong)
    at = known[30][0]
    assert abs(told([line], at)[0] - truth(at, 9.7)) <= line.uncertainty_ns
    assert line.agreeing == 40


def test_one_that_a_line_could_reach_but_does_not_parts_nothing() -> None:
    known = bounds(60, 9.7)
    for n in (20, 21, 45):
        begin, high, end, low = known[n]
        known[n] = (begin, high + 2_000_000, end, low + 2_000_000)
    (line,) = stretches(known)
    assert line.agreeing == 57
    assert abs(told([line], known[30][0])[0] - truth(known[30][0], 9.7)) <= line.uncertainty_ns


@pytest.mark.parametrize("jump_us", [-1500, -700, 700, 5000])
@pytest.mark.parametrize("at", [8, 20, 32])
def test_a_clock_that_jumps_makes_two_stretches(jump_us: int, at: int) -> None:
    """More than any bound is wide, so that none before it could be of the line behind it."""
    known = [
        (a, high + jump_us * 1000 * (n >= at), b, low + jump_us * 1000 * (n >= at))
        for n, (a, high, b, low) in enumerate(bounds(40, 9.7))
    ]
    found = stretches(known)
    assert [stretch.agreeing for stretch in found] == [at, 40 - at]
    for n, (begin, _, end, _) in enumerate(known):
        for moment in (begin, end):
            here, stretch = told(found, moment)
            there = truth(moment, 9.7) + jump_us * 1000 * (n >= at)
            assert abs(here - there) <= stretch.uncertainty_ns


@pytest.mark.parametrize("seed", range(8))
def test_a_small_jump_is_no_further_away_than_the_bounds_are_wide(seed: int) -> None:
    """100 us, as a guest lost whose clocksource changed: bounds on both sides can be of one line."""
    known = [
        (a, high + 100_000 * (n >= 20), b, low + 100_000 * (n >= 20))
        for n, (a, high, b, low) in enumerate(bounds(40, 9.7, seed=seed))
    ]
    found = stretches(known)
    assert sum(stretch.agreeing for stretch in found) >= 40 - FEWEST
    for n, (begin, high, _, low) in enumerate(known):
        here, _ = told(found, begin)
        assert abs(here - truth(begin, 9.7) - 100_000 * (n >= 20)) <= high - low + 1000


def test_a_clock_that_is_slewed_is_followed() -> None:
    """Its rate changes by 30 ppm in the middle, as an NTP client may let it, over two minutes."""
    turn = 65 * S

    def slewed(at: int) -> int:
        return truth(at, 9.7) + round(max(at - turn, 0) * 30e-6)

    known = [
        (a, high - truth(a, 9.7) + slewed(a), b, low - truth(b, 9.7) + slewed(b))
        for a, high, b, low in bounds(400, 9.7, span_s=120)
    ]
    found = stretches(known)
    assert len(found) > 1
    assert sum(stretch.agreeing for stretch in found) >= 398
    for begin, *_ in known:
        here, stretch = told(found, begin)
        assert abs(here - slewed(begin)) <= stretch.uncertainty_ns < 1_000_000


@pytest.mark.parametrize("count", [100, 1000])
def test_a_clock_that_is_always_slewed_is_as_far_away_as_is_said(count: int) -> None:
    """By up to 20 ppm, to and fro in 100 s: nowhere is it straight."""

    def bent(at: int) -> int:
        return truth(at, 9.7) + round(20e-6 * 100 * S / math.tau * math.sin(math.tau * at / (100 * S)))

    known = [
        (a, high - truth(a, 9.7) + bent(a), b, low - truth(b, 9.7) + bent(b))
        for a, high, b, low in bounds(count, 9.7, span_s=200)
    ]
    found = stretches(known)
    assert len(found) > 1
    for begin, *_ in known:
        here, stretch = told(found, begin)
        assert abs(here - bent(begin)) <= stretch.uncertainty_ns < 1_000_000


def test_bounds_that_have_nothing_to_do_with_each_other_make_no_stretch() -> None:
    dice = random.Random(3)
    known = [(n * S, off + 1000, n * S + 1000, off) for n in range(300) for off in [dice.randint(0, 10**8)]]
    assert stretches(known) == []
