# SPDX-License-Identifier: Apache-2.0
"""The summary as a figure: latency per order, and time per node.

Upper row, a panel for each event that occurred (of more than four, those that
cost most).  Where durations are known: the share of an
order's occurrences that took longer than a time, a line for each order, from the
merged histograms (so that a time is off by at most 1/32); p99 of an order is
where its line crosses 1 %, a mode is a steep fall.  Where they are not:
occurrences per order, a bar for each node.  Lower row: exclusive time per node,
stacked by event; inclusive time side by side where exclusive time is not known
for all; bytes side by side where no time is.  Drawn is what is known, and the
figure says what is not.
"""

from __future__ import annotations

import io
import math
import textwrap
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from memtrace.analyzer.cells import FEW, by_cost, cells
from memtrace.analyzer.facts import duration_ns, title
from memtrace.analyzer.partials import NO_BUCKET, Partials
from memtrace.analyzer.quantiles import middle
from memtrace.analyzer.render.figure import plain_text
from memtrace.analyzer.render.units import written
from memtrace.analyzer.tables import Kind, Report, Row
from memtrace.traces.answers import write

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from memtrace.traces.reader import Run

MAX_PANELS = 4
MAX_ORDER = 10
"""The last color stands for it and all above."""
STYLE: Any = {
    "font.size": 9,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "axes.axisbelow": True,
    "grid.color": "#dddddd",
    "grid.linewidth": 0.6,
    "legend.frameon": False,
    "svg.hashsalt": "memtrace",
}
COLORS = ("#3b6fb6", "#e08a2e", "#5a9e57", "#a05ab0", "#b5524a", "#6f7780")


def draw_summary(run: Run, report: Report, partials: Partials, path: Path) -> None:
    """Writes the figure of the cells in ``partials`` (by event, order and nid).

    Raises MemtraceError if the file cannot be written.
    """
    import matplotlib as mpl

    with mpl.rc_context(STYLE):
        save(summary_figure(run, report, partials), path)


def summary_figure(run: Run, report: Report, partials: Partials) -> Figure:
    """The figure, not yet rendered."""
    from matplotlib.figure import Figure

    occurred = [row["event"] for row in by_cost(cells(partials, ["event"])) if row["count"]]
    events = sorted(occurred[:MAX_PANELS])
    panels = max(len(events), 1)
    width = max(7.5, 4.8 * panels)
    figure = Figure(figsize=(width, 6.6), layout="constrained", facecolor="white")
    figure.suptitle(headline(run), fontsize=11, fontweight="bold", ha="left", x=0.01)
    grid = figure.add_gridspec(2, panels, height_ratios=(2.1, 1))
    if not events:
        axes = figure.add_subplot(grid[0, 0])
        axes.set_title("no occurrences were recorded", loc="left")
        axes.set_axis_off()
    for column, event in enumerate(events):
        _event_panel(figure.add_subplot(grid[0, column]), event, _of(partials, event))
    if len(partials):
        _node_panel(figure.add_subplot(grid[1, :]), partials)
    foot = textwrap.fill(_footnote(run, report, sorted(occurred[MAX_PANELS:])), int(width * 15))
    figure.supxlabel(foot, fontsize=7.5, color="#555555", ha="left", x=0.01)
    return figure


def save(figure: Figure, path: Path) -> None:
    """Writes a figure, as its name's suffix says; raises MemtraceError if that can't be done."""
    form = path.suffix.lower().removeprefix(".") or "png"
    metadata = {"Date": None} if form == "svg" else None
    drawn = io.BytesIO()
    with plain_text(figure):
        figure.savefig(drawn, format=form, dpi=150, metadata=metadata)
    write(path, drawn.getvalue(), "--plot")


def headline(run: Run) -> str:
    """Kernel, workload, length and machine, over a figure."""
    where = f" on {run.header.hostname}" if run.header.hostname else ""
    return (
        f"Linux {textwrap.shorten(title(run), 70, placeholder=' ...')}, {duration_ns(run) / 1e9:.3g} s{where}"
    )


