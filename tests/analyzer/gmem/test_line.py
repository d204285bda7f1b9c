# SPDX-License-Identifier: Apache-2.0
"""A line through bounds that leave no other, and by how much bounds leave one at all."""

from __future__ import annotations

import numpy as np
import pytest

from memtrace.analyzer.gmem.line import MOST_BOUNDS, Bounds, fit, kept, margin, thinned


def around(values: list[float], width: float) -> Bounds:
    """At the seconds 0, 1, 2, …: between value - width and value + width, us."""
    at, middle = np.arange(len(values), dtype=float), np.array(values)
    return Bounds(at, middle + width, at, middle - width)


def test_a_line_that_bounds_leave_no_choice() -> None:
    line = fit(around([10, 12, 14, 16], 0.0))
    assert (line.value, line.drift) == pytest.approx((10, 2), abs=0.01)
    assert line.value_off < 0.01
    assert kept(around([10, 12, 14, 16, 19], 0.0), line) == 4


def test_the_margin_is_how_much_closer_the_bounds_could_be() -> None:
    assert margin(around([0, 1, 2, 3], 5.0)) == pytest.approx(5)
    # 0, 0 and 8: the line -2, 2, 6 is 2 us off each, and none is closer to all.
    assert margin(around([0, 0, 8], 0.0)) == pytest.approx(-2)


def test_of_many_bounds_the_closest_of_each_part_stay() -> None:
    width = np.full(10 * MOST_BOUNDS, 9.0)
    width[::100] = 1.0
    at = np.arange(len(width), dtype=float)
    found = thinned(Bounds(at, width, at, -width))
    assert len(found) == MOST_BOUNDS
    assert (found.high == 1.0).sum() == len(width) / 100
