# SPDX-License-Identifier: Apache-2.0
"""Quantiles: one definition for all that reports print.

A quantile q of n occurrences is the value of rank ceil(q * n) (nearest rank,
numpy's "inverted_cdf", DuckDB's quantile_disc).  It is exact where every duration
around it is in the file.  Where the kernel summed some of them, or there are too
many to be kept one by one (traces/partials.py), it is the upper edge of the bucket
that holds it, or the longest duration there: at most 1/16 too long, and below
32 ns, where a bucket holds one value, exact.  Unit: that of the values (ns).
Durations merge by adding counts: streamed rows, aggregates, row groups and
files give the same quantiles together as their concatenation.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    Ints = npt.NDArray[np.int64]
    Bools = npt.NDArray[np.bool_]


def exact_quantile(ascending: Ints, per_mille: int) -> int:
    """The quantile of at least one value in ascending order; 1000 for the largest."""
    return int(ascending[max(-(-per_mille * len(ascending) // 1000), 1) - 1])


def middle(buckets: npt.ArrayLike) -> Ints:
    """The value that stands for each bucket."""
    from memtrace.traces.histogram import lower_edge, width

    edges: Ints = lower_edge(buckets) + (width(buckets) - 1) // 2
    return edges


def upper_edge(buckets: npt.ArrayLike) -> Ints:
    """The largest value of each bucket (the last bucket is open above: its nominal edge)."""
    from memtrace.traces.histogram import lower_edge, width

    edges: Ints = lower_edge(buckets) + width(buckets) - 1
    return edges


def group_quantiles(
    group: Ints, value: Ints, count: Ints, exact: Bools, groups: int, per_mille: tuple[int, ...]
) -> tuple[Ints, Bools]:
    """Quantiles of each group's durations, and whether each is exact rather than a bound from above.

    ``group``, ``value``, ``count`` and ``exact`` (all of shape (n,)) say that ``count`` occurrences
    of a group took ``value``, or (not exact) no longer than that and something in its bucket.
    Returns two arrays of shape (groups, len(per_mille)); -1 for a group without occurrences.
    """
    import numpy as np

    from memtrace.traces.histogram import bucket_of

    order = np.lexsort((value, group))
    group, value, count = group[order], value[order], count[order]
    cumulative = np.cumsum(count)
    edges = np.searchsorted(group, np.arange(groups + 1))
    before = np.concatenate(([0], cumulative))[edges]
    total = np.diff(before)
    # What lies somewhere in a bucket may come before or after what lies in it exactly.
    _, stretch = np.unique(np.stack((group, bucket_of(value))), axis=1, return_inverse=True)
    told = np.bincount(stretch.ravel(), weights=~exact[order], minlength=1)[stretch.ravel()] == 0
    found = np.full((groups, len(per_mille)), -1, dtype=np.int64)
    is_exact = np.zeros(found.shape, dtype=bool)
    some = total > 0
    for column, q in enumerate(per_mille):
        rank = np.maximum(-(-q * total[some] // 1000), 1)
        place = np.searchsorted(cumulative, before[:-1][some] + rank, side="left")
        found[some, column], is_exact[some, column] = value[place], told[place]
    return found, is_exact
