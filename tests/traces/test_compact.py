# SPDX-License-Identifier: Apache-2.0
"""Runs of many small row groups are rewritten at the end, or stay as they were."""

from __future__ import annotations

import dataclasses
import os
from functools import partial
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from memtrace.tests.traces.conftest import MakeRows, MakeRun, Plain, Read
from memtrace.traces import compact
from memtrace.traces.reader import open_run
from memtrace.traces.run import RunHeader, RunStatus
from memtrace.traces.writer import RunWriter


def test_many_small_row_groups_become_few_at_close(
    tmp_path: Path,
    header: RunHeader,
    status: RunStatus,
    make_run: MakeRun,
    make_rows: MakeRows,
    read: Read,
    plain: Plain,
) -> None:
    tables = [make_rows(20, seed, {"comm": [f"task {seed}", "shared"]}) for seed in range(65)]
    path = tmp_path / "run.parquet"
    make_run(path, tables)
    before = path.stat().st_size
    path.unlink()
    make_run(path, tables, compact.compact)
    assert pq.read_metadata(path).num_row_groups == 1
    assert path.stat().st_size < before / 4
    run = open_run(path)
    assert (run.header, run.rows, run.cut_short) == (header, 1300, False)
    assert run.status == dataclasses.replace(status, rows=1300)
    assert read(run) == plain(tables)
    assert [p.name for p in tmp_path.iterdir()] == ["run.parquet"]


def test_few_or_large_row_groups_stay(
    tmp_path: Path, make_run: MakeRun, make_rows: MakeRows, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "run.parquet"
    make_run(path, [make_rows(1)] * 64, compact.compact)
    assert pq.read_metadata(path).num_row_groups == 64
    path.unlink()
    monkeypatch.setattr(compact, "BELOW_ROWS", 5)
    make_run(path, [make_rows(5)] * 70, compact.compact)
    assert pq.read_metadata(path).num_row_groups == 70


@pytest.mark.parametrize("when", ["writing", "renaming", "memory"])
def test_failing_to_compact_leaves_the_run_as_it_was(
    tmp_path: Path,
    make_run: MakeRun,
    make_rows: MakeRows,
    read: Read,
    plain: Plain,
    monkeypatch: pytest.MonkeyPatch,
    when: str,
) -> None:
    tables = [make_rows(3, seed) for seed in range(70)]
    path = tmp_path / "run.parquet"

    def fail(*_: object, **__: object) -> None:
        raise MemoryError if when == "memory" else OSError(28, "No space left on device")

    if when == "renaming":
        monkeypatch.setattr(os, "rename", fail)
    else:
        monkeypatch.setattr(compact, "_rewrite", fail)
    make_run(path, tables, compact.compact)
    assert pq.read_metadata(path).num_row_groups == 70
    assert read(open_run(path)) == plain(tables)
    assert [p.name for p in tmp_path.iterdir()] == ["run.parquet"]


def test_compaction_checks_that_no_row_is_missing(
    tmp_path: Path, header: RunHeader, status: RunStatus, make_rows: MakeRows
) -> None:
    """A page that went bad on the disk after it was written must not be compacted away."""
    path = tmp_path / "run.parquet"
    ends = []
    with RunWriter(path, header) as writer:
        for seed in range(70):
            writer.write(make_rows(3, seed))
            writer.checkpoint(RunStatus(complete=False, started_ns=1, ended_ns=2))
            ends.append(writer.bytes_written)
        with path.open("r+b") as file:
            file.seek(ends[30] + 60)
            (byte,) = file.read(1)
            file.seek(-1, os.SEEK_CUR)
            file.write(bytes([byte ^ 1]))
        writer.close(status, compact.compact)
        size = writer.bytes_written
    assert path.stat().st_size == size > ends[-1]
    assert [p.name for p in tmp_path.iterdir()] == ["run.parquet"]


def test_who_is_in_a_hurry_gets_the_run_as_it_is(
    tmp_path: Path, header: RunHeader, status: RunStatus, make_rows: MakeRows
) -> None:
    path = tmp_path / "run.parquet"
    with RunWriter(path, header) as writer:
        for seed in range(70):
            writer.write(make_rows(3, seed))
            writer.checkpoint(RunStatus(complete=False, started_ns=1, ended_ns=2))
        writer.close(status, partial(compact.compact, hurried=lambda: True))
    assert pq.read_metadata(path).num_row_groups == 70
    assert [p.name for p in tmp_path.iterdir()] == ["run.parquet"]
