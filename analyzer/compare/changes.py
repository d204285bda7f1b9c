# SPDX-License-Identifier: Apache-2.0
"""The changes from one side to another: samples, tests, intervals and verdicts together.

Headline metrics are corrected together for the chance of any false alarm
(permutation.step_down), times the number of sides compared with the first.  The
parts, which are many, are held to a false discovery rate (Benjamini and Hochberg):
of those called different, at most the stated share is so by chance.

A verdict of better or worse needs the corrected p at or below 1 - confidence, and
an interval without 0 that is not wholly within the margin.  Equivalence is two
one-sided tests (TOST) of each metric by itself: the interval at twice the error,
two-sided, lies within the margin.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

from memtrace.analyzer.compare import bootstrap, permutation
from memtrace.analyzer.compare.bootstrap import Sample
from memtrace.analyzer.compare.comparability import Finding
from memtrace.analyzer.compare.metrics import QUANTILES, Measured, Metric
from memtrace.analyzer.compare.sides import Side

WORSE, BETTER, MORE, LESS = "worse", "better", "more", "less"
EQUIVALENT, NOTHING, TOO_FEW, WITHHELD = "equivalent", "~", "too few", "withheld"
DIFFERENT = (WORSE, BETTER, MORE, LESS)
VERDICTS = {
    WORSE: "it costs more",
    BETTER: "it costs less",
    MORE: "there is more of it, which is no cost",
    LESS: "there is less of it, which is no gain",
    EQUIVALENT: "the interval lies within the margin",
    NOTHING: "neither a difference nor equivalence can be said",
    TOO_FEW: "too few runs for any verdict at this confidence",
    WITHHELD: "the numbers mean different things, or one is unknown; the reason is given",
}


@dataclass(frozen=True)
class Rules:
    """What a verdict needs."""

    confidence: float = 0.95
    margin: float = 0.01
    seed: int = 1

    @property
    def alpha(self) -> float:
        # 1 - 0.9 is a little less than what three runs a side can give, 0.1.
        return round(1 - self.confidence, 12)


@dataclass(frozen=True)
class Change:
    """One metric, from the first side to another."""

    metric: Metric
    before: float | None
    after: float | None
    runs: tuple[int, int]
    """That know the metric."""
    change: float | None = None
    """after / before - 1."""
    interval: tuple[float, float] | None = None
    inner: tuple[float, float] | None = None
    """At twice the error: what equivalence is judged by."""
    p: float | None = None
    p_corrected: float | None = None
    verdict: str = NOTHING
    reason: str = ""
    resolution: float = 0.0
    """The widest bounds of a run's value, as a share of it."""
    errors: tuple[float, ...] | None = None
    """Where it rests on samples of the clock: one standard error of each run's value by them, as a share."""
    samples: tuple[Sample, Sample] | None = None


@dataclass(frozen=True)
class Comparison:
    """One side held against the first."""

    before: Side
    after: Side
    findings: tuple[Finding, ...]
    headline: tuple[Change, ...]
    parts: tuple[Change, ...]

    def find(self, name: str) -> list[Change]:
        """The changes of that name; ``*`` stands for anything, for cells only where brackets are given."""
        import re

        pattern = re.compile(".*".join(map(re.escape, name.split("*"))))
        found = [c for c in (*self.headline, *self.parts) if pattern.fullmatch(c.metric.name)]
        return [c for c in found if "[" in name or not c.metric.cell]


def compare(
    before: Side,
    after: Side,
    findings: Sequence[Finding],
    rules: Rules,
    *,
    chosen: Sequence[str] = (),
    sides: int = 1,
) -> Comparison:
    """All changes from ``before`` to ``after``.

    ``chosen``: beginnings of metric names, all others are left out; ``sides``: how
    many sides are compared with ``before``.
    """
    halves = []
    for which in ("headline", "parts"):
        names = _names((*before.measured, *after.measured), which, chosen)
        described = [_described(metric, before, after, findings, rules) for metric in names]
        changes = [replace(one, errors=_errors((before, after), one.metric)) for one in described]
        step_down = which == "headline"
        halves.append(_tested(changes, (before, after), rules, several=sides, step_down=step_down))
    return Comparison(before, after, tuple(findings), halves[0], halves[1])


def sample(side: Side, metric: Metric) -> tuple[Sample, str]:
    """The metric in the runs that know it, and why others do not."""
    import numpy as np

    found = [measured.value(metric) for measured in side.measured]
    known = [value for value in found if value is not None and value.value is not None]
    why = next((value.why for value in found if value is not None and value.why), "")
    values = np.array([value.value for value in known], dtype=np.float64)
    bounds = None
    if any(value.bounds for value in known):
        bounds = np.array([value.bounds or (value.value, value.value) for value in known], dtype=np.float64).T
    return Sample(values, tuple(value.histogram for value in known), metric.measure, bounds), why


def _names(measured: Iterable[Measured], which: str, chosen: Sequence[str]) -> list[Metric]:
    names = {metric for one in measured for metric in getattr(one, which)}
    if chosen:
        names = {metric for metric in names if metric.name.startswith(tuple(chosen))}
    return sorted(names, key=_place)


