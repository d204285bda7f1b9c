# SPDX-License-Identifier: Apache-2.0
"""Sums by 64-bit keys, in numpy: what is added costs in proportion to itself, not to what is there.

The sums are held in blocks that are sorted by key, each at least twice as long as the next one.
A new block is merged with those that are too short, as in a log-structured merge tree: there
are only logarithmically many blocks, and an element is merged as often.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

U64 = npt.NDArray[np.uint64]


@dataclass(frozen=True)
class Rows:
    """Keys of shape (rows,), and several sums of each, of shape (sums, rows)."""

    keys: U64
    sums: U64

    def __len__(self) -> int:
        return len(self.keys)

    def take(self, chosen: npt.NDArray[np.bool_] | npt.NDArray[np.intp]) -> Rows:
        """Return some rows, by a mask or by their places."""
        return Rows(self.keys[chosen], self.sums[:, chosen])


def none(sums: int) -> Rows:
    """Return no rows, of so many sums each."""
    return Rows(np.zeros(0, np.uint64), np.zeros((sums, 0), np.uint64))


def reduced(keys: U64, sums: U64) -> Rows:
    """Return rows whose keys are sorted and not repeated; ``sums`` of one key are added."""
    return _reduced(keys, len(sums), iter(sums))


def joined(rows: Iterable[Rows]) -> Rows:
    """Return one or more Rows, which are reduced, as one."""
    parts = list(rows)
    if len(parts) == 1:
        return parts[0]
    # Column by column, because there may be millions of rows.
    count = len(parts[0].sums)
    columns = (np.concatenate([part.sums[i] for part in parts]) for i in range(count))
    return _reduced(np.concatenate([part.keys for part in parts]), count, columns)


def _reduced(keys: U64, count: int, columns: Iterator[U64]) -> Rows:
    order = None
    if (keys[1:] < keys[:-1]).any():
        # Stable, because this finds runs that are sorted already, as blocks are.
        order = np.argsort(keys, kind="stable")
        keys = keys[order]
    starts = _starts(keys)
    sums = np.zeros((count, len(starts)), np.uint64)
    if len(starts):
        for total, column in zip(sums, columns, strict=True):
            np.add.reduceat(column if order is None else column[order], starts, out=total)
    return Rows(keys[starts], sums)


def most(keys: U64, values: U64, bits: int) -> U64:
    """Return of each group of ``keys`` the one with the largest value; the smallest of several such.

    ``keys`` are sorted and not repeated; those that differ in the lowest ``bits`` only are a group.
    """
    groups = keys >> np.uint64(bits)
    starts = _starts(groups)
    if not len(starts):
        return keys
    largest = np.maximum.reduceat(values, starts)
    sizes = np.diff(np.append(starts, len(keys)))
    found: U64 = keys[values == np.repeat(largest, sizes)]
    firsts: U64 = found[_starts(found >> np.uint64(bits))]
    return firsts


def _starts(values: U64) -> npt.NDArray[np.intp]:
    """Return where each run of equal values begins."""
    if not len(values):
        return np.zeros(0, np.intp)
    return np.concatenate(([0], np.flatnonzero(values[1:] != values[:-1]) + 1))


class Keyed:
    """A growing number of sums by key."""

    def __init__(self, sums: int) -> None:
        """Hold nothing; a key has so many sums."""
        self._blocks: list[Rows] = [none(sums)]

    def add(self, rows: Rows) -> None:
        """Add rows, which are reduced."""
        self._blocks.append(rows)
        while len(self._blocks) > 1 and 2 * len(self._blocks[-1]) > len(self._blocks[-2]):
            self._blocks.append(joined((self._blocks.pop(-2), self._blocks.pop(-1))))

    def whole(self) -> Rows:
        """Return everything, reduced."""
        self._blocks = [joined(self._blocks)]
        return self._blocks[0]

    def of(self, groups: U64, bits: int) -> Rows:
        """Return the rows of ``groups``, which are sorted: keys without their lowest ``bits``."""
        return joined(_of(block, groups, np.uint64(bits)) for block in self._blocks)


def _of(block: Rows, groups: U64, bits: np.uint64) -> Rows:
    first = np.searchsorted(block.keys, groups << bits)
    last = np.searchsorted(block.keys, (groups << bits) | ((np.uint64(1) << bits) - np.uint64(1)), "right")
    sizes = last - first
    # The places first..last of each group, one after the other.
    ends = np.cumsum(sizes)
    places = np.arange(int(ends[-1]) if len(ends) else 0) + np.repeat(first - ends + sizes, sizes)
    return block.take(places)
