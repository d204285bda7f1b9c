# SPDX-License-Identifier: Apache-2.0
"""What a finished run gives its readers, and what is said of files that are not runs."""

from __future__ import annotations

import json
import os
import random
import subprocess
import sys
import tempfile
from pathlib import Path

import pandas
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from memtrace.errors import MemtraceError
from memtrace.traces.reader import open_run, open_runs
from memtrace.traces.run import to_json
from memtrace.traces.schema import (
    COLUMN_NAMES,
    KEY_HEADER,
    KEY_SCHEMA,
    KEY_STATUS,
    SCHEMA_VERSION,
    arrow_schema,
)

TEXTS = ["event", "site", "comm", "parent", "stack"]


@pytest.fixture
def tables(make_rows):
    return [
        make_rows(1000),
        make_rows(10, 1, {"event": ["hotplug"], "comm": ["udevd", "cc1"]}),
        make_rows(300, 2),
    ]


@pytest.fixture
def path(tmp_path: Path, make_run, tables) -> Path:
    path = tmp_path / "run.parquet"
    make_run(path, tables)
    return path


def refusal(path: Path | str) -> str:
    with pytest.raises(MemtraceError) as refused:
        open_run(path)
    message = str(refused.value)
    assert str(path) in message
    assert "\n" not in message
    return message.replace(str(path), "FILE")


# A finished run


def test_documents_come_back_as_they_were(path: Path, header, status) -> None:
    run = open_run(path)
    assert run.header == header
    assert (run.status.losses, run.status.ended_ns) == (status.losses, status.ended_ns)
    assert (run.status.complete, run.status.rows, run.rows) == (True, 1310, 1310)
    assert (run.schema_version, run.columns) == (SCHEMA_VERSION, COLUMN_NAMES)
    assert (run.cut_short, run.dropped_bytes) == (False, 0)


def test_batches_have_the_schema_and_every_value(path: Path, tables, read, plain) -> None:
    run = open_run(path)
    assert all(batch.schema.equals(arrow_schema()) for batch in run.batches())
    assert max(len(batch) for batch in run.batches(batch_rows=64)) == 64
    assert read(run) == plain(tables)


def test_batches_of_some_columns_come_in_the_order_asked_for(path: Path, tables, plain) -> None:
    batches = list(open_run(path).batches(["self_ns", "event"]))
    assert all(b.schema.names == ["self_ns", "event"] for b in batches)
    assert [v for b in batches for v in b.column(1).to_pylist()] == plain(tables)["event"]


def test_relation_has_every_value_and_can_be_used_again(path: Path, tables, plain, connection) -> None:
    relation = open_run(path).relation(connection)
    expected = list(zip(*plain(tables).values(), strict=True))
    assert relation.columns == list(COLUMN_NAMES)
    assert relation.fetchall() == expected
    assert relation.filter("event = 'hotplug'").aggregate("count(*)").fetchall() == [(10,)]
    assert relation.fetchall() == expected


def test_the_file_is_plain_parquet_to_others(path: Path, tables, plain, connection) -> None:
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
    tmp_path: Path, make_run, make_rows, name: str, connection
) -> None:
    make_run(tmp_path / "run1.parquet", [make_rows(3)])
    make_run(tmp_path / name, [make_rows(5)])
    (run,) = open_runs(tmp_path / name)
    assert run.relation(connection).aggregate("count(*)").fetchall() == [(5,)]
    assert sum(map(len, run.batches())) == 5


def test_names_of_folders_do_not_become_columns(tmp_path: Path, make_run, make_rows, connection) -> None:
    folder = tmp_path / "cpu=4" / "event=x"
    folder.mkdir(parents=True)
    table = make_rows(50)
    make_run(folder / "run.parquet", [table])
    relation = open_run(folder / "run.parquet").relation(connection, ["cpu", "event"])
    assert [cpu for cpu, _ in relation.fetchall()] == table["cpu"].to_pylist()


def test_memory_does_not_grow_with_the_run(tmp_path: Path, make_run, make_rows) -> None:
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


# Other versions


def rewrite(path: Path, table: pa.Table, **keys: str | None) -> None:
    """A parquet file of ``table`` with the keys of the run at ``path``, less or other ones as given."""
    kept = {
        k.decode(): v.decode() for k, v in pq.read_metadata(path).metadata.items() if k != b"ARROW:schema"
    }
    kept = {
        k: v for k, v in {**kept, **{f"memtrace:{k}": v for k, v in keys.items()}}.items() if v is not None
    }
    pq.write_table(table.replace_schema_metadata(kept), path)


def test_columns_of_older_files_are_null_and_of_newer_ones_ignored(
    path: Path, tables, plain, read, connection
) -> None:
    missing = ["self_ns", "stack", "gfp", "order", "cpu"]
    table = pq.read_table(path).drop_columns(missing).append_column("gmem", pa.array(range(1310)))
    rewrite(path, table)
    run = open_run(path)
    assert run.columns == tuple(c for c in COLUMN_NAMES if c not in missing)
    expected = {**plain(tables), **{name: [None] * 1310 for name in missing}}
    assert all(batch.schema.equals(arrow_schema()) for batch in run.batches())
    assert read(run) == expected
    relation = run.relation(connection)
    whole = open_run(path).relation(connection)
    assert relation.fetchall() == list(zip(*expected.values(), strict=True))
    assert relation.types == whole.types
    assert sum(len(b) for b in run.batches(["gfp", "stack"])) == 1310
    assert [str(t) for t in run.relation(connection, missing).types] == [
        "BIGINT", "VARCHAR", "UINTEGER", "TINYINT", "SMALLINT",
    ]  # fmt: skip


