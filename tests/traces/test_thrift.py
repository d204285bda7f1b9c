# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import datetime
import decimal
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from duckdb import DuckDBPyConnection

from memtrace.traces import thrift
from memtrace.traces.thrift import BINARY, BYTE, DOUBLE, FALSE, I16, I32, I64, LIST, SET, STRUCT, TRUE


def footer_of(data: bytes) -> bytes:
    size = int.from_bytes(data[-8:-4], "little")
    return data[-8 - size : -8]


def everything() -> pa.Table:
    """Columns of many kinds, so that the footer has most of what footers have."""
    n = 5000
    return pa.table(
        {
            "i": pa.array(range(n), pa.int64()),
            "u": pa.array([i % 7 for i in range(n)], pa.uint8()),
            "f": pa.array(np.linspace(-1, 1, n)),
            "s": pa.array([None if i % 3 else f"text {i}" for i in range(n)]),
            "d": pa.array(["a", "b"] * (n // 2)).dictionary_encode(),
            "b": pa.array([i % 2 == 0 for i in range(n)]),
            "t": pa.array([datetime.datetime(2024, 1, 1, tzinfo=datetime.UTC)] * n),
            "c": pa.array([decimal.Decimal("1.25")] * n),
            "l": pa.array([[1, 2], None] * (n // 2)),
            "n": pa.array([{"x": 1, "y": "z"}] * n),
        }
    ).replace_schema_metadata({"empty": "", "long": "x" * 100_000})


WRITER_SETTINGS = {
    "default": {},
    "v2 pages": {"data_page_version": "2.0", "compression": "zstd"},
    "page index": {"write_page_index": True},
    "no statistics": {"write_statistics": False},
    "many row groups": {"row_group_size": 100},
    "sorted": {"sorting_columns": [pq.SortingColumn(0)]},
}


@pytest.mark.parametrize("settings", WRITER_SETTINGS.values(), ids=WRITER_SETTINGS.keys())
def test_pyarrow_footer_is_written_back_byte_for_byte(settings: dict[str, object]) -> None:
    sink = pa.BufferOutputStream()
    pq.write_table(everything(), sink, **settings)
    footer = footer_of(sink.getvalue().to_pybytes())
    decoded, end = thrift.decode(footer)
    assert end == len(footer)
    assert thrift.encode(decoded) == footer
    assert decoded[3] == (I64, 5000)


def test_duckdb_footer_is_written_back_byte_for_byte(tmp_path: Path, connection: DuckDBPyConnection) -> None:
    path = tmp_path / "duck.parquet"
    connection.sql("SELECT i, i::VARCHAR s, [i] l, i / 3 f FROM range(10000) t(i)").write_parquet(str(path))
    footer = footer_of(path.read_bytes())
    assert thrift.encode(thrift.decode(footer)[0]) == footer


@pytest.mark.parametrize(
    ("fields", "encoded"),
    [
        ({}, "00"),
        ({1: (I32, 0)}, "15 00 00"),
        ({1: (I32, -1), 2: (I64, 1)}, "15 01 16 02 00"),
        ({1: (I16, -150)}, "14 ab 02 00"),
        ({1: (I64, -(1 << 63))}, "16 ff ff ff ff ff ff ff ff ff 01 00"),
        ({1: (TRUE, True), 3: (FALSE, False)}, "11 22 00"),
        ({15: (BYTE, -2)}, "f3 fe 00"),
        ({16: (BYTE, 2)}, "03 20 02 00"),
        ({1: (BINARY, b"ab"), 2: (BINARY, b"")}, "18 02 61 62 18 00 00"),
        ({1: (DOUBLE, 1.0)}, "17 00 00 00 00 00 00 f0 3f 00"),
        ({1: (LIST, thrift.List(I32, [1, -1]))}, "19 25 02 01 00"),
        ({1: (SET, thrift.List(TRUE, [True, False]))}, "1a 21 01 02 00"),
        ({1: (LIST, thrift.List(BYTE, [1] * 15))}, "19 f3 0f" + " 01" * 15 + " 00"),
        ({1: (STRUCT, {1: (I32, 1)})}, "1c 15 02 00 00"),
    ],
)
def test_encoding_is_that_of_the_protocol(fields: thrift.Struct, encoded: str) -> None:
    data = bytes.fromhex(encoded)
    assert thrift.encode(fields) == data
    assert thrift.decode(data) == (fields, len(data))


def test_structs_encoded_before_make_the_same_list() -> None:
    items: list[thrift.Struct] = [{1: (I32, i)} for i in range(20)]
    whole = {4: (LIST, thrift.List(STRUCT, items))}
    parts = {4: (LIST, thrift.List(thrift.ENCODED, [thrift.encode(i) for i in items]))}
    assert thrift.encode(parts) == thrift.encode(whole)


def test_a_cut_footer_is_an_error_wherever_it_is_cut() -> None:
    sink = pa.BufferOutputStream()
    pq.write_table(pa.table({"a": [1], "b": ["x"]}), sink, store_schema=False)
    footer = footer_of(sink.getvalue().to_pybytes())
    for size in range(len(footer)):
        with pytest.raises(thrift.ThriftError):
            thrift.decode(footer[:size])


@pytest.mark.parametrize(
    "data",
    [
        b"\x1d\x00",
        b"\x16" + b"\xff" * 10 + b"\x01\x00",
        b"\x1c" * 5000,
        b"\x19\xfc\xff\xff\xff\xff\x7f",
        b"\x19" * 5000,
    ],
    ids=["unknown type", "number too long", "structs too deep", "list too long", "lists too deep"],
)
def test_nonsense_is_an_error(data: bytes) -> None:
    with pytest.raises(thrift.ThriftError):
        thrift.decode(data)
