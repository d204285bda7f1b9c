# SPDX-License-Identifier: Apache-2.0
"""Nesting of intervals: which lies in which, and how long each is without those inside.

Intervals are ``[start, end]`` in ns, each in a *context*: the stretch of execution
that a stack of calls belongs to (ledger.py says which).  Intervals of different
contexts never nest.  Within a context:

depth
    The length of the longest chain of intervals around this one, each in the next.
parent
    Of the intervals that contain this one and are one less deep, the one that ends
    first: the shortest that contains it, as long as no intervals cross.  Of two
    equal intervals the one that comes later in the file is the container, because
    a recorder writes what is inside before what is around it.
length
    end - start, less what is already covered where intervals cross.  Calls nest,
    so intervals of calls never cross; a clock that steps or a merged trace may
    make them.  Then the one that ends first keeps the stretch they share, and the
    other is cut.  ``crossing`` counts the cuts: 0 in a sound trace.
self
    length less the lengths of the intervals directly inside.  Sums of self over
    a context equal the union of its intervals, cut or not, to the nanosecond.

Intervals are given in the order of the file.  Work is linear in their number for
each level of nesting, plus a sort that is quick where the order is nearly that of
the ends (as a recorder writes).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    Ints = npt.NDArray[np.int64]

_SMALL = 1 << 24
"""Context numbers below it are ranked by a table instead of a sort."""


@dataclass(frozen=True)
class Nesting:
    """How n intervals nest; positions are those of the arrays that nest() was given."""

    parent: Ints
    """Shape (n,): position of the interval directly around it, -1 for none."""
    length: Ints
    """Shape (n,), ns."""
    inside: Ints
    """Shape (n,), ns: sum of the lengths of the intervals directly inside."""
    levels: tuple[Ints, ...]
    """Positions of the outermost intervals, of those directly inside them, and so on."""
    crossing: int
    """Intervals that were cut because they crossed another."""

    @property
    def self_ns(self) -> Ints:
        """Shape (n,), ns: exclusive time."""
        return self.length - self.inside


def nest(start: Ints, end: Ints, context: Ints) -> Nesting:
    """Nest intervals; all arrays of shape (n,), ``context`` any integers >= 0."""
    import numpy as np

    count = len(start)
    if not count:
        empty = np.zeros(0, dtype=np.int64)
        return Nesting(empty, empty, empty, (), 0)
    rank, ranks = _ranks(context)
    order = _order(start, end, rank, ranks)
    begin, finish = start[order], end[order]
    group = rank[order].astype(np.int64)
    parent, levels = _levels(begin, group, ranks)
    length, crossing = _lengths(begin, finish, group, parent, levels)
    inside = np.zeros(count, dtype=np.int64)
    for level in levels[1:]:
        owner = parent[level]
        first = np.flatnonzero(np.diff(owner, prepend=-1))
        inside[owner[first]] = np.add.reduceat(length[level], first)
    return Nesting(
        parent=_scattered(np.where(parent >= 0, order[parent], -1), order),
        length=_scattered(length, order),
        inside=_scattered(inside, order),
        levels=tuple(order[level] for level in levels),
        crossing=crossing,
    )


def _scattered(values: Ints, order: Ints) -> Ints:
    import numpy as np

    out = np.empty_like(values)
    out[order] = values
    return out


def _ranks(context: Ints) -> tuple[npt.NDArray[np.unsignedinteger], int]:
    """Dense numbers for the contexts, in their order, and how many there are."""
    import numpy as np

    if int(context.max()) < _SMALL:
        used = np.zeros(int(context.max()) + 1, dtype=bool)
        used[context] = True
        ranks = int(used.sum())
        table = np.cumsum(used, dtype=np.int64) - 1
        rank: npt.NDArray[np.unsignedinteger] = table.astype(np.uint16 if ranks <= 1 << 16 else np.uint32)
        return rank[context], ranks
    known, inverse = np.unique(context, return_inverse=True)
    wide: npt.NDArray[np.unsignedinteger] = inverse.astype(np.uint32 if len(known) > 1 << 16 else np.uint16)
    return wide, len(known)


def _order(start: Ints, end: Ints, rank: npt.NDArray[np.unsignedinteger], ranks: int) -> Ints:
    """Positions by context, then end; equal ends innermost first, then as given."""
    import numpy as np

    # Stable sorts: the first merges the few runs that per-CPU buffers make, the second
    # is a radix sort for 16-bit numbers.
    order = np.arange(len(end)) if (end[1:] >= end[:-1]).all() else np.argsort(end, kind="stable")
    if ranks > 1:
        order = order[np.argsort(rank[order], kind="stable")]
    tied = (end[order[1:]] == end[order[:-1]]) & (rank[order[1:]] == rank[order[:-1]])
    if (tied & (start[order[1:]] > start[order[:-1]])).any():
        return np.lexsort((-start, end, rank))
    return order


def _levels(begin: Ints, group: Ints, groups: int) -> tuple[Ints, tuple[Ints, ...]]:
    """Parents and levels of intervals sorted by (group, end).

    An interval is contained in another iff one that ends later begins no later:
    the outermost are those before the smallest later begin.  Without them, the
    next level is outermost, and so on.
    """
    import numpy as np

    first = int(begin.min())
    span = int(begin.max()) - first + 1
    if span * groups < 1 << 62:
        key = begin - first + group * span
    else:
        # Ranks in place of times: longer to make, but never too large.
        key = np.empty(len(begin), dtype=np.int64)
        by = np.lexsort((begin, group))
        distinct = (np.diff(begin[by], prepend=begin[by[0]] - 1) != 0) | (np.diff(group[by], prepend=-1) != 0)
        key[by] = np.cumsum(distinct)
    parent = np.full(len(begin), -1, dtype=np.int64)
    levels: list[Ints] = []
    left = np.arange(len(begin))
    while left.size:
        later = np.empty(left.size, dtype=np.int64)
        later[-1] = np.iinfo(np.int64).max
        later[:-1] = np.minimum.accumulate(key[left[:0:-1]])[::-1]
        outermost = later > key[left]
        level = left[outermost]
        if levels:
            parent[level] = levels[-1][np.searchsorted(levels[-1], level)]
        levels.append(level)
        left = left[~outermost]
    return parent, tuple(levels)


def _lengths(
    begin: Ints, finish: Ints, group: Ints, parent: Ints, levels: tuple[Ints, ...]
) -> tuple[Ints, int]:
    """Lengths of intervals sorted by (group, end), and how many had to be cut."""
    import numpy as np

    begin = begin.copy()
    crossing = 0
    for depth, level in enumerate(levels):
        owner = parent[level] if depth else group[level]
        if depth:
            begin[level] = np.maximum(begin[level], begin[owner])
        follows = owner[1:] == owner[:-1]
        before = finish[level[:-1]]
        crosses = follows & (before > begin[level[1:]])
        if crosses.any():
            crossing += int(crosses.sum())
            cut = level[1:][crosses]
            begin[cut] = before[crosses]
    return np.maximum(finish - begin, 0), crossing
