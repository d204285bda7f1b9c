# SPDX-License-Identifier: Apache-2.0
"""SCHEMA.md and the code say the same, and the examples in it run."""

from __future__ import annotations

import ast
import dataclasses
import itertools
import re
import subprocess
import sys
import types
import typing
from collections import defaultdict
from pathlib import Path
from typing import Any

import pandas
import pyarrow as pa
import pytest
from duckdb import DuckDBPyConnection

from memtrace.tests.traces.conftest import MakeRows, MakeRun
from memtrace.traces import run, schema, totals
from memtrace.traces.run import (
    RunHeader,
    RunStatus,
    header_from_json,
    status_from_json,
    to_json,
)
from memtrace.traces.schema import COLUMN_NAMES, COLUMNS, SCHEMA_VERSION, Flag, arrow_schema

DOCUMENT = (Path(schema.__file__).parent.parent / "SCHEMA.md").read_text()


def section(title: str) -> str:
    """The text under a heading, up to the next heading."""
    found = re.search(rf"^#+ {re.escape(title)}\n(.*?)(?=^#|\Z)", DOCUMENT, re.M | re.S)
    assert found, title
    return found[1]


def table(title: str) -> list[list[str]]:
    """The cells of a section's first table, without its head."""
    lines = re.search(r"(?:^\|.*\n)+", section(title), re.M)
    assert lines, title
    return [[cell.strip() for cell in line.strip("|").split(" | ")] for line in lines[0].splitlines()[2:]]


def example(language: str, place: int = 0) -> str:
    codes = re.findall(rf"^```{language}\n(.*?)^```", DOCUMENT, re.M | re.S)
    return str(codes[place])


def docstrings(cls: type) -> dict[str, str]:
    """The strings that follow the members of a class in its source."""
    tree = ast.parse(Path(sys.modules[cls.__module__].__file__ or "").read_text())
    (body,) = (n.body for n in tree.body if isinstance(n, ast.ClassDef) and n.name == cls.__name__)
    texts = {}
    for member, after in itertools.pairwise(body):
        if isinstance(member, ast.Assign) and isinstance(after, ast.Expr):
            assert isinstance(after.value, ast.Constant) and isinstance(after.value.value, str)
            texts[ast.unparse(member.targets[0])] = re.sub(r"\s+", " ", after.value.value).replace("``", "`")
    return texts


def in_words(hint: Any) -> str:
    """A field's type as SCHEMA.md writes it."""
    origin, arguments = typing.get_origin(hint), typing.get_args(hint)
    if origin in (typing.Union, types.UnionType):
        (inner,) = (a for a in arguments if a is not type(None))
        return f"{in_words(inner)} or null"
    if origin is tuple and arguments[1:] == (Ellipsis,):
        return f"list of {in_words(arguments[0])}"
    if origin is tuple:
        return f"[{', '.join(map(in_words, arguments))}]"
    if origin is dict:
        assert arguments[0] is str
        return f"map to {in_words(arguments[1])}"
    plain = {str: "text", int: "integer", bool: "boolean", float: "number"}
    return plain.get(hint) or str(hint.__name__)


DOCUMENTS = [
    c
    for module in (run, totals)
    for c in vars(module).values()
    if dataclasses.is_dataclass(c) and c.__module__ == module.__name__
]


def test_columns_are_those_of_the_code() -> None:
    nullable = {True: "may be", False: "never"}
    assert table("Columns") == [
        [f"`{c.name}`", c.type, c.unit, nullable[arrow_schema().field(c.name).nullable], c.doc]
        for c in COLUMNS
    ]


def test_flags_are_those_of_the_code() -> None:
    texts = docstrings(Flag)
    assert table("Flags") == [[str(f.bit_length() - 1), f.name, texts[str(f.name)]] for f in Flag]
    assert all(f.value == 1 << (f.bit_length() - 1) for f in Flag)
    assert max(Flag) < 1 << 32


@pytest.mark.parametrize("cls", DOCUMENTS, ids=lambda c: c.__name__)
def test_documents_are_those_of_the_code(cls: type) -> None:
    hints = typing.get_type_hints(cls)
    written = table(cls.__name__)
    assert [row[:2] for row in written] == [
        [f"`{f.name}`", in_words(hints[f.name])] for f in dataclasses.fields(cls)
    ]
    assert all(len(row) == 3 and row[2] for row in written)


def test_metadata_keys_are_those_of_the_code() -> None:
    keys = [cells[0].strip("`") for cells in table("Metadata")]
    assert keys == [
        schema.KEY_SCHEMA, schema.KEY_HEADER, schema.KEY_STATUS, schema.KEY_PARTIALS, "ARROW:schema"
    ]  # fmt: skip


def test_the_change_log_ends_with_this_schema() -> None:
    assert table("Changes")[-1][0] == str(SCHEMA_VERSION)


def test_arrow_schema_has_the_columns_and_types_named() -> None:
    written = arrow_schema()
    assert tuple(written.names) == COLUMN_NAMES
    for column in COLUMNS:
        type_ = written.field(column.name).type
        if pa.types.is_dictionary(type_):
            assert column.type == f"dictionary<{type_.index_type},{type_.value_type}>"
        else:
            assert column.type == str(type_)


