# SPDX-License-Identifier: Apache-2.0
"""How much time many intervals cover, and how many run at once."""

from __future__ import annotations

import numpy as np

from memtrace.analyzer.accept.intervals import sweep, union_ns


def test_time_covered_counts_overlaps_once_and_stops_at_the_window() -> None:
    begin, end = np.array([0, 5, 30, 31]), np.array([10, 20, 40, 35])
    assert union_ns(begin, end) == 30
    assert union_ns(begin, end, (8, 33)) == 15
    assert union_ns(begin, end, (21, 29)) == 0
    assert union_ns(begin[:0], end[:0]) == 0


def test_a_sweep_gives_the_value_between_all_changes() -> None:
    times, (number,) = sweep([(np.array([0, 10, 5, 20]), np.array([1.0, -1.0, 1.0, -1.0]))])
    assert times.tolist() == [0, 5, 10, 20]
    assert number.tolist() == [1, 2, 1, 0]
