# SPDX-License-Identifier: Apache-2.0
"""Rows, headers and runs for the tests of the run file."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import duckdb
import numpy as np
import pyarrow as pa
import pytest

from memtrace.traces.reader import Run
from memtrace.traces.run import Losses, ProbeSite, RunHeader, RunStatus
from memtrace.traces.schema import arrow_schema
from memtrace.traces.writer import Rewrite, RunWriter

MakeRows = Callable[..., pa.Table]
MakeRun = Callable[..., list[int]]

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


def values(batches: Sequence[pa.RecordBatch] | pa.Table) -> dict[str, list[Any]]:
    """The plain values of some batches, by column."""
    table = batches if isinstance(batches, pa.Table) else pa.Table.from_batches(batches, arrow_schema())
    return {name: table.column(name).to_pylist() for name in table.column_names}


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
def read() -> Callable[[Run], dict[str, list[Any]]]:
    """All values of a run, by column."""
    return lambda run: values(list(run.batches()))


@pytest.fixture
def plain() -> Callable[[Sequence[pa.Table]], dict[str, list[Any]]]:
    """All values of some tables, by column."""
    return lambda tables: values([b for t in tables for b in t.to_batches()])
