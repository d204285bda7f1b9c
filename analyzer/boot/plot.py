# SPDX-License-Identifier: Apache-2.0
"""The boot as a figure: accepts on each CPU over the phases, and what was still unaccepted below.

Both panels share one time axis, CLOCK_BOOTTIME.  Upper: a line for each CPU, a
bar for each accept from start to end (a tick where only the start is known);
behind it the phases, deferred init of each node as a bar of its own.  Lower: the
counter at the moments at which it was read (dots), and between them what was
seen leaving the lists, reckoned back or forth from the nearest reading.
"""

from __future__ import annotations

import math
import textwrap
from pathlib import Path
from typing import TYPE_CHECKING, Any

from memtrace.analyzer.boot.counters import ENTRY, moments
from memtrace.analyzer.facts import title
from memtrace.analyzer.plot import COLORS, STYLE, save, tick
from memtrace.analyzer.tables import Report
from memtrace.traces.phases import PHASES

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from memtrace.traces.reader import Run

Drawn = tuple[dict[str, Any], dict[str, Any]]
"""Accepts.spans() and Accepts.falls()."""

_NS = 1e9
_LEAST = 1e-3
"""Of the width: narrower bars could not be seen."""
_PHASE_COLORS = (
    "#d8d2c4",
    "#e9dfc9",
    "#dfe7ef",
    "#cfe3d4",
    "#e6e6f2",
    "#f3dcc8",
    "#e3eef0",
    "#efe1ea",
    "#e8efd9",
)


def draw_boot(run: Run, report: Report, drawn: Drawn | None, path: Path) -> None:
    """Writes the figure; raises MemtraceError if the file cannot be written."""
    import matplotlib as mpl

    with mpl.rc_context(STYLE):
        save(boot_figure(run, report, drawn), path)


def boot_figure(run: Run, report: Report, drawn: Drawn | None) -> Figure:
    """The figure, not yet rendered."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(10, 6.2), layout="constrained", facecolor="white")
    where = f" on {run.header.hostname}" if run.header.hostname else ""
    figure.suptitle(f"Linux {title(run)}{where}: boot", fontsize=11, fontweight="bold", ha="left", x=0.01)
    upper, lower = figure.subplots(2, 1, sharex=True, height_ratios=(1.5, 1))
    _accepts(upper, run.header.cpus, drawn[0] if drawn else None)
    _unaccepted(lower, run, drawn[1] if drawn else None)
    for axes in (upper, lower):
        _phases(axes, report, named=axes is upper)
    lower.set_xlabel("s since boot (CLOCK_BOOTTIME)")
    parts = [f"memtrace {run.header.tool_version}", *(c.text for c in report.caveats[:3])]
    foot = textwrap.fill("; ".join(parts), 150)
    figure.supxlabel(foot, fontsize=7.5, color="#555555", ha="left", x=0.01)
    return figure


def _accepts(axes: Axes, cpus: int, spans: dict[str, Any] | None) -> None:
    import numpy as np

    axes.set_title("accepts", loc="left")
    if spans is None or not len(spans["begun_ns"]):
        axes.text(0.5, 0.5, "no accept was seen", transform=axes.transAxes, ha="center")
        axes.set_yticks([])
        return
    begun, ended = spans["begun_ns"] / _NS, spans["ended_ns"] / _NS
    cpu = np.ma.filled(spans["cpu"], -1)
    lines = sorted({*cpu.tolist(), *range(cpus)})
    extent = max(float(ended.max() - begun.min()), 1e-9)
    for y, number in enumerate(lines):
        mine = cpu == number
        width = np.maximum(ended[mine] - begun[mine], extent * _LEAST)
        pairs = list(zip(begun[mine].tolist(), width.tolist(), strict=True))
        axes.broken_barh(pairs, (y - 0.32, 0.64), color=COLORS[y % len(COLORS)], linewidth=0)
    axes.set_yticks(range(len(lines)), ["CPU unknown" if n < 0 else f"CPU {n}" for n in lines])
    axes.set_ylim(len(lines) - 0.4, -0.6)
    axes.grid(axis="y", visible=False)


def _unaccepted(axes: Axes, run: Run, falls: dict[str, Any] | None) -> None:
    import numpy as np

    axes.set_title("still unaccepted", loc="left")
    read = [m for m in moments(run) if m.label != ENTRY]
    if not read:
        axes.text(0.5, 0.5, "the counter was not read", transform=axes.transAxes, ha="center")
        axes.set_yticks([])
        return
    totals = [sum(m.unaccepted.values()) for m in read]
    if falls is not None and len(falls["begun_ns"]) and not np.ma.getmaskarray(falls["bytes"]).any():
        at = np.asarray(falls["begun_ns"])
        gone = np.cumsum(np.asarray(falls["bytes"]))
        first = int(np.searchsorted(at, read[-1].at_ns))
        level = totals[-1] + (gone[first - 1] if first else 0) - gone
        x = np.append(at[:1], np.append(at, max(int(at[-1]), read[-1].at_ns))) / _NS
        before = level[:1] + np.asarray(falls["bytes"])[:1]
        axes.step(x, np.concatenate([before, level, level[-1:]]), where="post", color="#444444", lw=1.2)
    axes.plot([m.at_ns / _NS for m in read], totals, "o", color="#b5524a", ms=4, label="counter read")
    axes.yaxis.set_major_formatter(lambda value, _: tick(value, "bytes"))
    top = max(totals) * 1.08 or 1.0
    step = 2.0 ** math.floor(math.log2(top / 3))
    axes.set_yticks([i * step for i in range(int(top / step) + 1)])
    axes.set_ylim(0, max(top, axes.get_ylim()[1]))
    axes.legend(fontsize=7.5, loc="best")


def _phases(axes: Axes, report: Report, *, named: bool) -> None:
    """Bars for the rows of the table of phases, which has each phase by its best source."""
    from matplotlib.patches import Patch

    words = list(PHASES)
    low, high = axes.get_xlim()
    told: dict[str, Patch] = {}
    table = report.table("phases")
    for row in table.rows if table else ():
        if row["length_ns"] is None:
            continue
        start, end, name = row["start_ns"] / _NS, row["end_ns"] / _NS, row["phase"]
        place = words.index(name) if name in words else -1
        color = _PHASE_COLORS[place % len(_PHASE_COLORS)]
        axes.axvspan(start, end, color=color, zorder=0, lw=0, alpha=1.0 if row["nid"] is None else 0.55)
        told.setdefault(name, Patch(color=color, label=name))
        low, high = min(low, start), max(high, end)
    axes.set_xlim(low, high)
    if named and told:
        axes.legend(handles=list(told.values()), fontsize=7.5, loc="center left", bbox_to_anchor=(1, 0.5))
