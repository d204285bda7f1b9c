# SPDX-License-Identifier: Apache-2.0
"""Intervals of time, a million at once: which lies in which, and how many run at a time."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from memtrace.analyzer.accept.rows import Floats, Ints, Spans

_DEEPEST = 8
"""Intervals of one task that may lie between an inner one and the one that holds it (interrupts)."""


def holders(inner: Spans, outer: Spans) -> Ints:
    """For each inner span the outer one of the same task that holds it, -1 where none does.

    Of several that hold it, the one that began last.
    """
    import numpy as np

    if not len(inner) or not len(outer):
        return np.full(len(inner), -1, dtype=np.int64)
    rank = np.lexsort((outer.begin, outer.task))
    begin, end, task = outer.begin[rank], outer.end[rank], outer.task[rank]
    both = np.lexsort(
        (
            np.repeat((0, 1), (len(outer), len(inner))),
            np.concatenate((begin, inner.begin)),
            np.concatenate((task, inner.task)),
        )
    )
    last = np.maximum.accumulate(np.where(both < len(outer), both, -1))
    place = np.full(len(inner), -1, dtype=np.int64)
    is_inner = both >= len(outer)
    place[both[is_inner] - len(outer)] = last[is_inner]
    found = np.full(len(inner), -1, dtype=np.int64)
    for _ in range(_DEEPEST):
        same = (place >= 0) & (found < 0)
        same &= task[place] == inner.task
        holds = same & (begin[place] <= inner.begin) & (end[place] >= inner.end)
        found[holds] = rank[place[holds]]
        place = np.where(same, place - 1, -1)
    return found


def union_ns(begin: Ints, end: Ints, window: tuple[int, int] | None = None) -> int:
    """How much time at least one of the intervals covers, inside the window; ns."""
    import numpy as np

    if window is not None:
        begin, end = np.maximum(begin, window[0]), np.minimum(end, window[1])
        begin, end = begin[end > begin], end[end > begin]
    if not len(begin):
        return 0
    order = np.argsort(begin, kind="stable")
    begin, reached = begin[order], np.maximum.accumulate(end[order])
    gaps = np.maximum(begin[1:] - reached[:-1], 0).sum()
    return int(reached[-1] - begin[0] - gaps)


def sweep(changes: list[tuple[Ints, Floats]]) -> tuple[Ints, list[Floats]]:
    """Step functions from their changes: each is (times, differences), both of shape (n,).

    Returns the times at which any of them changes, ascending, and the value of
    each function from that time to the next.
    """
    import numpy as np

    times: Ints = np.sort(np.concatenate([at for at, _ in changes]))
    times = times[np.append(np.diff(times) > 0, True)]
    values: list[Floats] = []
    for at, difference in changes:
        steps = np.bincount(np.searchsorted(times, at), weights=difference, minlength=len(times))
        values.append(np.cumsum(steps.astype(np.float64)))
    return times, values
