# SPDX-License-Identifier: Apache-2.0
"""Snapshots while recording: what is kept of a falling counter, and how many at most."""

from collections.abc import Iterable
from itertools import pairwise

from memtrace.probes.recorder.changes import Changes, brief, moved, thinned
from memtrace.traces.run import Snapshot


def at(second: int, unaccepted: int | None, **more: int) -> Snapshot:
    vmstat = more if unaccepted is None else {"nr_unaccepted": unaccepted, **more}
    return Snapshot("start", second * 10**9, vmstat, {"0": {"Unaccepted": 4, "AnonPages": 9}})


def kept(values: Iterable[int | None], most: int = 600) -> list[tuple[int, int | None]]:
    """(second, nr_unaccepted) of what is kept of one value a second."""
    first, *later = (at(second, value) for second, value in enumerate(values))
    changes = Changes(first, most)
    for snapshot in later:
        changes.note(snapshot)
    assert all(s.label == "change" for s in changes.kept)
    return [(s.boottime_ns // 10**9, s.vmstat.get("nr_unaccepted")) for s in changes.kept]


def test_nothing_is_kept_while_nothing_moves() -> None:
    assert kept([7, 7, 7, 7]) == []
    assert kept([None, None, None]) == []


def test_a_fall_is_kept_from_where_it_began() -> None:
    assert kept([9, 9, 9, 5, 5, 5, 4]) == [(2, 9), (3, 5), (5, 5), (6, 4)]


def test_each_second_of_a_steady_fall_is_kept_once() -> None:
    assert kept([9, 8, 7, 6]) == [(1, 8), (2, 7), (3, 6)]


def test_other_counters_do_not_count() -> None:
    assert not moved(at(0, 5, nr_free_pages=1), at(1, 5, nr_free_pages=2))
    assert moved(at(0, 5), at(1, 6))


def test_a_change_has_only_what_is_drawn() -> None:
    short = brief(at(0, 5, nr_free_pages=1, pgfault=3))
    assert short.vmstat == {"nr_unaccepted": 5, "nr_free_pages": 1}
    assert short.nodes == {"0": {"Unaccepted": 4}}


def test_a_long_fall_stays_bounded_and_evenly_spread() -> None:
    seconds = [second for second, _ in kept(range(100_000, 0, -1), most=60)]
    assert 30 <= len(seconds) <= 60
    steps = [after - before for before, after in pairwise(seconds)]
    assert max(steps) <= 4 * min(steps)
    assert seconds[-1] > 100_000 - 2 * max(steps)


def test_thinning_keeps_the_last() -> None:
    five = tuple(at(second, second) for second in range(5))
    assert [s.vmstat["nr_unaccepted"] for s in thinned(five, 3)] == [0, 2, 4]
    assert thinned(five, 5) == five
