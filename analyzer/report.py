# SPDX-License-Identifier: Apache-2.0
"""A report from words: which run, which view, by what, in which format."""

from __future__ import annotations

import dataclasses
import logging
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from memtrace.analyzer.render import FORMATS, render
from memtrace.analyzer.tables import Report
from memtrace.analyzer.views import WHAT_IFS, Result, check, choice_by, view
from memtrace.analyzer.window import parse_window
from memtrace.errors import MemtraceError
from memtrace.traces.given import is_folder

if TYPE_CHECKING:
    from memtrace.traces.reader import Run

PLOTS = (".png", ".svg")
# Without a writable HOME matplotlib keeps its cache in a folder of its own for once, and warns
# of that, which changes no figure.
logging.getLogger("matplotlib").setLevel(logging.ERROR)


@dataclass(frozen=True)
class Request:
    """What was asked for, in the user's words."""

    runs: tuple[str, ...]
    by: str | None = None
    format: str = "text"
    table: str | None = None
    view: str = "summary"
    plot: Path | None = None
    window: str | None = None
    color: bool = False
    guest: Path | None = None
    what_if: bool = False


def make(request: Request, opened: Callable[[Run], None] | None = None) -> str:
    """The text of the report asked for; draws the figure, if one was asked for.

    ``opened`` is told of the run before it is read, which may take a while.
    Raises MemtraceError: exit 2 for words that mean nothing here (said before the
    run is read), 1 for runs that cannot be read.
    """
    from memtrace.traces.reader import open_run

    window = parse_window(request.window)
    predicted = request.what_if or request.table in WHAT_IFS.get(request.view, ())
    asked = dataclasses.replace(choice_by(request.view, request.by), guest=request.guest, what_if=predicted)
    # Which part is known only with the run; whether the view takes one, before it is read.
    check(request.view, dataclasses.replace(asked, window=None if window is None else (0, 0)))
    _one_of("--format", request.format, tuple(FORMATS))
    if request.plot is not None and request.plot.suffix.lower() not in PLOTS:
        raise MemtraceError(f"--plot writes {' or '.join(PLOTS)}, not {request.plot.name!r}", 2)
    with open_run(_one(request.runs)) as run:
        if opened is not None:
            opened(run)
        part = None if window is None else window.of(run)
        result = view(run, request.view, dataclasses.replace(asked, window=part))
    report = result.report if request.table is None else only(result.report, request.table)
    if request.format == "html" and request.table is None:
        report = dataclasses.replace(report, figures=(_svg(result),))
    if request.plot is not None:
        result.draw(request.plot)
    return render(report, request.format, color=request.color)


def _svg(result: Result) -> str:
    """The view's figure as an SVG element."""
    with tempfile.TemporaryDirectory(prefix="memtrace-") as folder:
        path = Path(folder) / "figure.svg"
        result.draw(path)
        text = path.read_text(encoding="utf-8")
    return text[text.index("<svg") :]


def only(report: Report, name: str) -> Report:
    """The report with one of its tables; raises MemtraceError (exit 2) if it has none of that name."""
    table = report.table(name)
    if table is None:
        names = ", ".join(t.name for t in report.tables)
        raise MemtraceError(f"this report has no table {name!r}; it has {names}", 2)
    return dataclasses.replace(report, tables=(table,), main=name)


def _one(runs: tuple[str, ...]) -> Path:
    if len(runs) == 1 and not is_folder(runs[0]):
        return Path(runs[0])
    if not runs:
        raise MemtraceError("give the run to report on, e.g. `memtrace report run.parquet`", 2)
    raise MemtraceError(
        "report takes one run file at a time; `memtrace compare` takes folders and several runs", 2
    )


def _one_of(option: str, word: str, words: tuple[str, ...]) -> None:
    if word not in words:
        raise MemtraceError(f"{option} knows no {word!r}; it takes {', '.join(words)}", 2)
