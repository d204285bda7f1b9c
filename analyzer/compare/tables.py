# SPDX-License-Identifier: Apache-2.0
"""A comparison as a report: what differs beside the kernel first, then the numbers."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from memtrace.analyzer.compare.changes import (
    DIFFERENT,
    VERDICTS,
    WITHHELD,
    Change,
    Comparison,
    Rules,
)
from memtrace.analyzer.compare.percent import ends, finite, percent
from memtrace.analyzer.compare.sides import Side
from memtrace.analyzer.facts import duration_ns
from memtrace.analyzer.render.units import written
from memtrace.analyzer.tables import Caveat, Column, Report, Row, Table

TOP = 30
"""Rows of parts that a page shows."""


def sides_text(sides: Sequence[Side]) -> tuple[tuple[str, str], ...]:
    """The header block: each side's kernel and runs, and the workload."""
    lines = []
    for i, side in enumerate(sides):
        runs = f"{len(side.runs)} run{'s' * (len(side.runs) != 1)}"
        left_out = f", {len(side.left_out)} left out" if side.left_out else ""
        boots = f" of {side.boots} boot{'s' * (side.boots != 1)}" if side.boots < len(side.runs) else ""
        lines.append(
            ("before" if i == 0 else "after", f"{side.name}: {side.kernel}, {runs}{boots}{left_out}")
        )
    workloads = dict.fromkeys(
        " ".join(r.header.workload) or "the running system" for side in sides for r in side.runs
    )
    lines.append(("workload", " or ".join(w if len(w) < 200 else f"{w[:198]}.." for w in workloads)))
    return tuple(lines)


def comparability(comparisons: Sequence[Comparison]) -> Table:
    """What differs beside the kernel, a row each."""
    rows: list[Row] = []
    said: dict[str, list[str]] = {}
    for comparison in comparisons:
        changes = (*comparison.headline, *comparison.parts)
        for finding in comparison.findings:
            held = sum(bool(finding.withholds and finding.withholds(c.metric)) for c in changes)
            row = {"after": comparison.after.name, "id": finding.id, "text": finding.text}
            rows.append(row | {"withheld": held})
            text = finding.text + (f" ({held} metrics withheld)" if held else "")
            said.setdefault(text, []).append(comparison.after.name)
    everywhere = len(comparisons)
    lines = [
        text if len(names) == everywhere else f"{', '.join(names)}: {text}" for text, names in said.items()
    ]
    return Table(
        "comparability",
        "What else differs",
        ("after", "id", "text", "withheld"),
        tuple(rows),
        (Column("text", "difference"),),
        shown=(),
        notes=tuple(f"- {line}" for line in lines) or ("nothing that the runs tell",),
    )


_CHANGE_NAMES = (
    "after_side",
    "metric",
    "scope",
    "measure",
    "cell",
    "unit",
    "before",
    "after",
    "change",
    "change_low",
    "change_high",
    "p",
    "p_corrected",
    "verdict",
    "reason",
    "runs_before",
    "runs_after",
    "resolution",
    "sampling_error",
)
_BOUNDED = 0.001
"""Bounds that are wider, as a share of the value, are named: streamed durations have narrower ones."""


def changes(name: str, title: str, comparisons: Sequence[Comparison], rules: Rules) -> Table:
    """The headline, or the parts, of all comparisons."""
    found = [
        (comparison.after.name, change)
        for comparison in comparisons
        for change in (comparison.headline if name == "headline" else comparison.parts)
    ]
    rows = tuple(_row(after, change) for after, change in found)
    shown = None
    notes: list[str] = []
    if name == "parts":
        shown = tuple(i for i, (_, c) in enumerate(found) if c.verdict in DIFFERENT)
        notes.append(_of_parts(rows))
    else:
        notes += _withheld(rows) + _fewer(comparisons) + _bounded(comparisons) + _sampled(comparisons)
    several = len(comparisons) > 1
    shown_columns = [c for c in _columns(rules) if name == "headline" or c.name != "_runs"]
    columns = (*((Column("after_side", "after"),) if several else ()), *shown_columns)
    keys = 1 + several
    return Table(
        name, title, _CHANGE_NAMES, rows, columns, keys=keys, section=several, shown=shown,
        top=TOP if name == "parts" else None, notes=tuple(notes) if rows else ("no metric",),
    )  # fmt: skip


def _withheld(rows: Sequence[Row]) -> list[str]:
    """Why which metrics are withheld."""
    by_reason: dict[str, list[str]] = {}
    for row in rows:
        if row["verdict"] == WITHHELD:
            by_reason.setdefault(row["reason"], []).append(row["metric"])
    return [f"- withheld, {reason}: {', '.join(dict.fromkeys(names))}" for reason, names in by_reason.items()]


