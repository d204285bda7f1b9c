# SPDX-License-Identifier: Apache-2.0
"""Runs of one kernel against themselves: how often would a comparison have cried wolf?

The runs are split into two halves of one size, at random, SPLITS times (all ways,
where there are fewer), and each split is judged by the rules of a comparison: the
corrected permutation test, the interval and the margin.

false alarms
    Splits in which the metric was called different.
pairs apart
    Pairs of single runs that differ by more than the effect asked for: what
    comparing one run a side would have called a change.
catches
    The smallest increase, of a list, that is found in 9 of 10 splits when this
    metric is raised by it in all runs of one half.
drift
    Whether the first half of the runs, by time, differs from the second: if so,
    the machine changed meanwhile, and only interleaved runs compare kernels.

Chance alone makes the permutation test right here whatever the runs; what this adds
is what it can catch with these runs, and whether they drift.
"""

from __future__ import annotations

import math
from bisect import bisect_left
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from memtrace.analyzer.compare import bootstrap, permutation
from memtrace.analyzer.compare.bootstrap import Sample
from memtrace.analyzer.compare.changes import Rules, different, sample
from memtrace.analyzer.compare.metrics import Metric
from memtrace.analyzer.compare.percent import percent
from memtrace.analyzer.compare.sides import NO_EVIDENCE, Side
from memtrace.analyzer.render.units import written
from memtrace.analyzer.tables import Column, Table
from memtrace.errors import MemtraceError

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    Floats = npt.NDArray[np.float64]
    Bools = npt.NDArray[np.bool_]
    Ints = npt.NDArray[np.int64]

SPLITS = 200
_SAMPLED = 1_999
"""Relabellings for each of them, where there are too many to try all."""
_CAUGHT = 0.9
_TRIED = 40
"""Splits in which effects are tried."""
EFFECTS = (0.005, 0.01, 0.02, 0.03, 0.05, 0.075, 0.1, 0.15, 0.2, 0.3, 0.5, 1.0, 2.0, 5.0)
FEWEST = 8
"""Runs: halves of four are the least that allow a verdict at 95 %."""


@dataclass(frozen=True)
class Calibrated:
    """What splitting says about one metric."""

    metric: Metric
    runs: int
    deviation: float | None
    """Between runs, relative; None where a run has 0."""
    pairs_apart: float
    false_alarms: float
    catches: float | None
    """None: not even the largest of EFFECTS."""
    drift: bool


@dataclass(frozen=True)
class Calibration:
    """All metrics, and the chance of any false alarm among them."""

    metrics: tuple[Calibrated, ...]
    splits: int
    any_alarm: float
    left_out: tuple[str, ...] = ()
    """Metrics that some runs do not know."""


def calibrate(side: Side, metrics: Sequence[Metric], effect: float, rules: Rules) -> Calibration:
    """Splits the runs of a side; raises MemtraceError (exit 125) if there are too few."""
    import numpy as np

    size = len(side.runs) // 2
    if size * 2 < FEWEST or permutation.least_p(size, size) > rules.alpha:
        raise MemtraceError(
            f"{side.name} has {len(side.runs)} runs; calibrating at this confidence needs {FEWEST} at least",
            NO_EVIDENCE,
        )
    in_time = sorted(range(len(side.runs)), key=lambda i: _begun(side, i))
    known = [metric for metric in metrics if len(sample(side, metric)[0].values) == len(side.runs)]
    # Without histograms: hundreds of intervals, and the splits show the chance of events by themselves.
    samples = [replace(sample(side, metric)[0], histograms=()).of(np.array(in_time)) for metric in known]
    values = np.array([one.values for one in samples]).T
    rng = np.random.default_rng(rules.seed)
    halves = _halves(len(values), size, rng)
    split = permutation.splits(size, size, rng, _SAMPLED)
    alarms = np.array([_different(samples, half, split, rules, rng) for half in halves])
    first = np.arange(len(values))
    drift = _different(samples, np.concatenate([first[:size], first[-size:]]), split, rules, rng)
    catches = _catches(samples, halves[:_TRIED], split, rules, rng)
    found = [
        Calibrated(
            metric,
            len(values),
            float(np.log(column).std(ddof=1)) if (column > 0).all() else None,
            _apart(column, effect),
            float(alarms[:, i].mean()),
            catches[i],
            bool(drift[i]),
        )
        for i, (metric, column) in enumerate(zip(known, values.T, strict=True))
    ]
    left_out = tuple(metric.name for metric in metrics if metric not in known)
    any_alarm = float(alarms.any(axis=1).mean()) if known else 0.0
    return Calibration(tuple(found), len(halves), any_alarm, left_out)


def _begun(side: Side, i: int) -> tuple[int, str]:
    run = side.runs[i]
    anchor = run.header.anchors[0].realtime_ns if run.header.anchors else 0
    return (anchor, run.path.name)


