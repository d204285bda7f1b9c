# SPDX-License-Identifier: Apache-2.0
"""The gmem view as a figure, of the VM that had most memory prepared.

Above: memory prepared, and how much of it in 2 MiB pages, over time.  Middle: conversions,
each at its time with its size, to private above and to shared below.  Below: the guest's
physical memory by state before it ended, each column a stretch of it.
"""

from __future__ import annotations

import math
import textwrap
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from memtrace.analyzer.facts import title
from memtrace.analyzer.gmem.state import STATES
from memtrace.analyzer.plot import save
from memtrace.analyzer.render.units import written
from memtrace.analyzer.tables import Report, Row

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.axis import Axis

    from memtrace.traces.reader import Run

PAGE = 4096
_SIZES = (4 << 10, 64 << 10, 2 << 20, 64 << 20, 1 << 30, 1 << 36)
_COLORS = {
    "2 MiB": "#3b6fb6",
    "4 KiB": "#8fb4de",
    "in part": "#e08a2e",
    "empty": "#dddddd",
    "shared": "#5a9e57",
}


def draw_gmem(run: Run, report: Report, turns: Sequence[Row], path: Path) -> None:
    """Writes the figure (PNG or SVG); raises MemtraceError if it cannot be written."""
    import matplotlib as mpl
    from matplotlib.figure import Figure

    style: Any = {
        "font.size": 9,
        "axes.spines.top": False,
        "axes.spines.right": False,
        "svg.hashsalt": "memtrace",
    }
    with mpl.rc_context(style):
        vm = _chosen(report)
        figure = Figure(figsize=(9, 7.2), layout="constrained", facecolor="white")
        upper, middle, lower = figure.subplots(3, 1, height_ratios=(2.2, 1.5, 1))
        what = textwrap.shorten(title(run), 70, placeholder=" ...")
        figure.suptitle(f"Linux {what}: VM {vm}", fontsize=11, fontweight="bold", ha="left", x=0.01)
        _coverage(upper, _of(report, "timeline", vm))
        _conversions(middle, [t for t in turns if t["vm"] == vm], run.status.started_ns)
        middle.set_xlim(upper.get_xlim())
        _map(lower, _of(report, "map", vm))
        others = [row["vm"] for row in _rows(report, "vms") if row["vm"] not in (vm, None)]
        foot = [f"memtrace {run.header.tool_version}", *(c.text for c in report.caveats[:2])]
        if others:
            foot.insert(1, f"{len(others)} more VM{'s' * (len(others) > 1)} in the report")
        figure.supxlabel("; ".join(foot), fontsize=7.5, color="#555555", ha="left", x=0.01)
        save(figure, path)


def _rows(report: Report, name: str) -> Sequence[Row]:
    table = report.table(name)
    return table.rows if table else ()


def _of(report: Report, name: str, vm: int | None) -> list[Row]:
    return [row for row in _rows(report, name) if row["vm"] == vm]


def _chosen(report: Report) -> int | None:
    machines = [row for row in _rows(report, "vms") if row["vm"] is not None]
    best = max(machines, key=lambda row: row["prepared_bytes"] or 0, default=None)
    return best["vm"] if best else None


def _coverage(axes: Axes, rows: Sequence[Row]) -> None:
    at = [row["at_ns"] / 1e9 for row in rows]
    prepared = [math.nan if row["prepared_bytes"] is None else row["prepared_bytes"] for row in rows]
    covered = [row["covered_bytes"] for row in rows]
    axes.fill_between(at, prepared, step="pre", color=_COLORS["4 KiB"], label="prepared")
    axes.fill_between(at, covered, step="pre", color=_COLORS["2 MiB"], label="of it in 2 MiB pages")
    axes.set_title("private memory prepared and not given back", loc="left")
    axes.set_ylim(bottom=0)
    _binary(axes.yaxis, axes.get_ylim()[1])
    axes.legend(frameon=False, fontsize=8)


def _conversions(axes: Axes, turns: Sequence[Row], start: int) -> None:
    largest = max((t["asked"] or 1 for t in turns), default=1) * PAGE
    for private, color, label in ((True, "4 KiB", "to private"), (False, "shared", "to shared")):
        chosen = [t for t in turns if t["private"] == private]
        at = [(t["ts_ns"] - start) / 1e9 for t in chosen]
        sizes = [(1 if private else -1) * (t["asked"] or 0) * PAGE for t in chosen]
        axes.vlines(at, 0, sizes, color=_COLORS[color], lw=1, label=f"{label} ({len(chosen)})")
    axes.set_title("conversions, by size", loc="left")
    axes.set_yscale("symlog", linthresh=PAGE)
    ticks = [size for size in _SIZES if size <= largest * 2]
    axes.set_yticks([*(-size for size in reversed(ticks)), 0, *ticks])
    axes.yaxis.set_major_formatter(lambda value, _: _size(abs(value)))
    axes.minorticks_off()
    axes.set_xlabel("seconds since recording began")
    axes.legend(frameon=False, fontsize=8)


def _binary(axis: Axis, top: float, bottom: float = 0) -> None:
    """Ticks at round numbers of Ki, Mi, Gi."""
    step = 2 ** math.floor(math.log2(max(top - bottom, 8) / 5))
    first = math.ceil(bottom / step)
    axis.set_ticks([i * step for i in range(first, int(top / step) + 1)])
    axis.set_major_formatter(lambda value, _: _size(value))


def _size(value: float) -> str:
    """``2Mi`` rather than ``2.00Mi``."""
    if not value:
        return "0"
    text = written(round(value), "bytes")
    number = text.rstrip("KMGTPiB")
    return (number.rstrip("0").rstrip(".") if "." in number else number) + text[len(number) :]


def _map(axes: Axes, rows: Sequence[Row]) -> None:
    for name in STATES:
        chosen = [row for row in rows if row["state"] == name]
        stretches = [(row["gfn"] * PAGE, row["bytes"]) for row in chosen]
        if stretches:
            axes.broken_barh(stretches, (0, 1), color=_COLORS[name], label=name)
    axes.set_yticks([])
    axes.set_title("guest-physical memory before it ended, by 2 MiB range", loc="left")
    _binary(axes.xaxis, axes.get_xlim()[1], axes.get_xlim()[0])
    if rows:
        axes.legend(
            frameon=False, fontsize=8, ncols=len(STATES), loc="upper center", bbox_to_anchor=(0.5, -0.2)
        )
