# SPDX-License-Identifier: Apache-2.0
"""Quantiles and maxima from merged log-linear histograms.

A quantile q of n occurrences is the value of rank ceil(q * n) (nearest rank,
numpy's "inverted_cdf"), taken at the middle of the bucket that holds it, so it
is off by at most 1/32 of itself (traces.histogram.ERROR); exact below 32 ns,
where a bucket holds one value.  Unit: that of the bucketed values (ns).
Histograms merge by adding counts: streamed rows, aggregates, row groups and
files give the same quantiles together as their concatenation.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    Ints = npt.NDArray[np.int64]


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


def group_quantiles(group: Ints, bucket: Ints, count: Ints, groups: int, per_mille: tuple[int, ...]) -> Ints:
    """Quantiles of each group's histogram.

    ``group``, ``bucket`` and ``count`` (all of shape (n,)) say that ``count``
    occurrences of a group fell into a bucket; a pair may occur several times.
    Returns shape (groups, len(per_mille)); -1 for a group without occurrences.
    """
    import numpy as np

    order = np.lexsort((bucket, group))
    group, bucket, count = group[order], bucket[order], count[order]
    cumulative = np.cumsum(count)
    edges = np.searchsorted(group, np.arange(groups + 1))
    before = np.concatenate(([0], cumulative))[edges]
    total = np.diff(before)
    out = np.full((groups, len(per_mille)), -1, dtype=np.int64)
    some = total > 0
    values = middle(bucket)
    for column, q in enumerate(per_mille):
        rank = np.maximum(-(-q * total[some] // 1000), 1)
        place = np.searchsorted(cumulative, before[:-1][some] + rank, side="left")
        out[some, column] = values[place]
    return out
