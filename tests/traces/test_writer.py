# SPDX-License-Identifier: Apache-2.0
"""What the writer makes of rows: none half written, and their values kept."""

from __future__ import annotations

import os
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest

from memtrace.tests.traces.conftest import CHECKPOINT, MakeRows, Plain, Read
from memtrace.traces import writer
from memtrace.traces.reader import open_run
from memtrace.traces.run import RunHeader, RunStatus
from memtrace.traces.schema import arrow_schema
from memtrace.traces.writer import RunWriter


def test_rows_of_many_writes_become_one_row_group_a_checkpoint(
    tmp_path: Path, header: RunHeader, status: RunStatus, make_rows: MakeRows, read: Read, plain: Plain
) -> None:
    tables = [make_rows(100, seed, {"comm": [f"task {seed}", "shared"]}) for seed in range(6)]
    path = tmp_path / "run.parquet"
    with RunWriter(path, header) as run:
        for table in tables[:4]:
            run.write(table)
        assert (run.rows, run.rows_lost) == (0, 0)
        run.checkpoint(CHECKPOINT)
        assert (run.rows, run.bytes_written) == (400, path.stat().st_size)
        run.write(tables[4])
        run.write(tables[5])
        run.close(status)
        assert (run.rows, run.rows_lost, run.bytes_written) == (600, 0, path.stat().st_size)
    assert pq.read_metadata(path).num_row_groups == 2
    assert read(open_run(path)) == plain(tables)


def test_more_than_a_million_rows_are_cut_into_row_groups(
    tmp_path: Path,
    header: RunHeader,
    status: RunStatus,
    monkeypatch: pytest.MonkeyPatch,
    make_rows: MakeRows,
    read: Read,
    plain: Plain,
) -> None:
    assert writer.MAX_ROW_GROUP == 1_000_000
    monkeypatch.setattr(writer, "MAX_ROW_GROUP", 1000)
    tables = [make_rows(count, count) for count in (999, 2, 3500, 0, 1)]
    path = tmp_path / "run.parquet"
    with RunWriter(path, header) as run:
        for table in tables:
            run.write(table)
        assert run.rows == 4000
        run.close(status)
    metadata = pq.read_metadata(path)
    assert [metadata.row_group(i).num_rows for i in range(metadata.num_row_groups)] == [1000] * 4 + [502]
    assert read(open_run(path)) == plain(tables)


def test_a_run_without_rows_is_a_run(
    tmp_path: Path, header: RunHeader, status: RunStatus, make_rows: MakeRows
) -> None:
    path = tmp_path / "run.parquet"
    with RunWriter(path, header) as run:
        run.write(make_rows(0))
        run.checkpoint(CHECKPOINT)
        run.close(status)
    opened = open_run(path)
    assert (opened.rows, list(opened.batches()), opened.status.complete) == (0, [], True)
    assert pq.read_table(path).schema.names == arrow_schema().names


def test_the_writer_states_rows_and_completeness_itself(
    tmp_path: Path, header: RunHeader, make_rows: MakeRows
) -> None:
    path = tmp_path / "run.parquet"
    with RunWriter(path, header) as run:
        run.write(make_rows(5))
        run.checkpoint(RunStatus(complete=True, started_ns=1, ended_ns=2, rows=99))
    opened = open_run(path)
    assert (opened.cut_short, opened.status.complete, opened.status.rows) == (True, False, 5)


def test_other_columns_or_nulls_where_none_may_be_are_refused_at_once(
    tmp_path: Path, header: RunHeader, status: RunStatus, make_rows: MakeRows
) -> None:
    table = make_rows(10)
    with RunWriter(tmp_path / "run.parquet", header) as run:
        for wrong in (table.drop_columns("gfp"), table.select(table.column_names[::-1])):
            with pytest.raises(ValueError, match="columns"):
                run.write(wrong)
        gap = table.set_column(0, arrow_schema().field("ts_ns"), pa.array([None] * 10, pa.int64()))
        with pytest.raises(ValueError, match="nulls in ts_ns"):
            run.write(gap)
        run.write(table)
        run.close(status)
        assert run.rows == 10


def test_a_dictionary_that_grows_is_not_stored_again_and_again(
    tmp_path: Path, header: RunHeader, status: RunStatus, make_rows: MakeRows, read: Read, plain: Plain
) -> None:
    """Each table carries all 20,000 stacks seen so far and uses two of them."""
    stacks = [";".join(f"function_{(i * 7 + j) % 9973}" for j in range(20)) for i in range(20_000)]
    base = make_rows(50)
    index = base.column_names.index("stack")
    tables = []
    for number in range(10):
        codes = pa.array([None, number, 19_999 - number] * 16 + [number] * 2, pa.int32())
        column = pa.DictionaryArray.from_arrays(codes, pa.array(stacks))
        tables.append(base.set_column(index, arrow_schema().field("stack"), column))
    path = tmp_path / "run.parquet"
    with RunWriter(path, header) as run:
        for table in tables:
            run.write(table)
            run.checkpoint(CHECKPOINT)
        run.close(status)
        assert run.bytes_written < 200_000
    assert read(open_run(path)) == plain(tables)


def test_a_checkpoint_can_wait_for_the_disk(
    tmp_path: Path, header: RunHeader, make_rows: MakeRows, monkeypatch: pytest.MonkeyPatch
) -> None:
    synced: list[int] = []
    real = os.fsync

    def fsync(fd: int) -> None:
        synced.append(os.fstat(fd).st_size)
        real(fd)

    monkeypatch.setattr(os, "fsync", fsync)
    with RunWriter(tmp_path / "run.parquet", header) as run:
        run.write(make_rows(10))
        run.checkpoint(CHECKPOINT)
        assert synced == []
        run.checkpoint(CHECKPOINT, fsync=True)
        assert synced == [run.bytes_written]


def test_values_survive_in_their_full_range(
    tmp_path: Path, header: RunHeader, status: RunStatus, make_rows: MakeRows
) -> None:
    table = make_rows(4)
    extremes = {
        "ts_ns": [0, 1, (1 << 63) - 1, 5],
        "pfn": [(1 << 52) - 1, 0, None, 7],
        "gfp": [0xFFFFFFFF, 0, None, 1],
        "nid": [-1, 0, 1023, None],
        "order": [0, -1, None, 18],
        "total_ns": [(1 << 63) - 1, 0, None, 1],
    }
    for name, numbers in extremes.items():
        field = arrow_schema().field(name)
        table = table.set_column(table.column_names.index(name), field, pa.array(numbers, field.type))
    path = tmp_path / "run.parquet"
    with RunWriter(path, header) as run:
        run.write(table)
        run.close(status)
    got = pq.read_table(path)
    assert {name: got[name].to_pylist() for name in extremes} == extremes
    assert pc.max(got["gfp"]).as_py() == 0xFFFFFFFF
