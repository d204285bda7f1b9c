# SPDX-License-Identifier: Apache-2.0
"""Rows, headers, runs and files that are none, for the tests of the run file."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import duckdb
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from memtrace.errors import MemtraceError
from memtrace.tests.traces.documents import documents
from memtrace.traces.reader import Run, open_run
from memtrace.traces.run import ProbeSite, RunHeader, RunStatus
from memtrace.traces.schema import KEY_HEADER, KEY_STATUS, arrow_schema
from memtrace.traces.totals import Losses
from memtrace.traces.writer import Rewrite, RunWriter

MakeRows = Callable[..., pa.Table]
MakeRun = Callable[..., list[int]]
Values = dict[str, list[Any]]
"""Plain values, by column."""
Read = Callable[[Run], Values]
Plain = Callable[[Sequence[pa.Table]], Values]
Write = Callable[..., Path]

CHECKPOINT = RunStatus(complete=False, started_ns=1, ended_ns=2)
"""What a test writes between its rows where no value of it matters."""

_TEXTS = {
    "event": ["alloc", "zero.alloc", "zero.user"],
    "site": ["rawtp:kmem:mm_page_alloc", "fentry:clear_huge_page"],
    "cgroup": ["/", "/system.slice/sshd.service"],
    "comm": ["cc1", "ld", "kworker/0:1", "Web Content"],
    "parent": ["alloc"],
    "stack": ["entry;do_user_addr_fault;handle_mm_fault", "entry;__x64_sys_mmap"],
}
_TOP = {"int8": 11, "int16": 4, "int32": 90_000, "int64": 1 << 40, "uint32": 1 << 32}


def rows(count: int, seed: int = 0, texts: dict[str, list[str]] | None = None) -> pa.Table:
    """Rows of every type, with nulls wherever they are allowed and values over each type's range."""
    rng = np.random.default_rng(seed)
    columns: list[pa.Array] = []
    for field in arrow_schema():
        absent = rng.random(count) < (0.2 if field.nullable else 0)
        if pa.types.is_dictionary(field.type):
            values = {**_TEXTS, **(texts or {})}[field.name]
            codes = pa.array(rng.integers(0, len(values), count), field.type.index_type, mask=absent)
            columns.append(pa.DictionaryArray.from_arrays(codes, pa.array(values, pa.string())))
        elif field.name == "ts_ns":
            start = 10**12 + seed * 10**9
            columns.append(pa.array(start + np.cumsum(rng.integers(1, 2000, count)), field.type))
        else:
            numbers = rng.integers(field.name == "vm", _TOP[str(field.type)], count)
            columns.append(pa.array(numbers, field.type, mask=absent))
    return pa.Table.from_arrays(columns, schema=arrow_schema())


def values(batches: Sequence[pa.RecordBatch] | pa.Table) -> Values:
    """The plain values of some batches, by column."""
    table = batches if isinstance(batches, pa.Table) else pa.Table.from_batches(batches, arrow_schema())
    return {name: table.column(name).to_pylist() for name in table.column_names}


def refusal(path: Path | str) -> str:
    """The one sentence about a file that does not open, with FILE for its name."""
    with pytest.raises(MemtraceError) as refused:
        open_run(path)
    message = str(refused.value)
    assert str(path) in message
    assert "\n" not in message
    return message.replace(str(path), "FILE")


def no_space(*_: object) -> int:
    """A write to a full disk."""
    raise OSError(28, "No space left on device")


@pytest.fixture
def make_rows() -> MakeRows:
    return rows


@pytest.fixture
def header() -> RunHeader:
    return RunHeader(
        tool_version="0.1.0",
        command=("record", "-o", "run.parquet"),
        hostname="höst",
        gfp_names={"__GFP_ZERO": 0x100},
        manifest=(ProbeSite("alloc", "rawtp:kmem:mm_page_alloc", offsets=(1, 2)),),
    )


@pytest.fixture
def status() -> RunStatus:
    return RunStatus(complete=True, started_ns=10**12, ended_ns=2 * 10**12, losses=Losses(ring_full=7))


@pytest.fixture
def make_run(header: RunHeader, status: RunStatus) -> MakeRun:
    """Writes tables to a run, each with its checkpoint; gives the file's size after each."""

    def make(path: Path, tables: Sequence[pa.Table], rewrite: Rewrite | None = None) -> list[int]:
        ends = []
        with RunWriter(path, header) as writer:
            for number, table in enumerate(tables):
                writer.write(table)
                writer.checkpoint(RunStatus(complete=False, started_ns=1, ended_ns=number))
                ends.append(writer.bytes_written)
            writer.close(status, rewrite)
        return ends

    return make


@pytest.fixture
def connection() -> Iterator[duckdb.DuckDBPyConnection]:
    """DuckDB, open for the whole test: relations of older versions end with their connection."""
    with duckdb.connect() as opened:
        yield opened


@pytest.fixture
def read() -> Read:
    """All values of a run, by column."""
    return lambda run: values(list(run.batches()))


@pytest.fixture
def plain() -> Plain:
    """All values of some tables, by column."""
    return lambda tables: values([b for t in tables for b in t.to_batches()])


@pytest.fixture
def tables(make_rows: MakeRows) -> list[pa.Table]:
    """The rows of the run at ``path``: 1310 in three tables, whose texts differ."""
    return [
        make_rows(1000),
        make_rows(10, 1, {"event": ["hotplug"], "comm": ["udevd", "cc1"]}),
        make_rows(300, 2),
    ]


@pytest.fixture
def path(tmp_path: Path, make_run: MakeRun, tables: list[pa.Table]) -> Path:
    """A finished run of these tables."""
    path = tmp_path / "run.parquet"
    make_run(path, tables)
    return path


@pytest.fixture
def write(tmp_path: Path, make_rows: MakeRows) -> Write:
    """A parquet file of these documents, as JSON or as text, and columns."""
    path = tmp_path / "run.parquet"
    plain = make_rows(50)

    def make(header: Any = None, status: Any = None, table: pa.Table | None = None, **how: Any) -> Path:
        texts = {
            KEY_HEADER: header
            if isinstance(header, str | bytes)
            else json.dumps(header or documents()["header"]),
            KEY_STATUS: status
            if isinstance(status, str | bytes)
            else json.dumps(status or documents()["status"]),
            "memtrace:schema": "2",
        }
        pq.write_table((plain if table is None else table).replace_schema_metadata(texts), path, **how)
        return path

    return make
