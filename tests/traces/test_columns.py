# SPDX-License-Identifier: Apache-2.0
"""A run's columns have their types, and their values are in range, or a sentence says which is not."""

from __future__ import annotations

import duckdb
import pyarrow as pa
import pytest
from duckdb import DuckDBPyConnection

from memtrace.errors import MemtraceError
from memtrace.tests.traces.conftest import MakeRows, Write, refusal
from memtrace.traces.columns import SUMMED
from memtrace.traces.reader import open_run
from memtrace.traces.schema import COLUMN_NAMES, REQUIRED


@pytest.mark.parametrize("name", COLUMN_NAMES)
@pytest.mark.parametrize("type_", ["list", "struct", "text", "number", "float", "binary"])
def test_a_column_of_another_type_is_refused(
    write: Write, make_rows: MakeRows, name: str, type_: str
) -> None:
    table = make_rows(5)
    values = {
        "list": pa.array([[1]] * 5),
        "struct": pa.array([{name: 1}] * 5),
        "text": pa.array(["x"] * 5),
        "number": pa.array(
            [1] * 5, pa.int16() if table.schema.field(name).type != pa.int16() else pa.int32()
        ),
        "float": pa.array([1.5] * 5),
        "binary": pa.array([b"\xff"] * 5),
    }
    changed = table.set_column(COLUMN_NAMES.index(name), name, values[type_])
    path = write(table=changed)
    if type_ == "text" and pa.types.is_dictionary(table.schema.field(name).type):
        assert open_run(path).rows == 5
    else:
        assert f"has a column {name} that is not" in refusal(path)


@pytest.mark.parametrize("name", REQUIRED)
def test_a_run_without_a_column_it_must_have_is_refused(write: Write, make_rows: MakeRows, name: str) -> None:
    assert f"has no column {name}" in refusal(write(table=make_rows(5).drop_columns([name])))


def test_a_column_in_other_case_is_refused(write: Write, make_rows: MakeRows) -> None:
    table = make_rows(5)
    assert "that is not int64" in refusal(write(table=table.add_column(0, "TS_NS", pa.array(["x"] * 5))))


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("order", 53), ("order", -1), ("nid", 1024), ("nid", -1), ("count", -20), ("bytes", -1),
        ("total_ns", -1), ("pfn", -1), ("ts_ns", 1 << 62), ("dur_ns", -(1 << 62) - 1), ("vm", 0),
        ("gfn", 1 << 53), ("cpu", -1),
    ],
)  # fmt: skip
@pytest.mark.parametrize("statistics", [True, False])
def test_numbers_out_of_range_are_refused_when_read(
    write: Write, make_rows: MakeRows, connection: DuckDBPyConnection, name: str, value: int, statistics: bool
) -> None:
    table = make_rows(5)
    kind = table.schema.field(name).type
    column = pa.concat_arrays([table[name].combine_chunks()[:4], pa.array([value], kind)])
    path = write(table=table.set_column(COLUMN_NAMES.index(name), name, column), write_statistics=statistics)
    for read in (lambda run: run.relation(connection, [name]), lambda run: list(run.batches([name]))):
        with open_run(path) as run, pytest.raises(MemtraceError, match=f"{value} for {name}, which is"):
            read(run)
        with open_run(path) as run:
            run.relation(connection, ["event"] if name != "event" else ["flags"]).fetchall()


def test_text_without_bounds_is_refused_when_read(
    write: Write, make_rows: MakeRows, connection: DuckDBPyConnection
) -> None:
    path = write(table=make_rows(5, texts={"stack": ["x" * 70_000]}))
    with open_run(path) as run, pytest.raises(MemtraceError, match="70,000 bytes in stack"):
        run.relation(connection, ["stack"])
    with open_run(path) as run, pytest.raises(MemtraceError, match="70,000 bytes in stack"):
        list(run.batches(["stack"]))


def test_text_that_is_not_utf8_in_a_column_is_a_sentence(
    write: Write, make_rows: MakeRows, connection: DuckDBPyConnection
) -> None:
    path = write(table=make_rows(5, texts={"comm": ["cccc1"]}), compression="none")
    path.write_bytes(path.read_bytes().replace(b"cccc1", b"c\xff\xfec1"))
    # What a relation meets later is DuckDB's own; scan.connect() makes a sentence of it.
    with open_run(path) as run, pytest.raises((MemtraceError, duckdb.Error), match="UTF"):
        run.relation(connection, ["comm"]).fetchall()
    with open_run(path) as run, pytest.raises(MemtraceError):
        list(run.batches(["comm"]))


@pytest.mark.parametrize("name", REQUIRED)
def test_rows_without_what_each_has_are_refused(
    write: Write, make_rows: MakeRows, connection: DuckDBPyConnection, name: str
) -> None:
    table = make_rows(100)
    values = [*table[name].to_pylist()[:99], None]
    type_ = pa.string() if name == "event" else table.schema.field(name).type
    path = write(table=table.set_column(COLUMN_NAMES.index(name), name, pa.array(values, type_)))
    for read in (lambda run: list(run.batches()), lambda run: run.relation(connection)):
        with open_run(path) as run, pytest.raises(MemtraceError, match=f"has 1 rows without {name}; mem"):
            read(run)


@pytest.mark.parametrize("name", SUMMED)
@pytest.mark.parametrize("statistics", [True, False])
def test_sums_beyond_64_bits_are_refused_when_read(
    write: Write, make_rows: MakeRows, connection: DuckDBPyConnection, name: str, statistics: bool
) -> None:
    table, most = make_rows(8), (1 << 63) - 1

    def read(values: list[int]) -> None:
        changed = table.set_column(COLUMN_NAMES.index(name), name, pa.array(values, pa.int64()))
        with open_run(write(table=changed, write_statistics=statistics)) as run:
            run.relation(connection)

    read([most >> 3] * 8)
    read([most - 7, *[1] * 7])
    with pytest.raises(MemtraceError, match=f"{name} adds up to more than 64 bits hold"):
        read([most - 6, *[1] * 7])
