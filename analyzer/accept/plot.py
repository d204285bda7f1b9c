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

from memtrace.analyzer.accept.progress import between
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
_EARLY_NS = 1_000_000_000
"""A reading so long before the run is still one of its start."""
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


def left_over_time(run: Run, accepts: Accepts, nid: int) -> tuple[Ints, Ints] | None:
    """Unaccepted of a node by the acceptances seen: times, and bytes from each time on.

    It falls from the reading at the start (without one, from the first of the run that knows the
    node; what firmware left holds memory that no zone ever queued), by what began after it.
    None where there is no such reading, or the node or the memory of an acceptance is unknown.
    """
    import numpy as np

    first = accepts.at("start")
    since = run.status.started_ns - _EARLY_NS if first is None else first.at_ns
    known = [
        one for one in accepts.readings if nid in one.nodes and one.at_ns >= since and one.label != "entry"
    ]
    after = between(accepts.queued, known[0] if known else None, None)
    own = after.where(after.nid == nid)
    unknown = accepts.summed > 0 or bool((after.nid == UNKNOWN).any()) or bool((own.size == UNKNOWN).any())
    if not known or unknown:
        return None
    order = np.argsort(own.end, kind="stable")
    begun = max(known[0].at_ns, run.status.started_ns)
    times = np.concatenate(([begun], own.end[order], [max(run.status.ended_ns, begun)]))
    done = np.cumsum(own.size[order])
    left = known[0].nodes[nid] - np.concatenate(([0], done, done[-1:] if len(done) else [0]))
    return times, np.maximum(left, 0)


def _progress(axes: Axes, run: Run, accepts: Accepts) -> None:
    known = [one for one in accepts.readings if one.nodes and one.at_ns >= run.status.started_ns - _EARLY_NS]
    nids = sorted({n for one in known for n in one.nodes} | ({*accepts.queued.nid.tolist()} - {UNKNOWN}))
    for i, nid in enumerate(nids):
        color = COLORS[i % len(COLORS)]
        if (line := left_over_time(run, accepts, nid)) is not None:
            kept = _picked(len(line[0]))
            times, left = line[0][kept] / 1e9, line[1][kept] / 2**30
            axes.step(times, left, where="post", color=color, label=f"node {nid}")
        points = [(one.at_ns / 1e9, one.nodes[nid] / 2**30) for one in known if nid in one.nodes]
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
    work = accepts.work
    lines = (
        ("stalls", found.lost[found.timed & ~found.own]),
        (f"single accepts ({', '.join(accepts.events)})", work.dur[work.timed]),
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
