# SPDX-License-Identifier: Apache-2.0
"""The accept view as a figure: Unaccepted over time with each stall, and how long stalls are.

Upper panel: Unaccepted of each node, from the snapshot at the start down by each
accept seen (dots: what the snapshots say; no line where the memory of some is unknown),
and below it a mark for each stall at its CPU.
Lower panel: share of stalls, and of single accepts (interrupts off), that took
longer than a time, with lines at 0.1, 1 and 10 ms.  Drawn is what is known.
"""

from __future__ import annotations

import textwrap
from pathlib import Path
from typing import TYPE_CHECKING

from memtrace.analyzer.accept.platform import at, unaccepted
from memtrace.analyzer.accept.rows import UNKNOWN, Accepts
from memtrace.analyzer.plot import COLORS, STYLE, headline, save, tick
from memtrace.analyzer.tables import Report

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from memtrace.analyzer.accept.rows import Ints
    from memtrace.analyzer.accept.stalls import Stalls
    from memtrace.traces.reader import Run

LIMITS_NS = (100_000, 1_000_000, 10_000_000)
_MOST = 20_000
"""Points of a line or marks that are drawn; evenly picked from more."""


def draw_accept(run: Run, report: Report, accepts: Accepts, found: Stalls, path: Path) -> None:
    """Writes the figure; raises MemtraceError if the file cannot be written."""
    import matplotlib as mpl

    with mpl.rc_context(STYLE):
        save(accept_figure(run, report, accepts, found), path)


def accept_figure(run: Run, report: Report, accepts: Accepts, found: Stalls) -> Figure:
    """The figure, not yet rendered."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(9, 7.2), layout="constrained", facecolor="white")
    figure.suptitle(headline(run), fontsize=11, fontweight="bold", ha="left", x=0.01)
    if not accepts.any:
        axes = figure.add_subplot()
        axes.set_axis_off()
        why = report.tables[0].notes[0] if report.tables[0].name == "applicable" else "nothing was accepted"
        axes.set_title("\n".join(textwrap.wrap(why, 90)), loc="left")
        return figure
    grid = figure.add_gridspec(3, 1, height_ratios=(2, 1, 2))
    top = figure.add_subplot(grid[0])
    _progress(top, run, accepts)
    _stalls(figure.add_subplot(grid[1], sharex=top), found)
    _lengths(figure.add_subplot(grid[2]), accepts, found)
    notes = next((table.notes for table in report.tables if table.name == "window"), ())
    foot = [f"memtrace {run.header.tool_version}", dict(report.heading)["losses"], *notes[:1]]
    figure.supxlabel(textwrap.fill("; ".join(foot), 135), fontsize=7.5, color="#555555", ha="left", x=0.01)
    return figure


def _progress(axes: Axes, run: Run, accepts: Accepts) -> None:
    import numpy as np

    unit = accepts.levels[accepts.unit]
    page = run.header.page_size
    taken = [unaccepted(s, page) for s in run.snapshots]
    known = [s for s in taken if s is not None and s.nodes and s.at_ns >= run.status.started_ns - 10**9]
    # Where there is no snapshot of the start, that of loading, or the first one of a boot.
    opening = at(run, "start")
    first = opening.at_ns if opening is not None else 0
    nids = sorted({n for s in known for n in s.nodes} | ({*unit.nid.tolist()} - {UNKNOWN}))
    for i, nid in enumerate(nids):
        color = COLORS[i % len(COLORS)]
        own = unit.where(unit.nid == nid)
        order = np.argsort(own.end, kind="stable")
        done = np.cumsum(np.maximum(own.size[order], 0))
        begun = next((s for s in known if s.at_ns >= first and nid in s.nodes), None)
        start = None if begun is None else begun.nodes[nid]
        if start is not None and bool((own.size != UNKNOWN).all()) and not accepts.summed:
            times = np.concatenate(([run.status.started_ns], own.end[order], [run.status.ended_ns]))
            left = np.maximum(start - np.concatenate(([0], done, done[-1:] if len(done) else [0])), 0)
            kept = _picked(len(times))
            axes.step(times[kept] / 1e9, left[kept] / 2**30, where="post", color=color, label=f"node {nid}")
        points = [(s.at_ns / 1e9, s.nodes[nid] / 2**30) for s in known if nid in s.nodes]
        axes.plot(*zip(*points, strict=True), "o", ms=4, color=color) if points else None
    axes.set_title("Unaccepted (line: by the accepts seen; dots: the kernel's counter)", loc="left")
    axes.set_ylabel("GiB")
    axes.set_ylim(bottom=0)
    if axes.get_legend_handles_labels()[0]:
        axes.legend(fontsize=7.5, loc="best")


def _stalls(axes: Axes, found: Stalls) -> None:
    """A bar for each stall, from its begin to its end, at its CPU."""
    import numpy as np

    cpu = found.outer.cpu[found.first]
    kept = _picked(len(found))
    names = np.unique(cpu).tolist()
    rank = np.searchsorted(names, cpu)
    own = found.own
    for chosen, color, label in ((~own, "#b5524a", "stalls"), (own, "#6f7780", "the recorder's own")):
        some = kept[chosen[kept]]
        if len(some):
            axes.plot(found.begin[some] / 1e9, rank[some], "|", ms=14, color=color)
            axes.hlines(
                rank[some], found.begin[some] / 1e9, found.end[some] / 1e9, color=color, lw=5, label=label
            )
    axes.set_yticks(range(len(names)), ["unknown" if n == UNKNOWN else f"CPU {n}" for n in names])
    axes.set_ylim(-0.6, len(names) - 0.4)
    axes.set_title("Stalls, where and when", loc="left")
    axes.set_xlabel("seconds since boot")
    axes.legend(fontsize=7.5, loc="upper right")


def _lengths(axes: Axes, accepts: Accepts, found: Stalls) -> None:
    work = accepts.levels[accepts.work]
    lines = (
        ("stalls", found.lost[found.timed & ~found.own]),
        (f"single accepts ({accepts.work})", work.dur[work.timed]),
    )
    for (label, lengths), color in zip(lines, (COLORS[4], COLORS[0]), strict=True):
        if len(lengths):
            _longer(axes, lengths, f"{label}: {len(lengths)}", color)
    for limit in LIMITS_NS:
        axes.axvline(limit, color="#888888", lw=0.8, ls="--")
    axes.set_xscale("log")
    axes.set_yscale("log")
    axes.xaxis.set_minor_formatter("")
    axes.xaxis.set_major_formatter(lambda value, _: tick(value, "ns"))
    axes.yaxis.set_major_formatter(lambda value, _: f"{value * 100:.9f}".rstrip("0").rstrip(".") + "%")
    axes.set_title("Share that took longer (dashed: 0.1, 1 and 10 ms)", loc="left")
    axes.set_xlabel("duration")
    if axes.get_legend_handles_labels()[0]:
        axes.legend(fontsize=7.5, loc="best")
    else:
        axes.set_title("Durations are unknown", loc="left")


def _longer(axes: Axes, lengths: Ints, label: str, color: str) -> None:
    import numpy as np

    ascending = np.sort(np.maximum(lengths, 1))
    share = 1 - np.arange(len(ascending)) / len(ascending)
    kept = _picked(len(ascending))
    axes.step(ascending[kept], share[kept], where="post", color=color, label=label)


def _picked(n: int) -> Ints:
    """Positions of at most _MOST of n points, first and last among them."""
    import numpy as np

    positions: Ints = np.unique(np.linspace(0, max(n - 1, 0), min(n, _MOST)).astype(np.int64))
    return positions