@pytest.fixture
def run_here(
    tmp_path: Path, make_run: MakeRun, make_rows: MakeRows, monkeypatch: pytest.MonkeyPatch
) -> pa.Table:
    """The table of a run.parquet in the current folder."""
    monkeypatch.chdir(tmp_path)
    rows: pa.Table = make_rows(500)
    make_run(Path("run.parquet"), [rows])
    return rows


def sum_of_known(*numbers: int | None) -> int | None:
    known = [n for n in numbers if n is not None]
    return sum(known) if known else None


def test_the_sql_example_runs(run_here: pa.Table, connection: DuckDBPyConnection) -> None:
    result = connection.sql(example("sql"))
    assert result.columns == ["event", "order", "nid", "count", "bytes", "self_ns"]
    expected: dict[tuple[Any, ...], tuple[int | None, ...]] = {}
    for row in run_here.to_pylist():
        key = row["event"], row["order"], row["nid"]
        sums = expected.get(key, (None, None, None))
        expected[key] = tuple(map(sum_of_known, sums, (row["count"], row["bytes"], row["self_ns"])))
    assert {row[:3]: row[3:] for row in result.fetchall()} == expected


def test_the_sql_example_of_sums_agrees_with_that_of_rows(
    run_here: pa.Table, make_run: MakeRun, connection: DuckDBPyConnection
) -> None:
    flags = pa.array([flags & 0x7FFF for flags in run_here.column("flags").to_pylist()], pa.uint32())
    place = run_here.schema.get_field_index("flags")
    Path("run.parquet").unlink()
    make_run(Path("run.parquet"), [run_here.set_column(place, run_here.schema.field(place), flags)])
    by_rows: dict[tuple[Any, ...], list[int]] = defaultdict(lambda: [0, 0, 0])
    for event, order, _, *sums in connection.sql(example("sql")).fetchall():
        by_rows[event, order] = [a + (b or 0) for a, b in zip(by_rows[event, order], sums, strict=True)]
    found = connection.sql(example("sql", 1)).fetchall()
    assert {row[:2]: list(row[2:]) for row in found} == by_rows


def test_the_pandas_example_runs_and_agrees_with_sql(
    run_here: pa.Table, connection: DuckDBPyConnection
) -> None:
    names: dict[str, Any] = {}
    exec(compile(example("python"), "SCHEMA.md", "exec"), names)
    got = {
        tuple(None if pandas.isna(key) else key for key in keys): None if pandas.isna(ns) else ns
        for keys, ns in names["table"]["self_ns"].items()
    }
    sql = connection.sql("SELECT event, \"order\", sum(self_ns) FROM 'run.parquet' GROUP BY ALL")
    assert got == {(event, order): ns for event, order, ns in sql.fetchall()}


def test_the_metadata_example_runs(run_here: pa.Table, connection: DuckDBPyConnection) -> None:
    (query,) = re.findall(r"`(SELECT decode.*?)`", DOCUMENT, re.S)
    pairs = dict(connection.sql(query).fetchall())
    assert pairs[schema.KEY_SCHEMA] == str(SCHEMA_VERSION)
    assert status_from_json(pairs[schema.KEY_STATUS]).rows == 500
    assert header_from_json(pairs[schema.KEY_HEADER]).tool_version == "0.1.0"


def test_schema_module_needs_no_pyarrow() -> None:
    """The columns' names are needed where nothing is recorded: they must not cost an import."""
    script = (
        "import sys\n"
        "from memtrace.traces import histogram, reader, run, schema, writer\n"
        "print(sorted({'numpy', 'pyarrow', 'pandas', 'duckdb'} & set(sys.modules)))"
    )
    assert subprocess.check_output([sys.executable, "-c", script], text=True) == "[]\n"


def filled(cls: type) -> Any:
    """A document with something in every field, at every depth."""
    hints = typing.get_type_hints(cls, include_extras=True)
    return cls(**{name: _something(hint) for name, hint in hints.items()})


def _something(hint: Any) -> Any:
    origin, arguments = typing.get_origin(hint), typing.get_args(hint)
    if origin is typing.Annotated:
        inner, limit = hint.__origin__, hint.__metadata__[0]
        return limit.high if inner is int else _something(inner)
    if origin in (typing.Union, types.UnionType):
        return _something(arguments[0])
    if origin is tuple:
        return tuple(_something(a) for a in arguments if a is not Ellipsis)
    if origin is dict:
        return {"Ä key": _something(arguments[1])}
    if dataclasses.is_dataclass(hint) and isinstance(hint, type):
        return filled(hint)
    return {str: "text ☃", int: (1 << 63) - 1, bool: True, float: 0.5}[hint]


@pytest.mark.parametrize("cls", [RunHeader, RunStatus])
def test_documents_survive_json(cls: type) -> None:
    back = header_from_json if cls is RunHeader else status_from_json
    document = filled(cls)
    assert back(to_json(document)) == document


@pytest.mark.parametrize(
    "text", ["", "{", "[]", "null", "3", '{"complete": true}', '{"command": 3, "tool_version": ""}']
)
def test_what_is_not_a_document_is_a_value_error(text: str) -> None:
    for back in (header_from_json, status_from_json):
        with pytest.raises(ValueError):
            back(text)