def _footnote(run: Run, report: Report, left_out: Sequence[str]) -> str:
    parts = [f"memtrace {run.header.tool_version}", dict(report.heading)["losses"]]
    if left_out:
        parts.append(f"no latency drawn for {', '.join(left_out)}")
    parts += [c.text for c in report.caveats[:3]]
    if (more := len(report.caveats) - 3) > 0:
        parts.append(f"{more} more caveat{'s' * (more != 1)} in the report")
    return "; ".join(parts)


def _of(partials: Partials, event: str) -> Partials:
    import numpy as np

    return partials.where(np.array([name == event for name in partials.keys["event"]], dtype=bool))


def _event_panel(axes: Axes, event: str, partials: Partials) -> None:
    if (partials.bucket != NO_BUCKET).any():
        _latency(axes, event, partials)
    else:
        _occurrences(axes, event, partials)


def _latency(axes: Axes, event: str, partials: Partials) -> None:
    """A line for each order: the share of its occurrences that took longer."""
    import matplotlib as mpl
    import numpy as np

    known = partials.where(partials.bucket != NO_BUCKET)
    orders, group = known.groups(["order"])
    colors = mpl.colormaps["viridis"](np.linspace(0, 0.92, MAX_ORDER + 1))
    for i, (order,) in enumerate(orders):
        buckets, inverse = np.unique(known.bucket[group == i], return_inverse=True)
        count = np.bincount(inverse, weights=known.count[group == i])
        total = int(count.sum())
        longer = np.append(1.0, 1 - np.cumsum(count)[:-1] / total)
        label = f"{'unknown' if order is None else order}  ({written(total, 'count')})"
        style = ("-" if total >= FEW else ":") if len(buckets) > 1 else "."
        axes.plot(
            np.maximum(middle(buckets), 1),
            longer,
            style,
            color="#888888" if order is None else colors[min(order, MAX_ORDER)],
            lw=1.5,
            label=label,
        )
    axes.set_xscale("log")
    # Within one decade matplotlib would write bare powers of ten between our labels.
    axes.xaxis.set_minor_formatter("")
    axes.set_yscale("log")
    axes.set_ylim(top=1.15)
    axes.set_title(f"{event}: latency by order", loc="left")
    axes.set_xlabel("duration, inclusive")
    axes.set_ylabel("share that took longer")
    axes.xaxis.set_major_formatter(lambda value, _: tick(value, "ns"))
    axes.yaxis.set_major_formatter(lambda value, _: f"{value * 100:.9f}".rstrip("0").rstrip(".") + "%")
    axes.legend(title="order (occurrences)", fontsize=7.5, title_fontsize=7.5, loc="best")


def _occurrences(axes: Axes, event: str, partials: Partials) -> None:
    """Bars for each order and node: occurrences, their single durations being unknown."""
    rows = [row for row in cells(partials, ["order", "nid"]) if row["count"]]
    orders = _distinct(rows, "order")
    nodes = _distinct(rows, "nid")
    size = 0.8 / max(len(nodes), 1)
    for i, nid in enumerate(nodes):
        heights = [_sum(rows, "count", order=order, nid=nid) for order in orders]
        places = [x + (i - (len(nodes) - 1) / 2) * size for x in range(len(orders))]
        axes.bar(places, heights, size, color=COLORS[i % len(COLORS)], label=f"node {_name(nid)}")
    axes.set_xticks(range(len(orders)), [_name(order) for order in orders])
    axes.set_yscale("log")
    axes.set_ylim(bottom=0.7)
    axes.set_title(f"{event}: occurrences (latency unknown)", loc="left")
    axes.set_xlabel("order")
    axes.set_ylabel("occurrences")
    axes.yaxis.set_major_formatter(lambda value, _: tick(value, "count"))
    axes.grid(axis="x", visible=False)
    axes.legend(fontsize=7.5, loc="upper right")


