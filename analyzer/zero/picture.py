# SPDX-License-Identifier: Apache-2.0
"""The zero view as a figure: an icicle of time by root, and the speed of clearing.

Icicle: the top row is the wall time of the outermost roots, the largest first; below
each its parts: the allocator's clears, the caller's, allocation without them, and the
rest.  Widths are time, and what is beside each other adds up.  Bars: GiB/s by order
and node, for each clearer; the pale ones from a CPU of another node.
"""

from __future__ import annotations

import itertools
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from memtrace import safe
from memtrace.analyzer.plot import STYLE, headline, save
from memtrace.analyzer.render.units import written
from memtrace.analyzer.tables import Report, Row
from memtrace.analyzer.zero.kinds import ALLOCATOR, CALLER, UNPLACED, Counted, counted, derives
from memtrace.analyzer.zero.unseen import no_clear

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from memtrace.traces.reader import Run
    from memtrace.traces.totals import RootTotal

_COLORS = {
    "root": "#6f7780",
    "cleared by the allocator": "#3b6fb6",
    "cleared by the caller": "#e08a2e",
    "allocating": "#5a9e57",
    "the rest": "#d5d8dc",
}
_NARROW = 0.04
"""Of the width: no label in what is narrower."""


def draw_zero(run: Run, report: Report, totals: Sequence[RootTotal], path: Path) -> None:
    """Writes the figure; raises MemtraceError if the file cannot be written."""
    import matplotlib as mpl

    with mpl.rc_context(STYLE):
        save(_figure(run, report, totals), path)


def _figure(run: Run, report: Report, totals: Sequence[RootTotal]) -> Figure:
    from matplotlib.figure import Figure

    figure = Figure(figsize=(10, 6.4), layout="constrained", facecolor="white")
    figure.suptitle(headline(run), fontsize=11, fontweight="bold", ha="left", x=0.01)
    grid = figure.add_gridspec(2, 1, height_ratios=(1, 1.3))
    _icicle(figure.add_subplot(grid[0]), parts_of(totals), counted(run, totals), derives(run))
    table = report.table("bandwidth")
    rows = table.rows if table else ()
    none = "no clear has a known time in this run" if rows else no_clear(run.header)
    _bars(figure.add_subplot(grid[1]), [row for row in rows if row["gib_per_s"]], none)
    losses = dict(report.heading)["losses"]
    foot = f"memtrace {run.header.tool_version}; {losses}; wall time, preemption included"
    figure.supxlabel(foot, fontsize=7.5, color="#555555", ha="left", x=0.01)
    return figure


def parts_of(totals: Sequence[RootTotal]) -> list[tuple[str, dict[str, int]]]:
    """For each outermost root its wall time in parts, ns, which add up; the largest first.

    Empty where some of the run has no known root.
    """
    if any(total.root == UNPLACED for total in totals):
        return []
    walls: dict[str, dict[str, int]] = defaultdict(lambda: dict.fromkeys(_COLORS, 0))
    for total in totals:
        if not total.root or total.total_ns is None:
            continue
        parts = walls[total.root.removeprefix("root.")]
        if total.outermost:
            parts["root"] += total.total_ns
        elif total.event == ALLOCATOR:
            parts["cleared by the allocator"] += total.total_ns
        elif total.event in CALLER:
            parts["cleared by the caller"] += total.total_ns
        elif total.event == "alloc":
            parts["allocating"] += total.total_ns
    for parts in walls.values():
        # What the bulk allocator clears is in no alloc.
        parts["allocating"] = max(parts["allocating"] - parts["cleared by the allocator"], 0)
        inside = sum(ns for name, ns in parts.items() if name not in ("root", "the rest"))
        parts["the rest"] = max(parts["root"] - inside, 0)
    return sorted(walls.items(), key=lambda item: -item[1]["root"])


def _icicle(axes: Axes, walls: list[tuple[str, dict[str, int]]], known: Counted, derive: bool) -> None:
    """``derive``: the allocator's clears were not seen, but follow from its allocations."""
    whole = sum(parts["root"] for _, parts in walls)
    axes.set_title("wall time of the outermost roots, and what it went into", loc="left")
    axes.set_axis_off()
    if not whole:
        words = "roots: unknown; record -e alloc,zero,root has them where functions can be hooked"
        axes.text(0, 0.5, words, transform=axes.transAxes)
        return
    left = 0.0
    for name, parts in walls:
        _block(
            axes, left, 1, parts["root"] / whole, _COLORS["root"], f"{name}\n{written(parts['root'], 'ns')}"
        )
        at = left
        for part, color in list(_COLORS.items())[1:]:
            share = parts[part] / whole
            label = f"{parts[part] / parts['root']:.0%}" if parts["root"] else ""
            _block(axes, at, 0, share, color, label)
            at += share
        left += parts["root"] / whole
    for part, color in list(_COLORS.items())[1:]:
        hides = {"allocating": derive or not known.allocator, "the rest": not known.user}.get(part)
        axes.bar(0, 0, color=color, label=f"{part}, and clearing in it" if hides else part)
    axes.set_xlim(0, 1)
    axes.set_ylim(0, 2)
    axes.legend(fontsize=7.5, loc="upper center", bbox_to_anchor=(0.5, 0.0), ncols=4)


def _block(axes: Axes, left: float, bottom: float, width: float, color: str, label: str) -> None:
    axes.bar(left, 0.96, width, bottom, align="edge", color=color, edgecolor="white", linewidth=0.8)
    if width >= _NARROW:
        shade = "white" if color != _COLORS["the rest"] else "black"
        axes.text(left + width / 2, bottom + 0.48, label, ha="center", va="center", fontsize=7.5, color=shade)


def _bars(axes: Axes, rows: list[Row], none: str) -> None:
    """``none`` is what to say where there is nothing to draw."""
    axes.set_title("clearing, GiB/s by order and node", loc="left")
    if not rows:
        axes.set_axis_off()
        axes.text(0, 0.5, none, transform=axes.transAxes)
        return
    names = [
        f"{safe.figure(row['event'])}\norder {_known(row['order'])}\nnode {_known(row['nid'])}"
        for row in rows
    ]
    events = sorted({row["event"] for row in rows})
    palette = dict(zip(events, itertools.cycle(("#3b6fb6", "#a05ab0", "#5a9e57", "#e08a2e")), strict=False))
    bars = axes.bar(range(len(rows)), [row["gib_per_s"] for row in rows], 0.7)
    for bar, row in zip(bars, rows, strict=True):
        bar.set_color(palette[row["event"]])
        bar.set_alpha(0.5 if row["cpu"] == "remote" else 1.0)
    axes.set_xticks(range(len(rows)), names, fontsize=6.5)
    axes.set_ylabel("GiB/s (pale: CPU remote)")
    axes.grid(axis="x", visible=False)


def _known(value: Any) -> str:
    return "?" if value is None else str(value)