def _fewer(comparisons: Sequence[Comparison]) -> list[str]:
    """Which metrics not every run of a side has: in one nothing happened, or took unknown time."""
    found: dict[str, list[str]] = {}
    for comparison in comparisons:
        for change in comparison.headline:
            of = zip(change.runs, (comparison.before, comparison.after), strict=True)
            short = [f"{n} of {len(side.runs)} runs of {side.name}" for n, side in of if n < len(side.runs)]
            if short and change.verdict != WITHHELD:
                found.setdefault(" and ".join(short), []).append(change.metric.name)
    return [f"- known in {runs} only: {', '.join(dict.fromkeys(names))}" for runs, names in found.items()]


def _bounded(comparisons: Sequence[Comparison]) -> list[str]:
    """Which metrics no run tells exactly, and how widely."""
    found: dict[str, float] = {}
    for change in (change for comparison in comparisons for change in comparison.headline):
        if change.resolution > _BOUNDED:
            found[change.metric.name] = max(change.resolution, found.get(change.metric.name, 0.0))
    if not found:
        return []
    names = ", ".join(f"{name} (within {share:.1%})" for name, share in found.items())
    return [f"- summed in the kernel, so known between bounds, which the interval contains: {names}"]


def _sampled(comparisons: Sequence[Comparison]) -> list[str]:
    """Which metrics rest on samples of the clock, and what a run's error by them is."""
    found: dict[str, list[float]] = {}
    for change in (change for comparison in comparisons for change in comparison.headline):
        if change.errors:
            found.setdefault(change.metric.name, []).extend(change.errors)
    if not found:
        return []
    names = ", ".join(f"{name} ({_spread(errors)})" for name, errors in found.items())
    return [f"- ~ time by samples of the clock, in brackets one standard error of a run by them: {names}"]


def _spread(shares: Sequence[float]) -> str:
    low, high = f"{min(shares):.0%}", f"{max(shares):.0%}"
    return low if low == high else f"{low} to {high}"


def _of_parts(rows: Sequence[Row]) -> str:
    counts = {word: sum(row["verdict"] == word for row in rows) for word in VERDICTS}
    said = ", ".join(f"{n} {word}" for word, n in counts.items() if n)
    return f"shown are those that differ; of all {len(rows)}: {said}"


def _row(after: str, change: Change) -> dict[str, Any]:
    low, high = change.interval or (None, None)
    return {
        "after_side": after,
        "metric": change.metric.name,
        "scope": change.metric.scope,
        "measure": change.metric.measure,
        "cell": change.metric.cell or None,
        "unit": change.metric.unit,
        "before": change.before,
        "after": change.after,
        "change": change.change,
        "change_low": finite(low),
        "change_high": finite(high),
        "p": change.p,
        "p_corrected": change.p_corrected,
        "verdict": change.verdict,
        "reason": change.reason or None,
        "runs_before": change.runs[0],
        "runs_after": change.runs[1],
        "resolution": change.resolution,
        "sampling_error": max(change.errors) if change.errors else None,
    } | _texts(change)


def _texts(change: Change) -> dict[str, str | None]:
    """What a page shows of a change (names begin with _, no format of rows has them)."""
    interval = change.interval
    return {
        "_before": _written(change, change.before),
        "_after": _written(change, change.after),
        "_change": None if change.verdict == WITHHELD else _paired(percent(change.change)),
        "_interval": None if interval is None else ends(*interval),
        "_runs": f"{change.runs[0]}+{change.runs[1]}",
    }


def _written(change: Change, value: float | None) -> str | None:
    if value is None:
        return None
    text = written(round(value) if change.metric.kind == "count" else value, change.metric.kind)
    return f"~{text}" if change.errors else text


def _paired(text: str) -> str:
    return f"({text:>7})"


def _columns(rules: Rules) -> tuple[Column, ...]:
    return (
        Column("metric", "metric"),
        Column("_before", "before", "number"),
        Column("_after", "after", "number"),
        Column("_change", "change", "number"),
        Column("_interval", f"{rules.confidence:.0%} interval", "number"),
        Column("_runs", "runs", "number"),
        Column("verdict", "verdict"),
    )


def report(
    title: str,
    sides: Sequence[Side],
    tables: Sequence[Table],
    caveats: Sequence[Caveat],
    rules: Rules,
    main: str,
) -> Report:
    """The report of tables about sides."""
    described = [
        {
            "name": side.name,
            "kernel": side.kernel,
            "runs": len(side.runs),
            "boots": side.boots,
            "files": [str(run.path) for run in side.runs],
            "left_out": [str(one.path) for one in side.left_out],
            "duration_ns": [duration_ns(run) for run in side.runs],
            "loss_shares": list(side.loss_shares),
        }
        for side in sides
    ]
    facts = {
        "sides": described,
        "confidence": rules.confidence,
        "margin": rules.margin,
        "seed": rules.seed,
    }
    return Report("compare", title, facts, sides_text(sides), tuple(tables), tuple(caveats), main)
