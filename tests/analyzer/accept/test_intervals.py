# SPDX-License-Identifier: Apache-2.0
"""Which interval lies in which, how much time many cover, and how many run at once."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from memtrace.analyzer.accept.intervals import holders, sweep, union_ns
from memtrace.analyzer.accept.rows import Names, Spans


def spans(*intervals: tuple[int, int], tid: npt.ArrayLike = 1) -> Spans:
    begin, end = (np.array([pair[i] for pair in intervals], dtype=np.int64) for i in (0, 1))
    none = np.full(len(intervals), -1, dtype=np.int64)
    tids = np.broadcast_to(np.asarray(tid, dtype=np.int64), len(intervals))
    no_text = Names(none, ())
    return Spans(
        begin=begin, end=end, dur=end - begin, tid=tids, flags=none * 0,
        bytes=none, asked=none, pfn=none, nid=none, cpu=none, pid=none, order=none, gfp=none,
        parent=no_text, comm=no_text, cgroup=no_text,
    )  # fmt: skip


def test_an_interval_is_held_by_the_one_of_its_task_that_began_last() -> None:
    outer = spans((0, 100), (10, 50), (200, 300))
    assert holders(spans((20, 30), (60, 70), (210, 300)), outer).tolist() == [1, 0, 2]


def test_an_interrupt_in_between_does_not_hide_the_holder() -> None:
    outer = spans((0, 100), *((i, i + 1) for i in range(10, 16)))
    assert holders(spans((40, 60)), outer).tolist() == [0]


def test_neither_another_task_nor_an_overlap_holds() -> None:
    outer = spans((0, 100), (0, 100), tid=[1, 2])
    assert holders(spans((10, 20), tid=2), outer).tolist() == [1]
    assert holders(spans((10, 20), tid=3), outer).tolist() == [-1]
    assert holders(spans((90, 101)), outer).tolist() == [-1]
    assert holders(spans((10, 20)), spans()).tolist() == [-1]


def test_holders_agree_with_looking_at_every_pair() -> None:
    random = np.random.default_rng(7)
    tasks = [np.sort(random.choice(100_000, 200, replace=False)).reshape(-1, 2) for _ in range(4)]
    outer = spans(*map(tuple, np.concatenate(tasks).tolist()), tid=np.repeat(np.arange(4), 100))
    begin = random.integers(0, 100_000, 2000)
    inner = spans(*((int(b), int(b) + 200) for b in begin), tid=random.integers(0, 4, 2000))
    found = holders(inner, outer)
    inside = (outer.begin <= inner.begin[:, None]) & (outer.end >= inner.end[:, None])
    inside &= outer.tid == inner.tid[:, None]
    assert 500 < inside.any(axis=1).sum() < 1900
    assert np.where(inside.any(axis=1), inside.argmax(axis=1), -1).tolist() == found.tolist()


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
