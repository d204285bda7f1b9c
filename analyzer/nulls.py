# SPDX-License-Identifier: Apache-2.0
"""What need not be read of a run's rows: columns that are null, or 1, throughout."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from memtrace.analyzer import callers

if TYPE_CHECKING:
    import duckdb

    from memtrace.traces.reader import Run

_HEAD = 2048
"""Rows that tell whether a column begins with nulls: one DuckDB vector."""


def all_null(run: Run, columns: Sequence[str], connection: duckdb.DuckDBPyConnection) -> set[str]:
    """Which columns are null throughout; looks through the file only for those that begin so."""
    import duckdb

    for head in (True, False):
        rows = run.relation(connection, columns)
        counts = [duckdb.FunctionExpression("count", duckdb.ColumnExpression(name)) for name in columns]
        # Of whole columns DuckDB knows the counts from the file's statistics.
        (known,) = (rows.limit(_HEAD) if head else rows).aggregate(counts).fetchall()
        columns = [name for name, count in zip(columns, known, strict=True) if not count]
        if not columns:
            break
    return set(columns)


def each_once(run: Run, connection: duckdb.DuckDBPyConnection) -> bool:
    """Whether ``count`` is 1 in every row; DuckDB knows from the file's statistics, without reading any."""
    question = 'SELECT min("count"), max("count"), count("count"), count(*) FROM rows_'
    (answer,) = callers.query(run.relation(connection, ["count"]), question).fetchall()
    low, high, known, rows = answer
    return bool(low == high == 1 and known == rows)
