# SPDX-License-Identifier: Apache-2.0
"""The gate for columns: what a run's parquet metadata and its rows must be before they are read.

Types are those of the parquet schema itself, which DuckDB goes by, not those of the
Arrow schema that a writer may have put beside it.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Sequence
from typing import TYPE_CHECKING, Any

from memtrace.traces.footer import STATISTICS_COLUMNS
from memtrace.traces.gate import Refused
from memtrace.traces.limits import INT64_MAX
from memtrace.traces.schema import COLUMN_NAMES, COLUMNS, REQUIRED

if TYPE_CHECKING:
    import duckdb
    import pyarrow as pa
    import pyarrow.parquet as pq

MAX_COLUMNS = 1000
MAX_GROUPS = 1_000_000
MAX_TEXT = 1 << 16
"""Bytes of a text in a row.  A stack of 127 long names has 32 KiB."""
_TYPES = {column.name: column.type for column in COLUMNS}
# Times have a bit to spare: the sum or the difference of two is 64 bits still.
_NS = (-(1 << 62), (1 << 62) - 1)
RANGES: dict[str, tuple[int, int]] = {
    "ts_ns": _NS,
    "dur_ns": _NS,
    "count": (0, INT64_MAX),
    "total_ns": (0, INT64_MAX),
    "self_ns": (-(1 << 61), INT64_MAX),
    "cpu": (0, 32_767),
    "order": (0, 52),
    "bytes": (0, INT64_MAX),
    "bytes_requested": (0, INT64_MAX),
    "pfn": (0, 1 << 52),
    "nid": (0, 1023),
    "nid_requested": (0, 1023),
    "gfn": (0, 1 << 52),
    "vm": (1, (1 << 31) - 1),
    "vcpu": (0, 32_767),
}
"""What the numbers of a row may be; the type alone bounds the others."""
SUMMED = ("count", "total_ns", "self_ns", "bytes", "bytes_requested")
"""What is added up: the sum over all rows is 64 bits too."""


def check_metadata(metadata: pq.FileMetaData) -> None:
    """Raises Refused for columns not of schema.COLUMNS' types, and for numbers of rows that cannot be."""
    schema = metadata.schema
    if metadata.num_columns > MAX_COLUMNS or metadata.num_row_groups > MAX_GROUPS:
        raise Refused(f"has {metadata.num_columns} columns and {metadata.num_row_groups} row groups")
    leaves = [schema.column(i) for i in range(metadata.num_columns)]
    found: set[str] = set()
    for leaf in leaves:
        # DuckDB finds columns in any case, so that TS_NS would stand in for ts_ns.
        name = leaf.path.split(".")[0].lower()
        if name not in _TYPES:
            continue
        if name in found or leaf.path != name or leaf.max_repetition_level or not _is(leaf, _TYPES[name]):
            raise Refused(f"has a column {name} that is not {_TYPES[name]}")
        found.add(name)
    if missing := [name for name in REQUIRED if name not in found]:
        raise Refused(f"has no column {missing[0]}")
    groups = [metadata.row_group(i).num_rows for i in range(metadata.num_row_groups)]
    if min(groups, default=0) < 0 or sum(groups) != metadata.num_rows:
        raise Refused("has row groups whose rows do not add up to those of the file")


def _is(leaf: Any, wanted: str) -> bool:
    """Whether a column of the parquet schema has this type of schema.COLUMNS."""
    logical = json.loads(leaf.logical_type.to_json())
    if wanted.startswith("dictionary"):
        return bool(leaf.physical_type == "BYTE_ARRAY" and logical["Type"] == "String")
    bits = int(wanted.removeprefix("u").removeprefix("int"))
    if leaf.physical_type != ("INT64" if bits == 64 else "INT32"):
        return False
    if logical["Type"] == "Int":
        return bool(logical["bitWidth"] == bits and logical["isSigned"] != wanted.startswith("u"))
    # Without a logical type a physical one is signed.
    return bool(logical["Type"] == "None" and wanted == leaf.physical_type.lower())


