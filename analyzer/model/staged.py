# SPDX-License-Identifier: Apache-2.0
"""The staged tables of one run, each made when it is first asked for."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.resources import files
from typing import TYPE_CHECKING, Any

from memtrace.analyzer.model.declared import Declared, DeclaredColumn, of_file
from memtrace.analyzer.model.steps import STEPS
from memtrace.analyzer.scan import connect
from memtrace.analyzer.tables import Column, Row
from memtrace.errors import MemtraceError
from memtrace.traces.schema import COLUMN_NAMES

if TYPE_CHECKING:
    import duckdb
    import pyarrow as pa

    from memtrace.traces.reader import Run

PACKAGE = "memtrace.analyzer.model"
ROWS = "events"
"""The run's rows, as SCHEMA.md has them."""
_WORD = re.compile(r"\w+")


def words_of(sql: str) -> frozenset[str]:
    """The words of a statement, in lower case, as DuckDB takes names."""
    return frozenset(_WORD.findall(sql.lower()))


class Model:
    """A run as tables, in one connection to DuckDB."""

    def __init__(self, run: Run, connection: duckdb.DuckDBPyConnection) -> None:
        self.run = run
        self.connection = connection
        self._made: set[str] = set()

    def need(self, *names: str) -> None:
        """Make staged tables, and those that they need, unless they are there."""
        for name in names:
            if name not in self._made:
                if name in STEPS:
                    STEPS[name](self)
                else:
                    self.make(of_file(PACKAGE, name))
                self._made.add(name)

    def make(self, table: Declared) -> None:
        """Make the table of a file, and those that it needs."""
        self.need(*table.needs)
        self.let_rows_have(table.sql)
        self.connection.execute(table.sql)

    def let_rows_have(self, sql: str) -> None:
        """Let ``events`` be the run's rows, with the columns that a statement names."""
        words = words_of(sql)
        if ROWS in words:
            columns = [name for name in COLUMN_NAMES if name in words]
            self.run.relation(self.connection, columns or ["event"]).create_view(ROWS, replace=True)

    def let_rows_be_whole(self) -> None:
        """Let ``events`` be the run's rows, with all their columns."""
        self.run.relation(self.connection).create_view(ROWS, replace=True)

    def rows(self, name: str) -> list[dict[str, Any]]:
        """All rows of a staged table, by column."""
        self.need(name)
        found = self.connection.table(name)
        return [dict(zip(found.columns, row, strict=True)) for row in found.fetchall()]

    def query(self, sql: str, values: Mapping[str, object] | None = None) -> list[dict[str, Any]]:
        """What a statement gives over tables that were made; ``values`` are its ``$name``."""
        return self._query(sql, values or {})[1]

    def tuples(self, sql: str) -> list[tuple[Any, ...]]:
        """What a statement gives over tables that were made, as plain tuples."""
        self.let_rows_have(sql)
        return self.connection.execute(sql).fetchall()

    def arrow(self, sql: str) -> pa.Table:
        """What a statement gives over tables that were made, as an Arrow table."""
        self.let_rows_have(sql)
        return self.connection.sql(sql).to_arrow_table()

    def batches(self, sql: str, values: Mapping[str, object], rows: int) -> pa.RecordBatchReader:
        """What a statement gives over tables that were made, so many rows at a time."""
        self.let_rows_have(sql)
        return self.connection.sql(sql, params=dict(values)).to_arrow_reader(rows)

    def _query(self, sql: str, values: Mapping[str, object]) -> tuple[tuple[str, ...], list[dict[str, Any]]]:
        self.let_rows_have(sql)
        found = self.connection.execute(sql, values)
        names = tuple(column[0] for column in found.description or ())
        return names, [dict(zip(names, row, strict=True)) for row in found.fetchall()]

    def page(self, package: str, name: str) -> Selected:
        """A view's own table: what the SELECT in NAME.sql of its package gives."""
        table = of_file(package, name)
        self.need(*table.needs)
        names, rows = self._query(table.sql, {})
        return Selected(tuple(_declared(table, column) for column in names), tuple(rows))


@dataclass(frozen=True)
class Selected:
    """Rows of a view's own table, and what its columns are."""

    columns: tuple[DeclaredColumn, ...]
    rows: tuple[Row, ...]

    @property
    def names(self) -> tuple[str, ...]:
        """Of all columns, in order."""
        return tuple(column.name for column in self.columns)

    @property
    def shown(self) -> tuple[Column, ...]:
        """The columns that pages show."""
        return tuple(column.column() for column in self.columns if column.heading)


def _declared(table: Declared, name: str) -> DeclaredColumn:
    """What a column of a view's own table is: by its own file, else by the tables that it selects from."""
    tables = (table, *(of_file(PACKAGE, needed) for needed in table.needs if needed not in STEPS))
    for each in tables:
        if (column := each.column(name)) is not None:
            return column
    raise KeyError(f"{table.name}.{name} is declared nowhere")


@contextmanager
def model(run: Run, *others: Run) -> Iterator[Model]:
    """The staged tables of a run, as long as this lasts, in a connection that ``others`` are open in too.

    Raises MemtraceError if a file is damaged.
    """
    with connect(run, *others) as connection:
        yield Model(run, connection)


def tables() -> tuple[str, ...]:
    """The names of all staged tables that are made by SQL."""
    names = (entry.name for entry in files(PACKAGE).iterdir())
    return tuple(sorted(name.removesuffix(".sql") for name in names if name.endswith(".sql")))


def table(name: str) -> Declared:
    """What the file of a staged table says; raises MemtraceError (exit 2) if there is none."""
    if name not in tables():
        raise MemtraceError(f"there is no table {name!r}; there are {', '.join(tables())}", 2)
    return of_file(PACKAGE, name)
