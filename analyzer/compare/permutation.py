# SPDX-License-Identifier: Apache-2.0
"""Exact tests on runs: how often would relabelled runs differ as much?

If both kernels are alike, every way to split the runs into two sides of these
sizes is equally likely.  The share of the splits whose statistic is at least the
observed one is the p-value, whatever the distribution: the identity is one of the
splits, so p is never below 1 over their number, and identical kernels are called
different at most as often as stated.  The statistic is Welch's t of the logarithms
(of the values, where a run has 0), with a floor under its standard error (as in
SAM: Tusher et al., PNAS 2001), lest runs that are all alike make it infinite.

Several metrics are corrected together by Westfall and Young's step-down maxT
(1993): Holm's procedure, with the distribution of the largest statistic taken from
the same splits instead of Bonferroni's bound.  The chance of any false alarm
among them is at most the stated one.  Metrics of one run rise and fall together,
so that Holm's bound would ask for many more runs.  All splits are counted up to
MOST, a random sample of as many beyond.
"""

from __future__ import annotations

import math
from itertools import combinations
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    Floats = npt.NDArray[np.float64]
    Bools = npt.NDArray[np.bool_]

MOST = 13_000
"""Splits: all of 8 against 8 runs are 12870."""
SAMPLED = 9_999
FLOOR = 5e-4
"""Of a standard error, relative to the value."""


def splits(before: int, after: int, rng: np.random.Generator, sampled: int = SAMPLED) -> Bools:
    """Which runs are "after", of each split: shape (splits, before + after), the true one first.

    All of them, or ``sampled`` and the true one where there are more than MOST.
    """
    import numpy as np

    n = before + after
    if math.comb(n, after) <= MOST:
        chosen = np.array(list(combinations(range(n), after)), dtype=np.int64)[::-1]
        out = np.zeros((len(chosen), n), dtype=bool)
        out[np.arange(len(chosen))[:, None], chosen] = True
        return out
    true = np.arange(n) >= before
    shuffled = rng.permuted(np.broadcast_to(true, (sampled, n)), axis=1)
    return np.concatenate([true[None, :], shuffled])


def least_p(before: int, after: int) -> float:
    """The smallest p that so many runs can give."""
    number = math.comb(before + after, after)
    return (2 if before == after else 1) / number if number <= MOST else 1 / (SAMPLED + 1)


def statistics(values: Floats, split: Bools) -> Floats:
    """|t| of each split and metric, shape (splits, metrics).

    ``values``: shape (runs, metrics), NaN where a run does not know the metric.
    """
    import numpy as np

    known = np.isfinite(values)
    scaled = _scaled(values, known)
    after = split.astype(np.float64)
    sides = []
    # Sums over one side; those over the other are what is left of the whole.
    ours = [after @ part for part in (known.astype(np.float64), scaled, scaled**2)]
    theirs = [part.sum(axis=0) - sums for part, sums in zip((known, scaled, scaled**2), ours, strict=True)]
    with np.errstate(invalid="ignore", divide="ignore"):
        for n, total, squares in (theirs, ours):
            mean = total / n
            sides.append((mean, np.maximum(squares / n - mean**2, 0) / (n - 1)))
        (old, old_error), (new, new_error) = sides
        t = np.abs(new - old) / np.sqrt(old_error + new_error + FLOOR**2)
    # A side with one run or none has no variance: it says nothing.
    return np.where(np.isfinite(t), t, 0.0)


def p_values(t: Floats) -> Floats:
    """The p-value of each metric by itself; ``t`` of the true split first."""
    import numpy as np

    p: Floats = np.mean(t >= _least(t[0]), axis=0)
    return p


def step_down(t: Floats) -> Floats:
    """The p-values of all metrics corrected together (Westfall and Young's maxT)."""
    import numpy as np

    order = np.argsort(-t[0], kind="stable")
    # For each metric, the largest statistic among it and those less extreme.
    largest = np.maximum.accumulate(t[:, order[::-1]], axis=1)[:, ::-1]
    p = np.maximum.accumulate(np.mean(largest >= _least(t[0, order]), axis=0))
    out = np.empty_like(p)
    out[order] = p
    return out


def _least(t: Floats) -> Floats:
    """What counts as just as extreme, rounding aside."""
    return t * (1 - 1e-9)


def _scaled(values: Floats, known: Bools) -> Floats:
    """Logarithms about their mean, or values over theirs where one is 0; 0 for unknown."""
    import numpy as np

    filled = np.where(known, values, 0.0)
    n = np.maximum(known.sum(axis=0), 1)
    positive = (np.where(known, values, 1.0) > 0).all(axis=0)
    logs = np.log(np.where(known & positive, values, 1.0))
    mean = filled.sum(axis=0) / n
    linear = filled / np.where(mean > 0, mean, 1.0)
    out = np.where(positive, logs, linear)
    return np.where(known, out - np.where(known, out, 0.0).sum(axis=0) / n, 0.0)
