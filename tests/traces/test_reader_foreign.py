# SPDX-License-Identifier: Apache-2.0
"""Runs of other versions, damaged ones, and what is said of files that are not runs."""

from __future__ import annotations

import json
import os
import random
import subprocess
import sys
import tempfile
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from duckdb import DuckDBPyConnection

from memtrace.errors import MemtraceError
from memtrace.tests.traces.conftest import Plain, Read, refusal
from memtrace.traces.reader import open_run
from memtrace.traces.run import RunHeader, to_json
from memtrace.traces.schema import COLUMN_NAMES, SCHEMA_VERSION, arrow_schema

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
    path: Path, tables: list[pa.Table], plain: Plain, read: Read, connection: DuckDBPyConnection
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


def test_keys_of_newer_documents_are_ignored(path: Path, header: RunHeader) -> None:
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


def test_a_flipped_bit_is_a_sentence_or_nothing_never_another_number(
    path: Path, tables: list[pa.Table], read: Read, plain: Plain
) -> None:
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


def test_a_run_that_is_gone_is_a_sentence(path: Path, connection: DuckDBPyConnection) -> None:
    run = open_run(path)
    path.unlink()
    with pytest.raises(MemtraceError, match="cannot be read"):
        list(run.batches())
    with pytest.raises(MemtraceError):
        run.relation(connection)
