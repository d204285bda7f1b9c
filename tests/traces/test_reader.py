# SPDX-License-Identifier: Apache-2.0
"""What a finished run gives its readers, alone and with others."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pandas
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from duckdb import DuckDBPyConnection

from memtrace.errors import MemtraceError
from memtrace.tests.traces.conftest import MakeRows, MakeRun, Plain, Read
from memtrace.traces.reader import open_run, open_runs
from memtrace.traces.run import RunHeader, RunStatus
from memtrace.traces.schema import (
    COLUMN_NAMES,
    KEY_HEADER,
    KEY_PARTIALS,
    KEY_SCHEMA,
    KEY_STATUS,
    SCHEMA_VERSION,
    arrow_schema,
)

TEXTS = ["event", "site", "comm", "parent", "stack"]


def test_documents_come_back_as_they_were(path: Path, header: RunHeader, status: RunStatus) -> None:
    run = open_run(path)
    assert run.header == header
    assert (run.status.losses, run.status.ended_ns) == (status.losses, status.ended_ns)
    assert (run.status.complete, run.status.rows, run.rows) == (True, 1310, 1310)
    assert (run.schema_version, run.columns) == (SCHEMA_VERSION, COLUMN_NAMES)
    assert (run.cut_short, run.dropped_bytes) == (False, 0)


def test_batches_have_the_schema_and_every_value(
    path: Path, tables: list[pa.Table], read: Read, plain: Plain
) -> None:
    run = open_run(path)
    assert all(batch.schema.equals(arrow_schema()) for batch in run.batches())
    assert max(len(batch) for batch in run.batches(batch_rows=64)) == 64
    assert read(run) == plain(tables)


def test_batches_of_some_columns_come_in_the_order_asked_for(
    path: Path, tables: list[pa.Table], plain: Plain
) -> None:
    batches = list(open_run(path).batches(["self_ns", "event"]))
    assert all(b.schema.names == ["self_ns", "event"] for b in batches)
    assert [v for b in batches for v in b.column(1).to_pylist()] == plain(tables)["event"]


def test_relation_has_every_value_and_can_be_used_again(
    path: Path, tables: list[pa.Table], plain: Plain, connection: DuckDBPyConnection
) -> None:
    relation = open_run(path).relation(connection)
    expected = list(zip(*plain(tables).values(), strict=True))
    assert relation.columns == list(COLUMN_NAMES)
    assert relation.fetchall() == expected
    assert relation.filter("event = 'hotplug'").aggregate("count(*)").fetchall() == [(10,)]
    assert relation.fetchall() == expected


def test_the_file_is_plain_parquet_to_others(
    path: Path, tables: list[pa.Table], plain: Plain, connection: DuckDBPyConnection
) -> None:
    expected = plain(tables)
    described = connection.sql(f"DESCRIBE FROM '{path}'").fetchall()
    types = {name: type_ for name, type_, *_ in described}
    assert {types[name] for name in TEXTS} == {"VARCHAR"}
    assert (types["order"], types["gfp"], types["ts_ns"]) == ("TINYINT", "UINTEGER", "BIGINT")
    frame = pandas.read_parquet(path)
    assert all(isinstance(frame[name].dtype, pandas.CategoricalDtype) for name in TEXTS)
    assert [None if pandas.isna(v) else v for v in frame["comm"]] == expected["comm"]
    table = pq.read_table(path)
    assert all(pa.types.is_dictionary(table.schema.field(name).type) for name in TEXTS)
    assert {name: table[name].to_pylist() for name in COLUMN_NAMES} == expected


@pytest.mark.parametrize(
    "name", ["run[1].parquet", "run*.parquet", "what?.parquet", 'it\'s "x" {a,b}.parquet', "a b%20.parquet"]
)
def test_odd_file_names_are_names_not_patterns(
    tmp_path: Path, make_run: MakeRun, make_rows: MakeRows, name: str, connection: DuckDBPyConnection
) -> None:
    make_run(tmp_path / "run1.parquet", [make_rows(3)])
    make_run(tmp_path / name, [make_rows(5)])
    (run,) = open_runs(tmp_path / name)
    assert run.relation(connection).aggregate("count(*)").fetchall() == [(5,)]
    assert sum(map(len, run.batches())) == 5


def test_names_of_folders_do_not_become_columns(
    tmp_path: Path, make_run: MakeRun, make_rows: MakeRows, connection: DuckDBPyConnection
) -> None:
    folder = tmp_path / "cpu=4" / "event=x"
    folder.mkdir(parents=True)
    table = make_rows(50)
    make_run(folder / "run.parquet", [table])
    relation = open_run(folder / "run.parquet").relation(connection, ["cpu", "event"])
    assert [cpu for cpu, _ in relation.fetchall()] == table["cpu"].to_pylist()


def test_memory_does_not_grow_with_the_run(tmp_path: Path, make_run: MakeRun, make_rows: MakeRows) -> None:
    """Arrow's peak in a process that reads 3 row groups, and then 15, of a finished and a cut-short run."""
    table = make_rows(50_000)
    paths = [tmp_path / name for name in ("few", "many", "many-cut")]
    make_run(paths[0], [table] * 3)
    ends = make_run(paths[1], [table] * 15)
    paths[2].write_bytes(paths[1].read_bytes()[: ends[-1]])
    script = """
import sys
import pyarrow
from memtrace.traces.reader import open_run
for path in sys.argv[1:]:
    rows = sum(len(batch) for batch in open_run(path).batches())
    print(rows, pyarrow.default_memory_pool().max_memory())
"""
    out = subprocess.check_output([sys.executable, "-c", script, *map(str, paths)], text=True)
    (few, small), *larger = (map(int, line.split()) for line in out.splitlines())
    assert few == 150_000
    for many, peak in larger:
        assert many == 750_000
        # The rows more are 35 MB in the file and 60 MB as values.
        assert peak - small < 4_000_000


def test_the_keys_are_those_documented(path: Path) -> None:
    keys = {key.decode() for key in pq.read_metadata(path).metadata}
    always = {KEY_SCHEMA, KEY_HEADER, KEY_STATUS, "ARROW:schema"}
    assert always <= keys <= always | {KEY_PARTIALS}


# Several runs


def test_runs_of_a_folder_or_pattern_are_sorted(
    tmp_path: Path, make_run: MakeRun, make_rows: MakeRows
) -> None:
    for name in ("b.parquet", "a.parquet", "c.parquet"):
        make_run(tmp_path / name, [make_rows(1)])
    (tmp_path / "notes.txt").write_text("not a run")
    (tmp_path / ".d.parquet.1.tmp").write_text("being written")
    assert [r.path.name for r in open_runs(tmp_path)] == ["a.parquet", "b.parquet", "c.parquet"]
    assert [r.path.name for r in open_runs(f"{tmp_path}/[bc].parquet")] == ["b.parquet", "c.parquet"]
    assert [r.path.name for r in open_runs(tmp_path / "b.parquet")] == ["b.parquet"]


def test_no_runs_are_a_sentence(tmp_path: Path) -> None:
    with pytest.raises(MemtraceError, match=r"no \*\.parquet in it"):
        open_runs(tmp_path)
    with pytest.raises(MemtraceError, match="nothing matches"):
        open_runs(f"{tmp_path}/*.parquet")
    with pytest.raises(MemtraceError, match="does not exist"):
        open_runs(tmp_path / "absent.parquet")
