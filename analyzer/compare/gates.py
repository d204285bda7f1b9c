# SPDX-License-Identifier: Apache-2.0
"""Conditions for machines: ``accept.total>+5%``, judged on the interval, never on the point.

A condition is *met* (a regression) if the whole interval of the change is beyond
the threshold, *refuted* if none of it is, else there is not enough evidence.  The
interval is the two-sided one at the stated confidence, so that a regression is
claimed wrongly with half the stated error at most, for each condition.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from memtrace.analyzer.compare.changes import WITHHELD, Change, Comparison
from memtrace.analyzer.compare.percent import ends
from memtrace.analyzer.compare.sides import NO_EVIDENCE
from memtrace.analyzer.tables import Column, Table
from memtrace.errors import MemtraceError

MET, REFUTED, OPEN = "regression", "no regression", "not enough evidence"
_FORM = re.compile(r"\s*([\w.*\-\[\]=,:/+]+?)\s*([<>])\s*([+-]?\d+(?:\.\d+)?)\s*%\s*")


@dataclass(frozen=True)
class Gate:
    """A condition that fails the comparison."""

    text: str
    metric: str
    above: bool
    threshold: float


@dataclass(frozen=True)
class Outcome:
    """A condition held against one change."""

    gate: Gate
    after: str
    metric: str
    change: Change
    outcome: str
    reason: str


def parse(text: str) -> Gate:
    """The condition in ``text``; raises MemtraceError (exit 2) if it is none."""
    match = _FORM.fullmatch(text)
    if match is None:
        raise MemtraceError(f"--fail-on does not understand {text!r}; write it like 'accept.total>+5%'", 2)
    return Gate(text.strip(), match[1], match[2] == ">", float(match[3]) / 100)


def judge(gates: Sequence[Gate], comparisons: Sequence[Comparison]) -> list[Outcome]:
    """All conditions on all comparisons; raises MemtraceError (exit 2) for one that names no metric."""
    out = []
    for gate in gates:
        named = [(c, change) for c in comparisons for change in c.find(gate.metric)]
        if not named:
            known = dict.fromkeys(change.metric.name for c in comparisons for change in c.headline)
            there = ", ".join(known) or "none"
            raise MemtraceError(f"--fail-on {gate.text!r} names no metric here; there are {there}", 2)
        for comparison, change in named:
            outcome, reason = _held(gate, change)
            out.append(Outcome(gate, comparison.after.name, change.metric.name, change, outcome, reason))
    return out


def exit_code(outcomes: Sequence[Outcome]) -> int:
    """1 if any condition is met; else 125 if any is open; else 0."""
    found = {outcome.outcome for outcome in outcomes}
    return 1 if MET in found else NO_EVIDENCE if OPEN in found else 0


def _held(gate: Gate, change: Change) -> tuple[str, str]:
    if change.verdict == WITHHELD:
        return OPEN, f"withheld, {change.reason}"
    if change.interval is None:
        return OPEN, "too few runs"
    low, high = change.interval
    beyond = low > gate.threshold if gate.above else high < gate.threshold
    within = high <= gate.threshold if gate.above else low >= gate.threshold
    if beyond:
        return MET, "the whole interval is beyond it"
    return (REFUTED, "no part of the interval is beyond it") if within else (OPEN, "the interval contains it")


def table(outcomes: Sequence[Outcome]) -> Table:
    """The conditions of --fail-on."""
    rows = tuple(
        {
            "condition": outcome.gate.text,
            "after_side": outcome.after,
            "metric": outcome.metric,
            "outcome": outcome.outcome,
            "reason": outcome.reason,
            "_interval": None if outcome.change.interval is None else ends(*outcome.change.interval),
            "_outcome": outcome.outcome + ("" if outcome.change.interval else f": {outcome.reason}"),
        }
        for outcome in outcomes
    )
    starred = any("*" in outcome.gate.metric for outcome in outcomes)
    several = len({outcome.after for outcome in outcomes}) > 1
    columns = (
        Column("condition", "condition"),
        *([Column("metric", "metric")] if starred else []),
        *([Column("after_side", "after")] if several else []),
        Column("_interval", "interval", "number"),
        Column("_outcome", "outcome"),
    )
    return Table(
        "gates", "Conditions", ("condition", "after_side", "metric", "outcome", "reason"), rows, columns
    )
