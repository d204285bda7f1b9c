# SPDX-License-Identifier: Apache-2.0
"""One hot-add as a time line: a lane for the request, one for each block, coloured by phase.

The hot-add that took longest is drawn.  A lane shows each traced occurrence as a bar from
its start to its end, the inner over the outer, so that the colour seen is the innermost
traced phase: the exclusive time of phases.py.  A long wait between the request and a
block's onlining is cut out of the time axis, and its length written where it was.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from memtrace.analyzer.facts import title
from memtrace.analyzer.hotplug.adds import HotAdd
from memtrace.analyzer.hotplug.rows import Occurrence
from memtrace.analyzer.plot import save
from memtrace.analyzer.render.units import written

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from memtrace.traces.reader import Run

_COLORS = {
    "hot.request": "#c9ced6",
    "hot.add": "#9aa7b8",
    "hot.section": "#6f88ad",
    "hot.memmap": "#3b6fb6",
    "hot.altmap": "#7a4fa3",
    "hot.block": "#dcd3c2",
    "hot.online": "#e08a2e",
    "hot.zone": "#b5524a",
    "hot.init": "#5a9e57",
}
_LABELS = {
    "hot.request": "request",
    "hot.add": "arch_add_memory",
    "hot.section": "sections",
    "hot.memmap": "struct pages: allocation, clearing",
    "hot.altmap": "struct pages in the block",
    "hot.block": "block device",
    "hot.online": "onlining",
    "hot.zone": "zone",
    "hot.init": "struct pages: initialising",
}
MOST_BLOCKS = 32
"""Blocks drawn; the first ones."""
_CUT = 0.25
"""A wait longer than this share of the work is cut."""


@dataclass(frozen=True)
class Axis:
    """Time with the waits cut out: pieces ``(start, end, drawn_from)``, all ns."""

    pieces: tuple[tuple[int, int, float], ...]

    def place(self, time: int) -> float:
        """Where a moment is drawn."""
        for start, end, at in reversed(self.pieces):
            if time >= start:
                return at + min(time, end) - start
        return 0.0


def axis(windows: Sequence[Occurrence]) -> Axis:
    """An axis for these intervals; each long wait between two is drawn at a fixed short length."""
    merged: list[list[int]] = []
    for window in sorted(windows, key=lambda w: w.start):
        if merged and window.start <= merged[-1][1]:
            merged[-1][1] = max(merged[-1][1], window.end)
        else:
            merged.append([window.start, window.end])
    work = sum(end - start for start, end in merged) or 1
    pieces, at = [], 0.0
    for i, (start, end) in enumerate(merged):
        if i:
            at += min(start - merged[i - 1][1], work * _CUT / 5)
        pieces.append((start, end, at))
        at += end - start
    return Axis(tuple(pieces))


def draw_timeline(run: Run, adds: Sequence[HotAdd], path: Path) -> None:
    """Writes the figure; raises MemtraceError if the file cannot be written."""
    save(timeline(run, adds), path)


def timeline(run: Run, adds: Sequence[HotAdd]) -> Figure:
    """The figure, not yet rendered."""
    from matplotlib.figure import Figure

    add = max(adds, key=lambda a: sum(w.end - w.start for w in a.spans), default=None)
    lanes = 1 + min(len(add.blocks), MOST_BLOCKS) if add else 1
    figure = Figure(figsize=(9, 1.9 + 0.34 * lanes), layout="constrained", facecolor="white")
    axes = figure.add_subplot()
    if add is None:
        axes.set_axis_off()
        axes.set_title("no memory was added", loc="left")
        return figure
    figure.suptitle(f"Linux {title(run)[:80].splitlines()[0]}", fontsize=10, ha="left", x=0.01)
    _lanes(axes, add, axis(add.spans))
    of = f" (of {len(adds)} hot-adds, the longest)" if len(adds) > 1 else ""
    axes.set_title(
        f"hot-add {add.number}{of}: {written(add.bytes, 'bytes')} on node"
        f" {'unknown' if add.nid is None else add.nid}, {add.origin}",
        loc="left",
        fontsize=9,
    )
    return figure


def _lanes(axes: Axes, add: HotAdd, time: Axis) -> None:
    blocks = add.blocks[:MOST_BLOCKS]
    online = {row for block in add.blocks for row in (block.outer, *block.inside)}
    _bars(axes, 0, [row for row in add.rows if row not in online], time)
    for lane, block in enumerate(blocks, 1):
        _bars(axes, lane, [block.outer, *block.inside], time)
    names = ["request", *(f"block {i}" for i in range(len(blocks)))]
    axes.set_yticks(range(len(names)), names, fontsize=8)
    axes.invert_yaxis()
    axes.xaxis.set_major_formatter(lambda value, _: written(round(value), "ns"))
    for before, after in zip(time.pieces, time.pieces[1:], strict=False):
        gap = after[0] - before[1]
        edge = before[2] + before[1] - before[0]
        if gap > (after[2] - edge) * 1.01:
            middle = (edge + after[2]) / 2
            axes.axvline(middle, color="#888888", lw=0.8, ls=":")
            axes.text(middle, -0.75, written(gap, "ns"), fontsize=6.5, ha="center", color="#555555")
    axes.set_xlabel("time at work; dotted: waits, cut out, with their length", fontsize=8)
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)
    handles, labels = axes.get_legend_handles_labels()
    unique = dict(zip(labels, handles, strict=True))
    axes.legend(
        list(unique.values()), list(unique), fontsize=7, ncols=3, frameon=False,
        loc="upper center", bbox_to_anchor=(0.5, -0.32 if len(names) < 4 else -0.16),
    )  # fmt: skip


def _bars(axes: Axes, lane: int, rows: Sequence[Occurrence], time: Axis) -> None:
    for event, color in _COLORS.items():
        found = [row for row in rows if row.event == event and row.dur]
        if found:
            left = [time.place(row.start) for row in found]
            width = [time.place(row.end) - time.place(row.start) for row in found]
            depth = list(_COLORS).index(event)
            axes.barh(
                [lane] * len(found), width, 0.74, left, color=color, label=_LABELS[event], zorder=2 + depth
            )
