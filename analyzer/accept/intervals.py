# SPDX-License-Identifier: Apache-2.0
"""Intervals of time, a million at once: how much they cover, and how many run at a time."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from memtrace.analyzer.accept.rows import Floats, Ints


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
