# SPDX-License-Identifier: Apache-2.0
"""Sums by key, added piece by piece: exact, and each row is moved only a few times."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Iterable

import numpy as np
import pytest

from memtrace.probes.recorder import keyed
from memtrace.probes.recorder.keyed import Keyed, Rows, joined, most, reduced

PIECES, PIECE = 500, 40
LAST = (1 << 64) - 1


def u64(*values: int) -> keyed.U64:
    return np.array(values, np.uint64)


def test_sums_of_one_key_are_added() -> None:
    rows = reduced(u64(7, LAST, 7, 0), np.stack([u64(1, 2, 3, 4), u64(1 << 62, 0, 1, 0)]))
    assert (rows.keys.tolist(), rows.sums.tolist()) == ([0, 7, LAST], [[4, 4, 2], [0, (1 << 62) + 1, 0]])


def test_the_key_of_the_most_is_found_in_each_group() -> None:
    keys = u64(0x100, 0x101, 0x102, 0x200, 0xFF00, 0xFF01)
    assert most(keys, u64(1, 5, 5, 0, 3, LAST), 8).tolist() == [0x101, 0x200, 0xFF01]
    assert most(u64(), u64(), 8).tolist() == []


def test_much_is_added_piece_by_piece_at_little_cost(monkeypatch: pytest.MonkeyPatch) -> None:
    moved, chance, held, expected = 0, random.Random(3), Keyed(1), Counter[int]()

    def counted(rows: Iterable[Rows]) -> Rows:
        nonlocal moved
        done = joined(rows)
        moved += len(done)
        return done

    monkeypatch.setattr(keyed, "joined", counted)
    for _ in range(PIECES):
        keys = [chance.getrandbits(16) << 48 | chance.getrandbits(2) for _ in range(PIECE)]
        held.add(reduced(u64(*keys), u64(*range(PIECE)).reshape(1, -1)))
        for value, key in enumerate(keys):
            expected[key] += value
    # Once at each doubling, of which there are nine.
    assert PIECES * PIECE < moved < 12 * PIECES * PIECE
    moved = 0
    groups = np.unique(u64(*(key >> 48 for key in list(expected)[:50])))
    some = held.of(groups, 48)
    assert moved < 4 * len(some)
    assert dict(zip(some.keys.tolist(), some.sums[0].tolist(), strict=True)) == {
        key: value for key, value in expected.items() if key >> 48 in groups
    }
    whole = held.whole()
    assert dict(zip(whole.keys.tolist(), whole.sums[0].tolist(), strict=True)) == expected
    assert held.of(u64(), 48).keys.tolist() == []
