# SPDX-License-Identifier: Apache-2.0
"""Imports recordings, and gives the rows they became."""

from __future__ import annotations

import gzip
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from memtrace.traces.importers.assemble import Outcome, Request, run_import
from memtrace.traces.reader import open_run
from memtrace.traces.run import RunHeader, RunStatus, TraceSource

DATA = Path(__file__).parent / "data"


@dataclass(frozen=True)
class Imported:
    """What an import made."""

    path: Path
    header: RunHeader
    status: RunStatus
    rows: list[dict[str, Any]]
    outcome: Outcome

    def of(self, event: str) -> list[dict[str, Any]]:
        """The rows of one event, by time."""
        return sorted((r for r in self.rows if r["event"] == event), key=lambda r: r["ts_ns"])

    def source(self, name: str) -> TraceSource:
        return next(s for s in self.header.sources if s.name == name)


Import = Callable[..., Imported]
Text = Callable[..., Path]


def read(path: Path) -> list[dict[str, Any]]:
    batches = list(open_run(path).batches())
    rows: list[dict[str, Any]] = pa.Table.from_batches(batches).to_pylist() if batches else []
    return rows


@pytest.fixture
def import_(tmp_path: Path) -> Import:
    """``import_(name, …, **of Request)``: recordings by name, other files by path."""

    def make(*files: str | Path, **options: Any) -> Imported:
        words = tuple(str(DATA / f) if (DATA / f).exists() else str(f) for f in files)
        path = tmp_path / options.pop("output", "run.parquet")
        outcome = run_import(Request(words, path, overwrite=True, **options))
        run = open_run(path)
        return Imported(path, run.header, run.status, read(path), outcome)

    return make


@pytest.fixture
def text(tmp_path: Path) -> Text:
    """``text(lines, name=…)``: a file of these lines."""

    def write(content: str, name: str = "trace.txt") -> Path:
        path = tmp_path / name
        path.write_text(content)
        return path

    return write


def accepts(name: str) -> list[dict[str, int]]:
    """The kernel's own log of what it accepted."""
    found = []
    for line in gzip.decompress((DATA / name).read_bytes()).decode().splitlines():
        words = line.split()
        if words[0].isdigit():
            start, end = int(words[3], 16), int(words[4], 16)
            found.append({"mono_ns": int(words[2]), "start": start, "end": end, "spent_ns": int(words[7])})
    return found
