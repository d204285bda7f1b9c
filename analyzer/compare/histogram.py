# SPDX-License-Identifier: Apache-2.0
"""The durations of one metric in one run: quantiles with their bounds, and resampling.

Durations are counted in cells: how many lie between a cell's lowest and highest
value, and their sum.  Where every duration is a row of its own, the cells around
the quantiles are so fine (fine.py) that these are known to 0.03 %.  Where they were
summed in the kernel, a cell is a bucket, 1/16 of its octave wide, and where in it a
quantile lies is not in the file.  So a quantile has two forms:

value
    The durations of a cell are taken as spread evenly around their mean, as far as
    the nearer end: the mean stays right, and the median of durations that are all
    alike is just their value.
bounds
    What it cannot be below or above, whatever the durations were: the n durations
    of a cell from a to b that sum up to S have their j-th smallest at least at
    (S - (n - j) b) / j and at most at (S - (j - 1) a) / (n - j + 1).
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    Floats = npt.NDArray[np.float64]
    Ints = npt.NDArray[np.int64]
    Bools = npt.NDArray[np.bool_]


@dataclass(frozen=True)
class Histogram:
    """Cells in ascending order, apart from each other; ns."""

    low: Ints
    """The smallest duration that may be in the cell."""
    high: Ints
    """The largest."""
    count: Ints
    total_ns: Ints

    @classmethod
    def of_buckets(cls, bucket: Ints, count: Ints, total_ns: Ints) -> Histogram:
        """Buckets of traces.histogram (ascending): how many fell into each, and their time."""
        import numpy as np

        from memtrace.traces.histogram import BUCKETS, lower_edge, width

        low = lower_edge(bucket)
        # The last is open above: none of its durations is longer than all together.
        high = np.where(bucket < BUCKETS - 1, low + width(bucket) - 1, np.maximum(low, total_ns))
        return cls(low, high, count, total_ns)

    def where(self, chosen: Bools) -> Histogram:
        """The cells chosen."""
        return Histogram(self.low[chosen], self.high[chosen], self.count[chosen], self.total_ns[chosen])

    def merged(self, other: Histogram) -> Histogram:
        """With the cells of another, which lie apart from these."""
        import numpy as np

        order = np.argsort(np.concatenate([self.low, other.low]))
        mine, theirs = ((h.low, h.high, h.count, h.total_ns) for h in (self, other))
        return Histogram(*(np.concatenate(both)[order] for both in zip(mine, theirs, strict=True)))

    def __len__(self) -> int:
        """Durations."""
        return int(self.count.sum())

    def quantile(self, share: npt.ArrayLike) -> Floats:
        """The durations that ``share`` (0 to 1) of all do not exceed; not for an empty one."""
        import numpy as np

        reached = np.cumsum(self.count)
        at = np.asarray(share, dtype=np.float64) * reached[-1]
        place = np.minimum(np.searchsorted(reached, at, side="left"), len(reached) - 1)
        mean = np.clip(self.total_ns / self.count, self.low, self.high)
        reach = np.minimum(mean - self.low, self.high - mean)
        inside = (at - (reached - self.count)[place]) / self.count[place]
        values: Floats = mean[place] + (2 * inside - 1) * reach[place]
        return values

    def bounds(self, share: float) -> tuple[float, float]:
        """What the duration of rank ceil(share * n) is at least, and at most."""
        import numpy as np

        reached = np.cumsum(self.count)
        rank, place = self._ranked(share, reached)
        low, high, n = float(self.low[place]), float(self.high[place]), int(self.count[place])
        total = min(max(float(self.total_ns[place]), n * low), n * high)
        j = rank - int(reached[place]) + n
        least = max(low, (total - (n - j) * high) / j)
        most = min(high, (total - (j - 1) * low) / (n - j + 1))
        return least, max(least, most)

    def place(self, share: float) -> int:
        """The cell that holds the duration of rank ceil(share * n)."""
        import numpy as np

        return self._ranked(share, np.cumsum(self.count))[1]

    def _ranked(self, share: float, reached: Ints) -> tuple[int, int]:
        import numpy as np

        # 0.1 * 50 is a little more than 5.
        rank = max(1, math.ceil(share * float(reached[-1]) - 1e-6))
        return rank, int(np.searchsorted(reached, rank))

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
