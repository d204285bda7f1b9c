# SPDX-License-Identifier: Apache-2.0
"""The figure of the accept view: what it shows of each kind of run."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from memtrace.analyzer.accept.plot import accept_figure
from memtrace.analyzer.accept.view import view
from memtrace.errors import MemtraceError
from memtrace.tests.analyzer.accept.cases import CASES
from memtrace.tests.analyzer.accept.recorded import MS, snapshots
from memtrace.tests.analyzer.recorded import START, Case


@pytest.fixture
def figure(
    accept_run: Callable[..., Any], report_of: Callable[..., Any], spans_of: Callable[..., Any]
) -> Any:
    def make(name: Case | str) -> Any:
        return accept_figure(accept_run(name), report_of(name), *spans_of(name))

    return make


def test_unaccepted_falls_from_the_counter_by_the_accepts(figure: Any) -> None:
    progress = figure("lazy").axes[0]
    lines = {line.get_label(): line for line in progress.get_lines() if line.get_label().startswith("node")}
    assert set(lines) == {"node 0", "node 1"}
    _, left = lines["node 0"].get_data()
    assert (left[0] * 1024, left[-1] * 1024) == (400, 300)
    assert (np.diff(left) <= 0).all()


def test_the_line_begins_where_recording_does_not_where_loading_did(accept_run: Any, figure: Any) -> None:
    case = CASES["lazy"]()
    before = snapshots("after_load", START - 500 * MS, 420, 300)
    told = dataclasses.replace(case.header, snapshots=(before, *case.header.snapshots))
    progress = figure(dataclasses.replace(case, header=told)).axes[0]
    line = next(line for line in progress.get_lines() if line.get_label() == "node 0")
    assert line.get_ydata()[0] * 1024 == 400


def test_each_stall_is_a_mark_at_its_cpu(figure: Any) -> None:
    marks = figure("lazy").axes[1]
    assert [text.get_text() for text in marks.get_yticklabels()] == ["CPU 0", "CPU 2", "CPU 3"]
    victims, own = marks.get_lines()
    assert (len(victims.get_xdata()), len(own.get_xdata())) == (31, 1)
    assert victims.get_xdata()[0] == (START + 10 * MS) / 1e9 + 1e-6


def test_the_distribution_has_its_limits(figure: Any) -> None:
    lengths = figure("lazy").axes[2]
    stalls, accepts, *limits = lengths.get_lines()
    assert stalls.get_label() == "stalls: 31" and accepts.get_label().endswith("(accept.arch): 46")
    assert [line.get_xdata()[0] for line in limits] == [100_000, 1_000_000, 10_000_000]


@pytest.mark.parametrize("name", CASES)
def test_every_kind_of_run_can_be_drawn(name: str, accept_run: Callable[..., Any]) -> None:
    view(accept_run(name)).draw(Path(f"{name}.svg"))
    assert "<svg" in Path(f"{name}.svg").read_text()


def test_a_place_that_cannot_be_written_is_one_sentence(accept_run: Callable[..., Any]) -> None:
    with pytest.raises(MemtraceError, match="does not exist; make it, or give another output with --plot"):
        view(accept_run("lazy")).draw(Path("no/such/folder.png"))
