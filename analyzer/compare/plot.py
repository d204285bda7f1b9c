# SPDX-License-Identifier: Apache-2.0
"""A comparison as a figure: the change of each headline metric, and one metric's distributions.

Left: a line for each metric and side, its interval, a dot at the change, the
margin as a band; colours say the verdict.  Metrics without an interval are not drawn
but named.  Right: of the metric that changed most, or of the one asked for, all runs
of every side as dots, and, where durations are known, their distribution before
and after: the share that took longer, all runs of a side together (to look at;
no verdict rests on it).
"""

from __future__ import annotations

import io
import math
from collections.abc import Sequence
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

from memtrace import safe
from memtrace.analyzer.compare.changes import BETTER, DIFFERENT, EQUIVALENT, WORSE, Change, Comparison, Rules
from memtrace.analyzer.compare.histogram import Histogram
from memtrace.analyzer.render.figure import plain_text
from memtrace.traces.answers import write

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

COLORS = {WORSE: "#b2182b", BETTER: "#2166ac", EQUIVALENT: "#4d9221"}
OTHER = "#777777"
_SIDES = ("#4477aa", "#ee7733", "#228833", "#aa3377", "#66ccee", "#ccbb44")
_MOST = 40


def draw(comparisons: Sequence[Comparison], rules: Rules, path: Path) -> None:
    """Writes the figure, as PNG or SVG by the name; raises MemtraceError if it cannot be written."""
    drawn = io.BytesIO()
    _save(comparisons, rules, drawn, "svg" if path.suffix.lower() == ".svg" else "png")
    write(path, drawn.getvalue(), "--plot")


def svg(comparisons: Sequence[Comparison], rules: Rules) -> str:
    """The figure as an SVG element, to stand in a page."""
    out = io.StringIO()
    _save(comparisons, rules, out, "svg")
    text = out.getvalue()
    return text[text.index("<svg") :]


def _save(comparisons: Sequence[Comparison], rules: Rules, where: IO[str] | IO[bytes], format_: str) -> None:
    import matplotlib as mpl

    # With a salt of its own, the same figure is the same file.
    with mpl.rc_context({"svg.hashsalt": "memtrace", "font.size": 8}):
        metadata = {"Date": None} if format_ == "svg" else None
        figure = _figure(comparisons, rules)
        with plain_text(figure):
            figure.savefig(where, format=format_, dpi=150, metadata=metadata)


def _figure(comparisons: Sequence[Comparison], rules: Rules) -> Figure:
    from matplotlib.figure import Figure

    found = [(c, change) for c in comparisons for change in c.headline if change.interval is not None]
    drawn = [pair for pair in found if all(map(math.isfinite, pair[1].interval or ()))][:_MOST]
    figure = Figure(figsize=(11, max(3.2, 0.24 * len(drawn) + 1.6)), layout="constrained")
    left, right = figure.subplots(1, 2, width_ratios=(3, 2))
    _intervals(left, drawn, rules, several=len(comparisons) > 1)
    chosen = _most_changed(drawn)
    if chosen is None:
        right.set_axis_off()
    else:
        _distributions(right, [c.find(chosen.metric.name)[0] for c in comparisons], comparisons)
    return figure


def _intervals(
    axes: Axes, drawn: Sequence[tuple[Comparison, Change]], rules: Rules, *, several: bool
) -> None:
    labels = []
    for place, (comparison, change) in enumerate(drawn):
        low, high = change.interval or (0.0, 0.0)
        color = COLORS.get(change.verdict, OTHER)
        axes.plot([100 * low, 100 * high], [place, place], color=color, linewidth=2, solid_capstyle="butt")
        axes.plot(100 * (change.change or 0.0), place, "o", color=color, markersize=4)
        labels.append(change.metric.name + (f" ({comparison.after.name})" if several else ""))
    axes.axvspan(100 * (1 / (1 + rules.margin) - 1), 100 * rules.margin, color="#dddddd", zorder=0)
    axes.axvline(0, color="black", linewidth=0.8)
    axes.set_yticks(range(len(labels)), [safe.figure(label) for label in labels])
    axes.set_ylim(max(len(labels), 1) - 0.5, -0.5)
    axes.set_xlabel(f"change, %, with {rules.confidence:.0%} interval (grey: the margin)")
    widest = max((abs(x) for _, c in drawn for x in c.interval or ()), default=0.0)
    if widest > 1:
        axes.set_xscale("symlog", linthresh=10)
    axes.xaxis.set_major_formatter(lambda value, _: f"{value:+g}" if value else "0")
    axes.set_title(
        "red: worse, blue: better, green: equivalent, grey: nothing can be said" if drawn else "no intervals"
    )


def _most_changed(drawn: Sequence[tuple[Comparison, Change]]) -> Change | None:
    """Of the changes called different (else of all), the one furthest from none; times first."""
    if not drawn:
        return None

    def rank(change: Change) -> tuple[bool, bool, float]:
        return (
            change.verdict in DIFFERENT,
            _durations([change]) != [],
            abs(math.log1p(max(change.change or 0, -0.999))),
        )

    return max((change for _, change in drawn), key=rank)


def _distributions(axes: Axes, changes: Sequence[Change], comparisons: Sequence[Comparison]) -> None:
    metric = changes[0].metric
    names = [comparisons[0].before.name, *(c.after.name for c in comparisons)]
    samples = [changes[0].samples[0] if changes[0].samples else None]
    samples += [c.samples[1] if c.samples else None for c in changes]
    for place, (name, sample) in enumerate(zip(names, samples, strict=True)):
        color = _SIDES[place % len(_SIDES)]
        if sample is None:
            continue
        together = _together([h for h in sample.histograms if h is not None])
        if together is None:
            for value in sample.values:
                axes.plot(value, place, "|", color=color, markersize=14)
            continue
        shares = _grid()
        axes.plot(together.quantile(shares), 1 - shares, color=color, label=name)
    if axes.get_legend_handles_labels()[0]:
        axes.set_xscale("log")
        axes.set_yscale("log")
        axes.set_xlabel("duration, ns")
        axes.set_ylabel("share of the occurrences that took longer")
        axes.set_title(f"{metric.name}: durations, all runs of a side together")
        axes.legend()
    else:
        axes.set_yticks(range(len(names)), [safe.figure(name) for name in names])
        axes.set_ylim(len(names) - 0.5, -0.5)
        axes.set_xlabel(f"{metric.unit}, a mark for each run")
        axes.set_title(metric.name)


def _durations(changes: Sequence[Change]) -> list[Histogram]:
    return [h for c in changes for s in c.samples or () for h in s.histograms if h is not None]


def _together(histograms: Sequence[Histogram]) -> Histogram | None:
    import numpy as np

    from memtrace.traces.histogram import bucket_of

    if not histograms:
        return None
    lowest = np.concatenate([h.low for h in histograms])
    bucket, place = np.unique(bucket_of(lowest), return_inverse=True)
    sums = np.zeros((2, len(bucket)), dtype=np.int64)
    np.add.at(sums[0], place, np.concatenate([h.count for h in histograms]))
    np.add.at(sums[1], place, np.concatenate([h.total_ns for h in histograms]))
    return Histogram.of_buckets(bucket, sums[0], sums[1])


def _grid() -> Any:
    import numpy as np

    return np.concatenate([np.linspace(0.001, 0.9, 200), 1 - np.geomspace(0.1, 0.001, 100)])