def test_keys_of_newer_documents_are_ignored(path: Path, header) -> None:
    document = json.dumps({**json.loads(to_json(header)), "moon_phase": {"x": [1]}})
    rewrite(path, pq.read_table(path), header=document)
    assert open_run(path).header == header


def test_a_newer_schema_is_refused_with_both_numbers(path: Path) -> None:
    rewrite(path, pq.read_table(path), schema=str(SCHEMA_VERSION + 1))
    newer, known = SCHEMA_VERSION + 1, SCHEMA_VERSION
    assert refusal(path) == f"FILE has schema {newer} and this memtrace reads up to {known}; use a newer one"


# Not runs


def test_what_is_said_of_files_that_are_not_runs(tmp_path: Path, path: Path) -> None:
    def made(content: bytes) -> Path:
        other = tmp_path / "other"
        other.write_bytes(content)
        return other

    assert refusal(made(b"")) == "FILE is empty; nothing was recorded in it"
    assert "not parquet" in refusal(made(b"# tracer: nop\n"))
    assert "not parquet" in refusal(made(b"P" * 3))
    assert "not parquet" in refusal(made(bytes(100_000)))
    assert "nothing was recorded" in refusal(made(b"PAR1"))
    assert "nothing was recorded" in refusal(made(b"PAR1MTRC"))
    assert "damaged parquet" in refusal(made(b"PAR1" + bytes(1000)))
    assert "damaged parquet" in refusal(made(b"PAR1" + bytes(1000) + b"\xff\xff\xff\x7fPAR1"))
    assert "damaged parquet" in refusal(made(b"PAR1" + bytes(1000) + b"\x10\0\0\0PAR1"))
    pq.write_table(pa.table({"event": ["alloc"]}), tmp_path / "foreign.parquet")
    assert "not of memtrace" in refusal(tmp_path / "foreign.parquet")
    assert "folder" in refusal(tmp_path)
    assert "does not exist" in refusal(tmp_path / "absent.parquet")
    assert "cannot be opened" in refusal(path / "below.parquet")
    assert "not a regular file" in refusal("/dev/null")
    os.mkfifo(tmp_path / "fifo")
    assert "not a regular file" in refusal(tmp_path / "fifo")
    (tmp_path / "loop").symlink_to("loop")
    assert "cannot be opened" in refusal(tmp_path / "loop")


@pytest.mark.parametrize("key", ["schema", "header", "status"])
@pytest.mark.parametrize(
    "text", ["", "{", "[]", "null", '{"rows": "x"}', '{"started_ns": 1, "complete": 1}', None]
)
def test_damaged_documents_are_a_sentence(path: Path, key: str, text: str | None) -> None:
    rewrite(path, pq.read_table(path), **{key: text})
    refusal(path)


def test_unreadable_files_are_refused(path: Path) -> None:
    script = """
import os, sys
from memtrace.errors import MemtraceError
from memtrace.traces.reader import open_run
if os.geteuid() == 0:
    os.seteuid(65534)
try:
    open_run(sys.argv[1])
except MemtraceError as error:
    print(error)
"""
    with tempfile.TemporaryDirectory() as folder:
        Path(folder).chmod(0o755)
        closed = Path(folder) / "run.parquet"
        closed.write_bytes(path.read_bytes())
        closed.chmod(0)
        said = subprocess.check_output([sys.executable, "-c", script, str(closed)], text=True)
    assert said == f"{closed} may not be read by you; chmod or chown it, or use sudo\n"


def test_a_flipped_bit_is_a_sentence_or_nothing_never_another_number(path: Path, tables, read, plain) -> None:
    whole = path.read_bytes()
    expected = plain(tables)
    end = pq.read_metadata(path).row_group(0).total_byte_size
    rng = random.Random(3)
    said = 0
    for _ in range(80):
        broken = bytearray(whole)
        # In the first of the two large row groups.
        broken[rng.randrange(3000, end)] ^= 1 << rng.randrange(8)
        path.write_bytes(broken)
        try:
            assert read(open_run(path)) == expected
        except MemtraceError as error:
            assert str(path) in str(error)
            said += 1
    assert said > 60


def test_a_run_that_is_gone_is_a_sentence(path: Path, connection) -> None:
    run = open_run(path)
    path.unlink()
    with pytest.raises(MemtraceError, match="cannot be read"):
        list(run.batches())
    with pytest.raises(MemtraceError):
        run.relation(connection)


# Several runs


def test_runs_of_a_folder_or_pattern_are_sorted(tmp_path: Path, make_run, make_rows) -> None:
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


def test_the_keys_are_those_documented(path: Path) -> None:
    keys = {key.decode() for key in pq.read_metadata(path).metadata}
    assert keys == {KEY_SCHEMA, KEY_HEADER, KEY_STATUS, "ARROW:schema"}