def _halves(runs: int, size: int, rng: np.random.Generator) -> Ints:
    """Splits, a row of run numbers each: the first ``size`` are before."""
    import numpy as np

    if runs == 2 * size and math.comb(runs, size) <= SPLITS:
        masks = permutation.splits(size, size, rng)
        return np.array([np.concatenate([np.flatnonzero(~m), np.flatnonzero(m)]) for m in masks])
    return np.array([rng.permutation(runs)[: 2 * size] for _ in range(SPLITS)])


def _different(
    samples: Sequence[Sample], half: Ints, split: Bools, rules: Rules, rng: np.random.Generator
) -> Bools:
    """Which metrics are called different between the two halves."""
    import numpy as np

    values = np.array([one.values[half] for one in samples]).T
    p = permutation.step_down(permutation.statistics(values, split))
    size = len(half) // 2
    called = [
        _called(one.of(half[:size]), one.of(half[size:]), float(p[i]), rules, rng)
        for i, one in enumerate(samples)
    ]
    return np.array(called, dtype=bool)


def _called(before: Sample, after: Sample, p: float, rules: Rules, rng: np.random.Generator) -> bool:
    """The verdict; the interval is only made where the test says so."""
    if p > rules.alpha:
        return False
    (interval,) = bootstrap.estimate(before, after, (rules.confidence,), rng).intervals
    return interval is not None and different(interval, p, rules)


def _catches(
    samples: Sequence[Sample], halves: Ints, split: Bools, rules: Rules, rng: np.random.Generator
) -> list[float | None]:
    """Of each metric, the smallest of EFFECTS that is found in enough of the splits."""
    import numpy as np

    values = np.array([one.values for one in samples]).T
    plain = [permutation.statistics(values[half], split) for half in halves]
    found: list[float | None] = []
    for i, one in enumerate(samples):
        pairs = [(one.of(half), _largest_but(t, i)) for half, t in zip(halves, plain, strict=True)]
        # The larger the effect the more splits find it: halve the list.
        at = bisect_left(EFFECTS, _CAUGHT, key=lambda e, p=pairs: _found(p, e, split, rules, rng))  # type: ignore[misc]
        found.append(EFFECTS[at] if at < len(EFFECTS) else None)
    return found


def _largest_but(t: Floats, i: int) -> Floats:
    """Of each split, the largest statistic of all metrics but one, which an increase of that one leaves."""
    import numpy as np

    largest: Floats = np.delete(t, i, axis=1).max(axis=1, initial=0.0)
    return largest


def _found(
    pairs: Sequence[tuple[Sample, Floats]],
    effect: float,
    split: Bools,
    rules: Rules,
    rng: np.random.Generator,
) -> float:
    """The share of the splits in which the second half, raised by ``effect``, is called different."""
    import numpy as np

    caught = 0
    for both, largest in pairs:
        half = len(both.values) // 2
        first = np.arange(half)
        before, after = both.of(first), both.of(first + half).raised(effect)
        values = np.concatenate([before.values, after.values])
        own = permutation.statistics(values[:, None], split)[:, 0]
        # Single-step maxT: what the step-down gives to the most extreme metric, no less to others.
        p = float(np.mean(np.maximum(own, largest) >= own[0] * (1 - 1e-9)))
        caught += _called(before, after, p, rules, rng)
    return caught / len(pairs)


def _apart(column: Floats, effect: float) -> float:
    """The share of all pairs of runs of which one has more than the other by ``effect`` and more."""
    import numpy as np

    low, high = (f(column[:, None], column[None, :]) for f in (np.minimum, np.maximum))
    upper = np.triu_indices(len(column), 1)
    return float((high > low * (1 + effect))[upper].mean())


def table(found: Calibration, effect: float, rules: Rules) -> Table:
    """What splitting the runs of one kernel says."""
    rows = tuple(
        {
            "metric": one.metric.name,
            "runs": one.runs,
            "sd": one.deviation,
            "pairs_apart": one.pairs_apart,
            "false_alarms": one.false_alarms,
            "catches": one.catches,
            "drift": one.drift,
        }
        | {
            "_catches": "none" if one.catches is None else percent(one.catches),
            "_drift": "yes" if one.drift else "no",
        }
        for one in found.metrics
    )
    names = ("metric", "runs", "sd", "pairs_apart", "false_alarms", "catches", "drift")
    columns = (
        Column("metric", "metric"),
        Column("sd", "sd", "share"),
        Column("pairs_apart", f"pairs >{effect:.0%}", "share"),
        Column("false_alarms", "cried wolf", "share"),
        Column("_catches", "catches", "number"),
        Column("_drift", "drift", "number"),
    )
    alarms = (
        f"any metric: cried wolf in {written(found.any_alarm, 'share')} of {found.splits} splits; stated:"
    )
    size = found.metrics[0].runs // 2 if found.metrics else 0
    notes = (
        f"{alarms} at most {rules.alpha:.1%}",
        *([f"not in all runs: {', '.join(found.left_out)}"] if found.left_out else []),
        f"sd: between runs; pairs: single runs apart by more; catches: the smallest increase found in 9 of 10"
        f" splits of {size} against {size}; drift: the first half of the runs differs from the second",
    )
    return Table("calibration", "One kernel against itself", names, rows, columns, notes=notes)