def _node_panel(axes: Axes, partials: Partials) -> None:
    """Horizontal bars for each node: what is known of exclusive time, inclusive time, or bytes."""
    rows = cells(partials, ["nid", "event"])
    timed = [row for row in rows if row["total_ns"] is not None]
    exclusive = all(row["self_ns"] is not None for row in timed)
    if timed and exclusive:
        text, value, drawn = "time per node, exclusive (adds up)", "self_ns", timed
    elif timed:
        text, value, drawn = "time per node, inclusive (do not add)", "total_ns", timed
    else:
        text, value, drawn = "memory per node (time unknown)", "bytes", [row for row in rows if row["bytes"]]
    _node_bars(axes, drawn, value, stacked=bool(timed) and exclusive)
    missing = sorted({row["event"] for row in rows} - {row["event"] for row in drawn})
    notes = [f"unknown for {', '.join(missing)}"] if missing else []
    if any(row["time"] in ("estimated", "mixed") for row in timed):
        notes.append("estimated")
    if any(row["time_unknown_share"] for row in timed):
        notes.append("a part of the occurrences is untimed")
    elif any(row["total_is"] == "at least" for row in timed):
        notes.append("at least: clock samples are missing")
    axes.set_title("; ".join([text, *notes]), loc="left")


def _node_bars(axes: Axes, rows: Sequence[Row], value: str, *, stacked: bool) -> None:
    nodes, events = _distinct(rows, "nid"), _distinct(rows, "event")
    size = 0.6 if stacked else 0.8 / max(len(events), 1)
    base = [0.0] * len(nodes)
    for i, event in enumerate(events):
        lengths = [_sum(rows, value, nid=nid, event=event) for nid in nodes]
        places = [y if stacked else y + (i - (len(events) - 1) / 2) * size for y in range(len(nodes))]
        left = base if stacked else None
        axes.barh(places, lengths, size, left, color=COLORS[i % len(COLORS)], label=str(event))
        base = [b + n for b, n in zip(base, lengths, strict=True)]
    kind: Kind = "bytes" if value == "bytes" else "ns"
    if kind == "bytes":
        _binary_ticks(axes)
    axes.set_yticks(range(len(nodes)), [f"node {_name(nid)}" for nid in nodes])
    space = 0.9 if len(nodes) == 1 else 0.6
    axes.set_ylim(len(nodes) - 1 + space, -space)
    axes.xaxis.set_major_formatter(lambda number, _: tick(number, kind))
    axes.grid(axis="y", visible=False)
    if events:
        axes.legend(fontsize=7.5, loc="center left", bbox_to_anchor=(1.0, 0.5))


def _binary_ticks(axes: Axes) -> None:
    """Ticks at round numbers of Ki, Mi, Gi."""
    top = max(axes.get_xlim()[1], 4.0)
    step = 2 ** math.floor(math.log2(top / 4))
    axes.set_xticks([i * step for i in range(int(top / step) + 1)])


def tick(value: float, kind: Kind) -> str:
    """An axis label: without zeros that say nothing."""
    if value == 0:
        return "0"
    if kind == "count" and value >= 1e4:
        exponent = min(int(math.log10(value) // 3), 4)
        return f"{value / 1000**exponent:.3g}{' kMGT'[exponent]}"
    text = written(round(value), kind)
    number = text.rstrip("abcdefghijklmnopqrstuvwxyzKMGTPB")
    short = number.rstrip("0").rstrip(".") if "." in number else number
    return short + text[len(number) :]


def _distinct(rows: Sequence[Row], name: str) -> list[Any]:
    """The values of a column, sorted, unknown last."""
    return sorted({row[name] for row in rows}, key=lambda value: (value is None, value))


def _sum(rows: Sequence[Row], value: str, **where: Any) -> int:
    return sum(row[value] for row in rows if all(row[name] == wanted for name, wanted in where.items()))


def _name(value: int | None) -> str:
    return "unknown" if value is None else str(value)
