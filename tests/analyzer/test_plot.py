# SPDX-License-Identifier: Apache-2.0
"""The figure: that it draws what is known, and says what is not."""

from __future__ import annotations

import xml.etree.ElementTree as ET
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from memtrace.analyzer.cells import in_cells
from memtrace.analyzer.partials import Partials
from memtrace.analyzer.plot import summary_figure
from memtrace.analyzer.summary import view
from memtrace.errors import MemtraceError
from memtrace.tests.analyzer.cases import CASES
from memtrace.tests.analyzer.recorded import Case, header, status, streamed
from memtrace.traces.reader import Run

RunOf = Callable[[Case | str], Run]
FigureOf = Callable[[Case | str], Figure]
PNG = b"\x89PNG\r\n\x1a\n"


@pytest.fixture
def figure_of(run_of: RunOf, partials_of: Callable[..., Partials]) -> FigureOf:
    def make(case: Case | str) -> Figure:
        run = run_of(case)
        return summary_figure(run, view(run).report, in_cells(partials_of(case)))

    return make


def panel(figure: Figure, title: str) -> Axes:
    (found,) = [axes for axes in figure.axes if axes.get_title(loc="left").startswith(title)]
    return found


@pytest.mark.parametrize("name", CASES)
def test_every_case_is_drawn(name: str, run_of: RunOf, folder: Path) -> None:
    draw = view(run_of(name)).draw
    draw(folder / "f.png")
    draw(folder / "f.svg")
    assert (folder / "f.png").read_bytes().startswith(PNG)
    assert ET.parse(folder / "f.svg").getroot().tag.endswith("svg")


def test_it_names_kernel_and_workload_losses_and_caveats(figure_of: FigureOf) -> None:
    figure = figure_of("lossy")
    assert figure.get_suptitle() == "Linux 6.12.0-test: memhog 1g, 2 s on box"
    foot = figure.get_supxlabel().replace("\n", " ")
    assert foot.startswith("memtrace 0.1.0; lost 16 of 56")
    assert foot.endswith("1 more caveat in the report")


def test_a_line_is_the_share_that_took_longer(figure_of: FigureOf) -> None:
    values = np.random.default_rng(4).lognormal(7, 1, 500).astype(int)
    rows = [streamed(order=3, dur=int(v)) for v in values]
    axes = panel(figure_of(Case(rows, header("alloc"), status())), "alloc: latency by order")
    (line,) = axes.get_lines()
    assert line.get_label() == "3  (500)"
    for time, share in zip(np.asarray(line.get_xdata()), np.asarray(line.get_ydata()), strict=True):
        low, high = time * (1 - 1 / 32), time * (1 + 1 / 32)
        assert (values > high).mean() - 1e-9 <= share <= (values >= low).mean() + 1e-9
    assert axes.get_xscale() == axes.get_yscale() == "log"


def test_where_latency_is_unknown_occurrences_are_drawn(figure_of: FigureOf) -> None:
    axes = panel(figure_of("tracepoint"), "alloc: occurrences (latency unknown)")
    assert [bar.get_height() for bar in axes.containers[0]] == [1600]
    nodes = panel(figure_of("tracepoint"), "memory per node (time unknown)")
    assert [bar.get_width() for bar in nodes.containers[0]] == [1600 * 4096]


def test_exclusive_time_is_stacked(figure_of: FigureOf) -> None:
    figure = figure_of("streamed")
    axes = panel(figure, "time per node, exclusive (adds up)")
    alloc, zero = axes.containers
    assert [bar.get_x() for bar in zero] == [bar.get_width() for bar in alloc]
    assert [tick.get_text() for tick in axes.get_yticklabels()] == ["node 0", "node 1"]


def test_inclusive_time_is_not(figure_of: FigureOf) -> None:
    rows = [streamed("alloc", dur=100, self_ns=None), streamed("zero.alloc", dur=50)]
    axes = panel(figure_of(Case(rows, header("alloc"), status())), "time per node, inclusive (do not add)")
    assert {bar.get_x() for container in axes.containers for bar in container} == {0}


def test_estimates_and_unknown_events_are_said_in_the_title(figure_of: FigureOf) -> None:
    assert panel(figure_of("sampled"), "time per node").get_title(loc="left").endswith("; estimated")
    rows = [streamed("alloc", dur=100), streamed("alloc", dur=None)]
    axes = panel(figure_of(Case(rows, header("alloc"), status())), "time per node")
    assert axes.get_title(loc="left").endswith("; a part of the occurrences is untimed")
    rows = [streamed("alloc", dur=100), streamed("zero.alloc", dur=None)]
    axes = panel(figure_of(Case(rows, header("alloc"), status())), "time per node")
    assert "unknown for zero.alloc" in axes.get_title(loc="left")


def test_a_place_that_cannot_be_written_is_a_sentence(run_of: RunOf, folder: Path) -> None:
    with pytest.raises(MemtraceError, match="does not exist; make it, or give another output with --plot"):
        view(run_of("streamed")).draw(folder / "no" / "such" / "f.png")


def test_of_many_events_the_costliest_are_drawn_and_the_others_named(figure_of: FigureOf) -> None:
    rows = [streamed(f"event{i}", dur=1000 - 100 * i) for i in range(6)]
    figure = figure_of(Case(rows, header(), status()))
    drawn = [axes.get_title(loc="left") for axes in figure.axes][:-1]
    assert drawn == [f"event{i}: latency by order" for i in range(4)]
    assert "no latency drawn for event4, event5" in figure.get_supxlabel().replace("\n", " ")
