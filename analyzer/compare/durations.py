# SPDX-License-Identifier: Apache-2.0
"""The durations in partial aggregates: as a histogram, and the longest of them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from memtrace.analyzer.compare.histogram import Histogram
from memtrace.analyzer.partials import NO_BUCKET, Partials
from memtrace.traces.partials import Unknown
from memtrace.traces.schema import Flag

if TYPE_CHECKING:
    from memtrace.analyzer.compare.fine import Fine
    from memtrace.analyzer.partials import Bools


def timed(of: Partials) -> Bools:
    """Which rows have durations whose number and sum are known."""
    known: Bools = (of.bucket != NO_BUCKET) & (of.count > 0) & of.known(Unknown.TOTAL)
    return known


def histogram(of: Partials, *, own: bool = False, finer: Fine | None = None) -> Histogram | None:
    """All durations, None if there are none; with ``own``, their exclusive time by bucket of the whole.

    ``finer``: of the same occurrences.  It takes the place of buckets in which
    nothing was summed in the kernel.
    """
    import numpy as np

    known = timed(of)
    if not known.any():
        return None
    bucket, place = np.unique(of.bucket[known], return_inverse=True)
    time = of.self_ns if own else of.total_ns
    sums = np.zeros((2, len(bucket)), dtype=np.int64)
    np.add.at(sums[0], place, of.count[known])
    np.add.at(sums[1], place, time[known])
    coarse = Histogram.of_buckets(bucket, sums[0], sums[1])
    if finer is None:
        return coarse
    counted = np.zeros(len(bucket), dtype=np.int64)
    at = np.searchsorted(coarse.low, finer.bucket)
    np.add.at(counted, at, finer.histogram.count)
    # Sums of the kernel's in the same bucket, or rows that tell no number, are in no fine cell.
    whole = counted == coarse.count
    return coarse.where(~whole).merged(finer.histogram.where(whole[at]))


def longest(of: Partials) -> tuple[float, float] | None:
    """What the longest duration is at least and at most, ns; None if none was seen."""
    import numpy as np

    from memtrace.analyzer.quantiles import upper_edge
    from memtrace.traces.histogram import BUCKETS, lower_edge

    seen = of.bucket != NO_BUCKET
    if not seen.any():
        return None
    bucket, count, most = of.bucket[seen], np.maximum(of.count[seen], 1), of.max_ns[seen]
    low, high = lower_edge(bucket), upper_edge(bucket)
    rest = of.total_ns[seen] - (count - 1) * low
    summed, told = of.having(Flag.AGGREGATED)[seen], timed(of)[seen]
    high = np.where(told & (bucket == BUCKETS - 1), np.maximum(rest, high), high)
    # All the others of a bucket may be as short as it allows, or as long as this one.
    upper = np.where(told, np.clip(rest, low, high), high)
    lower = np.where(told, np.clip(of.total_ns[seen] / count, low, upper), low)
    return (
        float(np.where(summed, lower, most).max()),
        float(np.where(summed, upper, most).max()),
    )