def _place(metric: Metric) -> tuple[object, ...]:
    """Phases in the order of the boot, families, then events; costs before percentiles; cells by number."""
    from memtrace.traces.phases import PHASES

    phases = list(PHASES)
    measures = ("total", "bytes", "ns_per_4kib", "worst", "count", *QUANTILES)
    if metric.scope == "boot":
        at = phases.index(metric.measure) if metric.measure in phases else len(phases)
        return ("", "", (), at, metric.measure)
    numbers = tuple((not w.isdigit(), int(w) if w.isdigit() else 0, w) for w in _words(metric.cell))
    return (metric.family, metric.scope, numbers, measures.index(metric.measure), "")


def _words(cell: str) -> list[str]:
    return [word.rpartition("=")[2] for word in cell.split(",")] if cell else []


def _described(
    metric: Metric, before: Side, after: Side, findings: Sequence[Finding], rules: Rules
) -> Change:
    """The change with its interval, as far as the runs tell; its verdict only where none is possible."""
    import numpy as np

    (old, old_why), (new, new_why) = sample(before, metric), sample(after, metric)
    runs = (len(old.values), len(new.values))
    for finding in findings:
        if finding.withholds is not None and finding.withholds(metric):
            return Change(metric, _center(old), _center(new), runs, verdict=WITHHELD, reason=finding.because)
    if not all(runs):
        where = before.name if not runs[0] else after.name
        why = f"unknown in {where}" + (f": {why}" if (why := old_why if not runs[0] else new_why) else "")
        return Change(metric, _center(old), _center(new), runs, verdict=WITHHELD, reason=why)
    rng = np.random.default_rng([rules.seed, zlib.crc32(metric.name.encode())])
    levels = (rules.confidence, 1 - 2 * rules.alpha)
    found = bootstrap.estimate(old, new, levels, rng)
    outer, inner = found.intervals
    known = max(old.resolution, new.resolution)
    change = Change(
        metric, found.before, found.after, runs, found.change, outer, inner,
        resolution=known, samples=(old, new),
    )  # fmt: skip
    few = outer is None or permutation.least_p(*runs) > rules.alpha
    return replace(change, verdict=TOO_FEW) if few else change


def _errors(sides: Iterable[Side], metric: Metric) -> tuple[float, ...] | None:
    found = [measured.value(metric) for side in sides for measured in side.measured]
    return tuple(value.error for value in found if value is not None and value.estimated) or None


def _center(of: Sample) -> float | None:
    """The mean of one side alone."""
    return bootstrap.mean(of.values, logs=bool((of.values > 0).all())) if len(of.values) else None


def _tested(
    changes: list[Change], sides: tuple[Side, Side], rules: Rules, *, several: int, step_down: bool
) -> tuple[Change, ...]:
    """The changes with p-values and verdicts, where these are still open."""
    import numpy as np
    from scipy import stats

    open_ = [change for change in changes if change.verdict == NOTHING]
    if not open_:
        return tuple(changes)
    before, after = sides
    split = permutation.splits(len(before.runs), len(after.runs), np.random.default_rng(rules.seed))
    values = np.array([[m.known(c.metric) for c in open_] for m in (*before.measured, *after.measured)])
    t = permutation.statistics(values, split)
    p = permutation.p_values(t)
    corrected = permutation.step_down(t) if step_down else stats.false_discovery_control(p)
    corrected = np.minimum(1.0, corrected * several)
    found = {c.metric: (float(p[i]), float(corrected[i])) for i, c in enumerate(open_)}
    return tuple(_judged(c, found.get(c.metric), rules) for c in changes)


def _judged(change: Change, p: tuple[float, float] | None, rules: Rules) -> Change:
    if p is None:
        return change
    change = replace(change, p=p[0], p_corrected=p[1])
    return replace(change, verdict=verdict(change, rules))


def verdict(change: Change, rules: Rules) -> str:
    """The verdict of a change that has p-values."""
    assert change.interval is not None and change.p_corrected is not None
    if different(change.interval, change.p_corrected, rules):
        more = change.interval[0] > 0
        if not change.metric.costs:
            return MORE if more else LESS
        return WORSE if more else BETTER
    return EQUIVALENT if _inside(change.inner, rules) else NOTHING


def different(interval: tuple[float, float], p_corrected: float, rules: Rules) -> bool:
    """Whether a change of this interval and p is called one."""
    low, high = interval
    return p_corrected <= rules.alpha and not low <= 0 <= high and not _inside(interval, rules)


def _inside(interval: tuple[float, float] | None, rules: Rules) -> bool:
    """Whether an interval lies within the margin, which is the same ratio up and down."""
    if interval is None:
        return False
    # A change of just the margin is within it, rounding aside.
    low, high = 1 / (1 + rules.margin) - 1 - 1e-9, rules.margin + 1e-9
    return low <= interval[0] and interval[1] <= high
