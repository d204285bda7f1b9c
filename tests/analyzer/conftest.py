# SPDX-License-Identifier: Apache-2.0
"""Runs on disk, made of cases."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest

from memtrace.analyzer import scan
from memtrace.analyzer.keys import DEFAULT, Key
from memtrace.analyzer.partials import Partials
from memtrace.tests.analyzer.cases import CASES
from memtrace.tests.analyzer.recorded import Case, Row, header, status, write
from memtrace.traces.reader import Run, open_run


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The working folder, so that reports name files without their folder."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def run_of(folder: Path) -> Iterator[Callable[[Case | str], Run]]:
    """A run made of a case, or of the name of one in CASES."""
    opened: list[Run] = []

    def make(case: Case | str) -> Run:
        path = Path(f"run{len(opened) or ''}.parquet")
        write(CASES[case]() if isinstance(case, str) else case, path)
        opened.append(open_run(path))
        return opened[-1]

    yield make
    for run in opened:
        run.close()


@pytest.fixture
def partials_of(run_of: Callable[[Case | str], Run]) -> Callable[..., Partials]:
    """The partial aggregates of rows, or of a case."""

    def make(rows: Sequence[Row] | Case | str, keys: Sequence[Key] = DEFAULT, **how: Any) -> Partials:
        case = rows if isinstance(rows, Case | str) else Case(rows, header("alloc"), status())
        run = run_of(case)
        with scan.connect(run) as connection:
            return scan.partials(run, keys, connection, **how)

    return make
