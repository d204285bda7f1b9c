# SPDX-License-Identifier: Apache-2.0
"""The durations of one metric in one run: quantiles between buckets, and resampling.

A bucket is 1/16 of its octave wide, too coarse to compare kernels by: a change of
2 % would be invisible or, across an edge, look like 6 %.  But the mean of a
bucket's durations is known exactly.  So the durations of a bucket are taken as
spread evenly around their mean, as far as the nearer edge: the mean stays right,
and the median of durations that are all alike is just their value.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    Floats = npt.NDArray[np.float64]
    Ints = npt.NDArray[np.int64]


@dataclass(frozen=True)
class Histogram:
    """How many durations fell into each bucket (ascending), and their time in ns."""

    bucket: Ints
    count: Ints
    total_ns: Ints

    def __len__(self) -> int:
        """Durations."""
        return int(self.count.sum())

    def quantile(self, share: npt.ArrayLike) -> Floats:
        """The durations, in ns, that ``share`` (0 to 1) of all do not exceed; not for an empty one."""
        import numpy as np

        from memtrace.traces.histogram import lower_edge, width

        reached = np.cumsum(self.count)
        at = np.asarray(share, dtype=np.float64) * reached[-1]
        place = np.minimum(np.searchsorted(reached, at, side="left"), len(reached) - 1)
        low = lower_edge(self.bucket).astype(np.float64)
        high = low + width(self.bucket) - 1
        mean = np.clip(self.total_ns / self.count, low, high)
        reach = np.minimum(mean - low, high - mean)
        inside = (at - (reached - self.count)[place]) / self.count[place]
        values: Floats = mean[place] + (2 * inside - 1) * reach[place]
        return values

    def quantiles_again(self, share: float, rng: np.random.Generator, size: int) -> Floats:
        """That quantile of ``size`` resamples of the durations.

        The share of the durations below an order statistic of a resample is
        distributed as Beta(rank, n - rank + 1): no resample has to be drawn.
        """
        n = len(self)
        rank = max(share * n, 0.5)
        return self.quantile(rng.beta(rank, max(n - rank, 0) + 1, size))

    def sum_variance(self) -> float:
        """The variance of the logarithm of the total in such resamples as sums_again() makes."""
        total = float(self.total_ns.sum())
        squares = float((self.total_ns / self.count) @ self.total_ns)
        return max(0.0, squares / total**2 - 1 / len(self)) if total else 0.0

    def sums_again(self, rng: np.random.Generator, size: int) -> Floats:
        """The total time in ``size`` resamples of as many durations.

        How their number varies is seen between the runs: a workload may fix it.
        """
        drawn = rng.multinomial(len(self), self.count / len(self), size)
        sums: Floats = drawn @ (self.total_ns / self.count)
        return sums
