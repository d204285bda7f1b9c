# SPDX-License-Identifier: Apache-2.0
"""Tables as DataFrames: what is unknown is NA, and no integer is rounded."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import duckdb
import pandas as pd
import pytest

from memtrace.analyzer.frames import frame_of, frame_of_arrow
from memtrace.analyzer.summary import view
from memtrace.analyzer.tables import Table
from memtrace.tests.analyzer.recorded import Case
from memtrace.traces.reader import Run

ODD = (1 << 53) + 1
"""The first integer that a float does not hold."""


def frame(*values: Any) -> pd.DataFrame:
    return frame_of(Table("t", "", ("x",), tuple({"x": value} for value in values), ()))


@pytest.mark.parametrize(
    ("values", "dtype"),
    [
        ((ODD, None), "Int64"),
        (((1 << 64) - 1, None), "UInt64"),
        ((1 << 64,), "object"),
        ((2.0, None, 4.0), "Float64"),
        ((1, 0.5, None), "Float64"),
        ((True, None), "boolean"),
        (("a", None, "-"), "string"),
        ((None, None), "object"),
        ((), "object"),
    ],
)
def test_a_column_has_the_nullable_type_of_its_values(values: tuple[Any, ...], dtype: str) -> None:
    found = frame(*values)
    assert str(found["x"].dtype) == dtype
    assert [None if value is pd.NA else value for value in found["x"]] == list(values)


def test_a_table_of_a_report_has_all_its_rows_and_columns(run_of: Callable[[Case | str], Run]) -> None:
    table = view(run_of("sampled")).report.table("main")
    assert table is not None
    found = frame_of(table)
    assert tuple(found.columns) == table.names and len(found) == len(table.rows)
    assert found["count"].isna().tolist() == [row["count"] is None for row in table.rows]
    assert found["total_ns"].sum() == sum(row["total_ns"] or 0 for row in table.rows)


@pytest.mark.parametrize(
    ("sql", "dtype", "values"),
    [
        (f"SELECT unnest([{ODD}, NULL]) AS x", "Int64", [ODD, None]),
        (f"SELECT sum(i) AS x FROM (SELECT unnest([{ODD}, 1]) AS i)", "Int64", [ODD + 1]),
        ("SELECT 18446744073709551615::HUGEINT AS x", "UInt64", [(1 << 64) - 1]),
        ("SELECT unnest([1.5, NULL]) AS x", "Float64", [1.5, None]),
        ("SELECT unnest([1::SMALLINT, NULL]) AS x", "Int16", [1, None]),
        ("SELECT unnest([true, NULL]) AS x", "boolean", [True, None]),
        ("SELECT unnest(['a', NULL]) AS x", "string", ["a", None]),
        ("SELECT 'a'::ENUM ('a', 'b') AS x", "string", ["a"]),
        ("SELECT 1 AS x WHERE false", "Int32", []),
    ],
)
def test_an_answer_of_duckdb_keeps_its_values(sql: str, dtype: str, values: list[Any]) -> None:
    found = frame_of_arrow(duckdb.connect().sql(sql).to_arrow_table())
    assert str(found["x"].dtype) == dtype
    assert [None if value is pd.NA else value for value in found["x"]] == values


def test_what_fits_no_integer_of_pandas_is_still_exact() -> None:
    found = frame_of_arrow(duckdb.connect().sql("SELECT (1::HUGEINT << 70) AS x").to_arrow_table())
    assert int(found["x"][0]) == 1 << 70
