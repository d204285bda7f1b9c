# SPDX-License-Identifier: Apache-2.0
"""Parquet metadata of a run: row groups encoded in memory, moved, and listed in a footer.

Field numbers are those of parquet.thrift in apache/parquet-format.
"""

from __future__ import annotations

import inspect
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from memtrace.traces import thrift
from memtrace.traces.records import PARQUET_MAGIC
from memtrace.traces.schema import (
    COLUMNS,
    KEY_HEADER,
    KEY_PARTIALS,
    KEY_SCHEMA,
    KEY_STATUS,
    SCHEMA_VERSION,
    arrow_schema,
)

if TYPE_CHECKING:
    import pyarrow as pa

# FileMetaData
_NUM_ROWS, _ROW_GROUPS, _KEY_VALUES = 3, 4, 5
# RowGroup
_RG_COLUMNS, _RG_FILE_OFFSET, _RG_ORDINAL = 1, 5, 7
# ColumnChunk
_CC_FILE_OFFSET, _CC_META, _CC_OFFSET_INDEX, _CC_COLUMN_INDEX = 2, 3, 4, 6
# ColumnMetaData
_CM_DATA_PAGE, _CM_INDEX_PAGE, _CM_DICTIONARY_PAGE, _CM_BLOOM_FILTER = 9, 10, 11, 14

_MAX_ORDINAL = (1 << 15) - 1

# Nearly sorted or running up: differences are small.  The rest repeats itself,
# durations too (most are of a few hundred ns).  BYTE_STREAM_SPLIT would be
# smaller for wide-spread durations, but DuckDB 1.3 does not read it for integers.
_DELTA_COLUMNS = ("ts_ns", "pfn")
# What readers prune row groups by; each column more costs the recorder time.
# The first three for pruning; by the others' null counts DuckDB skips work that no row needs
# (a report of 50 M rows: 1.42 of a hand-written GROUP BY's time instead of 1.55).
STATISTICS_COLUMNS = [
    *("ts_ns", "event", "order"),
    *("dur_ns", "count", "total_ns", "self_ns", "bytes", "pfn", "nid"),
]


def encode_rows(table: pa.Table, position: int, ordinal: int) -> tuple[memoryview, bytes]:
    """One row group: its pages, and its RowGroup for pages that begin at ``position`` of the file."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    sink = pa.BufferOutputStream()
    pq.write_table(table, sink, row_group_size=len(table), **_settings())
    encoded = memoryview(sink.getvalue())
    metadata, pages_end = _split(encoded)
    (row_group,) = metadata[_ROW_GROUPS][1].items
    move(row_group, position - len(PARQUET_MAGIC))
    # 16 bits, and nothing but encryption needs it.
    row_group.pop(_RG_ORDINAL, None)
    if ordinal <= _MAX_ORDINAL:
        row_group[_RG_ORDINAL] = (thrift.I16, ordinal)
    return encoded[len(PARQUET_MAGIC) : pages_end], thrift.encode(row_group)


def move(row_group: thrift.Struct, by: int) -> None:
    """Adds ``by`` bytes to every file offset in a RowGroup, in place."""
    _shift(row_group, (_RG_FILE_OFFSET,), by)
    for chunk in row_group[_RG_COLUMNS][1].items:
        # Deprecated; 0 where the writer left it out.
        if chunk[_CC_FILE_OFFSET][1]:
            _shift(chunk, (_CC_FILE_OFFSET,), by)
        _shift(chunk, (_CC_OFFSET_INDEX, _CC_COLUMN_INDEX), by)
        _shift(chunk[_CC_META][1], (_CM_DATA_PAGE, _CM_INDEX_PAGE, _CM_DICTIONARY_PAGE, _CM_BLOOM_FILTER), by)


def start_metadata(header_json: str) -> bytes:
    """FileMetaData of a run without rows: the columns, the schema number and the header."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    sink = pa.BufferOutputStream()
    pq.write_table(arrow_schema().empty_table(), sink)
    metadata, _ = _split(memoryview(sink.getvalue()))
    metadata[_ROW_GROUPS] = (thrift.LIST, thrift.List(thrift.STRUCT, []))
    key_values = metadata[_KEY_VALUES][1].items
    key_values.append(_key_value(KEY_SCHEMA, str(SCHEMA_VERSION)))
    key_values.append(_key_value(KEY_HEADER, header_json))
    return thrift.encode(metadata)


def encode(
    start: bytes, status_json: str, rows: int, row_groups: Sequence[bytes], partials_json: str | None = None
) -> bytes:
    """The parquet footer of a run of these encoded RowGroups, with its length and magic.

    ``start`` is the FileMetaData of ``start_metadata``.
    """
    metadata, _ = thrift.decode(start)
    key_values = metadata[_KEY_VALUES][1].items
    key_values.append(_key_value(KEY_STATUS, status_json))
    if partials_json is not None:
        key_values.append(_key_value(KEY_PARTIALS, partials_json))
    metadata[_NUM_ROWS] = (thrift.I64, rows)
    metadata[_ROW_GROUPS] = (thrift.LIST, thrift.List(thrift.ENCODED, row_groups))
    encoded = thrift.encode(metadata)
    return encoded + len(encoded).to_bytes(4, "little") + PARQUET_MAGIC


def _settings() -> dict[str, Any]:
    """How pages are encoded."""
    import pyarrow.parquet as pq

    settings = {
        "compression": "zstd",
        "compression_level": 1,
        "use_dictionary": [c.name for c in COLUMNS if c.name not in _DELTA_COLUMNS],
        "column_encoding": dict.fromkeys(_DELTA_COLUMNS, "DELTA_BINARY_PACKED"),
        "write_statistics": STATISTICS_COLUMNS,
        "write_page_index": False,
        # The default, 1024, costs a tenth more.
        "write_batch_size": 1 << 16,
        # Next to nothing in time; without it a bit that flipped on the disk is a wrong number.
        "write_page_checksum": True,
    }
    # Where pyarrow limits the rows of a page (to 20,000) it costs 7 % in writing and 10 % in reading;
    # pages are 1 MB at most without it.
    if "max_rows_per_page" in inspect.signature(pq.write_table).parameters:
        settings["max_rows_per_page"] = 1 << 20
    return settings


def _split(encoded: memoryview) -> tuple[thrift.Struct, int]:
    """The FileMetaData of a parquet file in memory, and where its pages end."""
    size = int.from_bytes(encoded[-8:-4], "little")
    start = len(encoded) - 8 - size
    return thrift.decode(encoded[start:-8])[0], start


def _shift(fields: thrift.Struct, numbers: tuple[int, ...], by: int) -> None:
    for number in numbers:
        if number in fields:
            type_, value = fields[number]
            fields[number] = (type_, value + by)


def _key_value(key: str, value: str) -> thrift.Struct:
    return {1: (thrift.BINARY, key.encode()), 2: (thrift.BINARY, value.encode())}