def check_rows(rows: duckdb.DuckDBPyRelation, columns: Sequence[str]) -> None:
    """Raises Refused if a row of these columns has a number out of its range, or a text too long.

    Also if one that is always there is not, and if a column's numbers add up to more than
    64 bits hold.  DuckDB takes counts and extremes from the statistics of the file where it
    has them, in no time.
    """
    asked = {f'count("{name}")': name for name in columns if name in REQUIRED}
    answers = _answers(rows, ("count(*)", *asked))
    for sql, name in asked.items():
        _all_known(name, answers["count(*)"] - answers[sql])
    # Apart, since it answers from statistics only where all that is asked is in them.
    numbers = [name for name in columns if name in RANGES]
    for group in (set(numbers) & set(STATISTICS_COLUMNS), set(numbers) - set(STATISTICS_COLUMNS)):
        answers |= _answers(rows, [f'{end}("{name}")' for name in group for end in ("min", "max")])
    extremes = {name: (answers[f'min("{name}")'], answers[f'max("{name}")']) for name in numbers}
    for name, ends in extremes.items():
        _within(name, *ends)
    for name in filter(_is_text, columns):
        _within(name, 0, *_answers(rows, (f'max(strlen("{name}"))',)).values())
    _summable(rows, {name: extremes[name] for name in SUMMED if name in extremes}, answers["count(*)"])


def _answers(rows: duckdb.DuckDBPyRelation, asked: Collection[str]) -> dict[str, Any]:
    """What some aggregates of the rows are."""
    return dict(zip(asked, rows.aggregate(", ".join(asked)).fetchall()[0], strict=True)) if asked else {}


def _summable(
    rows: duckdb.DuckDBPyRelation, extremes: dict[str, tuple[int | None, int | None]], number: int
) -> None:
    """Raises Refused if a column's sum may leave 64 bits, and does."""
    for name, (least, most) in extremes.items():
        if max(-(least or 0), most or 0) * number <= INT64_MAX:
            continue
        ((total,),) = rows.aggregate(f'sum(abs("{name}"::HUGEINT))').fetchall()
        if total > INT64_MAX:
            raise Refused(f"has rows whose {name} adds up to more than 64 bits hold")


def check_batch(batch: pa.RecordBatch) -> None:
    """Raises Refused as check_rows() does.

    Raises ArrowInvalid for text that is not UTF-8, and for codes without a text.
    """
    import pyarrow as pa
    import pyarrow.compute as pc

    batch.validate(full=True)
    for name, column in zip(batch.schema.names, batch.columns, strict=True):
        if name in REQUIRED:
            _all_known(name, column.null_count)
        if pa.types.is_dictionary(column.type):
            column = pc.binary_length(column.dictionary)
        if name in RANGES or _is_text(name):
            found = pc.min_max(column).as_py()
            _within(name, found["min"], found["max"])


def _is_text(name: str) -> bool:
    return _TYPES[name].startswith("dictionary")


def _all_known(name: str, nulls: int) -> None:
    if nulls:
        raise Refused(f"has {nulls:,} rows without {name}")


def _within(name: str, least: int | None, most: int | None) -> None:
    if least is None or most is None:
        return
    if _is_text(name):
        if most > MAX_TEXT:
            raise Refused(
                f"has a row with {most:,} bytes in {name}, more than the {MAX_TEXT:,} that are read"
            )
        return
    low, high = RANGES[name]
    if not low <= least <= most <= high:
        raise Refused(f"has a row with {least if least < low else most} for {name}, which is {low} to {high}")


def known(metadata: pq.FileMetaData) -> tuple[str, ...]:
    """The columns of this version's schema that a file has; call check_metadata() before."""
    paths = {metadata.schema.column(i).path for i in range(metadata.num_columns)}
    return tuple(name for name in COLUMN_NAMES if name in paths)
