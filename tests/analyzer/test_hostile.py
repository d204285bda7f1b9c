# SPDX-License-Identifier: Apache-2.0
"""A run whose every name is hostile, through every view and every format."""

from __future__ import annotations

import dataclasses
import itertools
import xml.etree.ElementTree as ET
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from memtrace.analyzer.render import FORMATS, render
from memtrace.analyzer.report import Request, make, only
from memtrace.analyzer.tables import Report
from memtrace.analyzer.views import VIEWS, Choice, Result, view
from memtrace.tests import hostile
from memtrace.tests.analyzer.recorded import START, Case, Row, counters, header, status, streamed
from memtrace.traces.reader import Run
from memtrace.traces.run import Fact, Phase, ProbeSite, Refusal, TraceSource, VirtualMachine
from memtrace.traces.totals import TaskTotal

RunOf = Callable[[Case | str], Run]
EVENTS = (
    "alloc", "zero.alloc", "zero.user", "root.fault", "accept.burst", "accept.call", "hot.request",
    "hot.add", "hot.online", "gmem.fault", "gmem.convert",
)  # fmt: skip
TEXTS = tuple(text for text in hostile.IN_UTF8 if text and len(text) < 200)
"""The others end in the gate."""


def rows(texts: Iterator[str]) -> list[Row]:
    """Of each event as many as there are texts, one after the other."""
    made = []
    for i, (event, text) in enumerate(itertools.product(EVENTS, TEXTS)):
        order = 0 if event in ("alloc", "zero.alloc", "zero.user") else None
        names = {"comm": text, "cgroup": f"/{next(texts)}", "stack": f"{next(texts)};{text};{next(texts)}"}
        place: Row = {"pfn": 4096 + 512 * i, "bytes": 4096, "ts_ns": START + 1000 * i, "site": next(texts)}
        made.append(streamed(event, order, 500 + i, pid=i + 1, tid=i + 1, **names, **place))
    return made


def case(shift: int) -> Case:
    """Texts in every place that takes one; ``shift``: where in the list the first place begins."""
    texts = itertools.islice(itertools.cycle(TEXTS), shift, None)

    def some() -> str:
        return next(texts)

    written = rows(texts)
    manifest = tuple(
        ProbeSite(
            e,
            some(),
            some(),
            some(),
            decode=some(),
            unproven=some(),
            refused=(Refusal(some(), some(), some()),),
        )
        for e in EVENTS
    )
    names = (
        "hostname",
        "kernel_release",
        "kernel_version",
        "kernel_cmdline",
        "machine",
        "build_id",
        "tool_version",
    )
    fields: dict[str, Any] = {name: some() for name in names}
    known = ("confidential", "init_on_alloc", "thp_enabled", "lockdown", "virtualized", "accept_memory")
    head = header(
        *EVENTS,
        **fields,
        stream_all=True,
        workload=(some(), some()),
        command=(some(),),
        facts=(*(Fact(name, some(), some()) for name in known), Fact(some(), some(), some())),
        config={some(): some()},
        sysctls={some(): some()},
        filters={some(): some()},
        gfp_names={some(): 1 << i for i in range(8)},
        manifest=manifest,
        phases=(Phase(some(), START - 5, START, some(), detail=some()), Phase(some(), None, None, some())),
        sources=(TraceSource(some(), some(), 1, examples=(some(),), clock=some()),),
    )
    told = status(
        counters=counters(written, *EVENTS),
        tasks=tuple(TaskTotal(e, 7, some(), 1, 4096, 500, some()) for e in EVENTS),
        vms=(VirtualMachine(1, 7, some(), some()),),
        gone=(some(),),
        stopped_by=some(),
    )
    return Case(written, head, told)


def checked(report: Report) -> None:
    """Every format of a report, and every table as CSV."""
    text, page, made = (render(report, name) for name in ("text", "html", "json"))
    markdown = render(report, "md")
    assert not hostile.steers(text)
    assert not hostile.steers(markdown)
    assert not hostile.steers(page)
    assert not hostile.smuggled(page)
    assert not hostile.steers(made)
    assert hostile.document(made)["view"] == report.view
    for table in report.tables:
        cells = render(only(report, table.name), "csv")
        assert not hostile.steers(cells)
        assert not hostile.runs_in_spreadsheet(cells)
        assert cells.count("\n") == len(table.rows) + 1


def drawn(result: Result, folder: Path) -> str:
    """The view's figure, drawn as both kinds; its SVG."""
    for name in ("figure.png", "figure.svg"):
        result.draw(folder / name)
    text = (folder / "figure.svg").read_text(encoding="utf-8")
    assert not hostile.steers(text)
    ET.fromstring(text)
    return text[text.index("<svg") :]


@pytest.mark.parametrize("name", VIEWS)
def test_no_view_passes_on_what_a_run_calls_itself(name: str, run_of: RunOf, tmp_path: Path) -> None:
    result = view(run_of(case(3)), name)
    checked(dataclasses.replace(result.report, figures=(drawn(result, tmp_path),)))


@pytest.mark.parametrize("name", ["tree", "task", "cgroup", "stack"])
def test_no_grouping_does(name: str, run_of: RunOf) -> None:
    checked(view(run_of(case(17)), "zero", Choice(grouping=name)).report)


@pytest.mark.parametrize("key", ["site", "comm", "cgroup", "caller", "stack"])
@pytest.mark.parametrize("format_", FORMATS)
def test_no_key_does(key: str, format_: str, run_of: RunOf) -> None:
    run = run_of(case(29))
    assert not hostile.steers(make(Request((str(run.path),), by=f"event,{key}", format=format_)))
