# SPDX-License-Identifier: Apache-2.0
"""A comparison from words: which runs, by what rules, under which conditions, in which format."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from memtrace.analyzer.compare import calibrate, gates, plan, plot, sides, tables
from memtrace.analyzer.compare.caveats import caveats
from memtrace.analyzer.compare.changes import TOO_FEW, Comparison, Rules, compare
from memtrace.analyzer.compare.comparability import findings
from memtrace.analyzer.compare.metrics import Metric
from memtrace.analyzer.compare.sides import Side
from memtrace.analyzer.keys import parse_keys
from memtrace.analyzer.render import FORMATS, render
from memtrace.analyzer.report import PLOTS, only
from memtrace.analyzer.tables import Report, Table
from memtrace.errors import MemtraceError

EFFECT = 0.05
"""The change that runs are planned for where none is given."""


@dataclass(frozen=True)
class Request:
    """What was asked for, in the user's words."""

    sides: tuple[str, ...]
    calibrate: str | None = None
    plan: str | None = None
    fail_on: tuple[str, ...] = ()
    metric: tuple[str, ...] = ()
    by: str | None = None
    confidence: str = "95%"
    margin: str = "1%"
    seed: int = 1
    format: str = "text"
    table: str | None = None
    plot: Path | None = None
    color: bool = False


@dataclass(frozen=True)
class Answer:
    """The text, and the exit status that goes with it."""

    text: str
    exit_code: int = 0


Told = Callable[[int, int], None]


def make(request: Request, told: Told | None = None) -> Answer:
    """The comparison, planning or calibration asked for; draws the figure, if one was asked for.

    ``told`` is called with how many runs have been read, of how many.  Raises
    MemtraceError: exit 2 for words that mean nothing here, 125 where there is no
    evidence to compare, 1 for files that cannot be read or written.
    """
    keys = parse_keys(request.by)
    rules = Rules(
        confidence=_share("--confidence", request.confidence, 0.5, 0.9999),
        margin=_share("--margin", request.margin, 0.0, 10.0),
        seed=request.seed,
    )
    effect = _effect(request, rules)
    conditions = [gates.parse(text) for text in request.fail_on]
    _check(request)
    if request.calibrate is not None:
        (side,) = sides.read([request.calibrate], keys, told)
        return _rendered(request, _calibration(request, side, effect, rules))
    read = sides.read(request.sides, keys, told)
    if len(read) == 1:
        chosen = _headline(read, request.metric)
        found = [_plan(chosen, read, effect, rules)]
        return _rendered(request, tables.report("memtrace compare: plan", read, found, (), rules, "plan"))
    return _comparison(request, read, conditions, effect, rules)


def _comparison(
    request: Request, read: Sequence[Side], conditions: Sequence[gates.Gate], effect: float, rules: Rules
) -> Answer:
    before, *others = read
    pairs = [(after, findings(before, after, rules.margin)) for after in others]
    comparisons = [
        compare(before, after, found, rules, chosen=request.metric, sides=len(others))
        for after, found in pairs
    ]
    _refuse_nothing(request, comparisons)
    outcomes = gates.judge(conditions, comparisons)
    parts = [
        tables.comparability(comparisons),
        *([gates.table(outcomes)] if outcomes else []),
        tables.changes("headline", "Headline", comparisons, rules),
        tables.changes("parts", f"Parts, by {_by(request)}", comparisons, rules),
    ]
    few = any(change.verdict == TOO_FEW for c in comparisons for change in c.headline)
    if request.plan is not None or few:
        parts.append(_plan(_headline(read, request.metric), read, effect, rules))
    title = f"memtrace compare: {before.name} against {', '.join(side.name for side in others)}"
    report = tables.report(title, read, parts, caveats(comparisons, rules), rules, "headline")
    if request.plot is not None:
        plot.draw(comparisons, rules, request.plot)
    if request.format == "html":
        report = dataclasses.replace(report, figures=(plot.svg(comparisons, rules),))
    return _rendered(request, report, gates.exit_code(outcomes) if outcomes else 0)


def _calibration(request: Request, side: Side, effect: float, rules: Rules) -> Report:
    chosen = _headline([side], request.metric)
    table = calibrate.table(calibrate.calibrate(side, chosen, effect, rules), effect, rules)
    return tables.report(
        f"memtrace compare: calibrating {side.name}", [side], [table], (), rules, "calibration"
    )


def _plan(chosen: Sequence[Metric], read: Sequence[Side], effect: float, rules: Rules) -> Table:
    import numpy as np

    needs = plan.needs(chosen, read, effect, rules, np.random.default_rng(rules.seed))
    return plan.table(needs, effect, rules, min(len(side.runs) for side in read))


def _headline(read: Sequence[Side], chosen: Sequence[str]) -> list[Metric]:
    names = {metric: None for side in read for m in side.measured for metric in m.headline}
    return [m for m in names if not chosen or m.name.startswith(tuple(chosen))]


def _effect(request: Request, rules: Rules) -> float:
    """The change to plan for, which is beyond the margin."""
    if request.plan is None:
        return max(EFFECT, 2 * rules.margin)
    effect = _share("--plan", request.plan, 1e-4, 100.0)
    if effect <= rules.margin and request.calibrate is None:
        raise MemtraceError(
            f"--plan {request.plan} is within the margin of {rules.margin:.1%}, which is called equivalent;"
            " give a smaller --margin",
            2,
        )
    return effect


def _rendered(request: Request, report: Report, exit_code: int = 0) -> Answer:
    if request.table is not None:
        report = only(report, request.table)
    return Answer(render(report, request.format, color=request.color), exit_code)


def _by(request: Request) -> str:
    return request.by or "order,node"


def _check(request: Request) -> None:
    if request.format not in FORMATS:
        raise MemtraceError(f"--format knows no {request.format!r}; it takes {', '.join(FORMATS)}", 2)
    if request.plot is not None and request.plot.suffix.lower() not in PLOTS:
        raise MemtraceError(f"--plot writes {' or '.join(PLOTS)}, not {request.plot.name!r}", 2)
    if request.calibrate is not None:
        if request.sides or request.fail_on or request.plot:
            raise MemtraceError(
                "--calibrate takes the runs of one kernel, and no sides, --fail-on or --plot", 2
            )
    elif len(request.sides) < 2 and (request.plan is None or not request.sides):
        raise MemtraceError(
            "give two sides or more, each a file, a folder or a quoted pattern,"
            " such as `memtrace compare before after`",
            2,
        )
    elif len(request.sides) == 1 and (request.fail_on or request.plot):
        raise MemtraceError("--fail-on and --plot need two sides: `memtrace compare before after`", 2)


def _refuse_nothing(request: Request, comparisons: Sequence[Comparison]) -> None:
    if request.metric and not any(c.headline or c.parts for c in comparisons):
        raise MemtraceError(
            f"no metric begins with {' or '.join(request.metric)}; leave --metric out to see all", 2
        )


def _share(option: str, text: str, low: float, high: float) -> float:
    """A share from "5%" or "0.05"; raises MemtraceError (exit 2) outside [low, high]."""
    try:
        value = float(text.removesuffix("%")) / (100 if text.endswith("%") else 1)
    except ValueError:
        value = float("nan")
    if not low <= value <= high:
        raise MemtraceError(
            f"{option} takes a share such as 5% between {low:.4g} and {high:.4g}, not {text!r}", 2
        )
    return value
