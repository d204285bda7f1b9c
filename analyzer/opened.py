# SPDX-License-Identifier: Apache-2.0
"""An open run in Python: its staged tables, its rows and its views as pandas DataFrames."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any

from memtrace.analyzer import views
from memtrace.analyzer.facts import facts
from memtrace.analyzer.frames import frame_of, frame_of_arrow
from memtrace.analyzer.in_file import in_file, numbers
from memtrace.analyzer.model import staged
from memtrace.analyzer.model.staged import ROWS, Model, model, words_of
from memtrace.analyzer.model.steps import STEPS
from memtrace.analyzer.scan import connect, told
from memtrace.analyzer.window import parse_window
from memtrace.errors import MemtraceError
from memtrace.traces.reader import open_run

if TYPE_CHECKING:
    import duckdb
    import pandas as pd

    from memtrace.traces.reader import Run

_COUNT = re.compile(r"\bcount\s*\(\s*\*\s*\)", re.I)
_ALL_COLUMNS = frozenset({"columns", "natural", "table"})
"""Words of a statement that take columns without naming them, as does "*"."""


class OpenRun:
    """A run file that is open; a context manager.

    Everything that it gives is a DataFrame with nullable types, NA where something is unknown.
    Raises MemtraceError, one sentence, for a damaged file and for names that are not there.
    """

    def __init__(self, path: str | Path) -> None:
        self._stack = ExitStack()
        self._run = self._stack.enter_context(open_run(path))
        self._model: Model | None = None
        self._closed = False

    def __repr__(self) -> str:
        return f"<memtrace run {self._run.path}: {self._run.rows:,} rows>"

    def __enter__(self) -> OpenRun:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Give back the tables' memory and temporary files; DataFrames stay."""
        self._model = None
        self._closed = True
        self._stack.close()

    @property
    def facts(self) -> dict[str, Any]:
        """What `memtrace report --format json` has under ``run``: kernel, machine, settings, losses."""
        with connect(self._open()) as connection:
            return {**facts(self._run), **numbers(self._run, in_file(self._run, connection))}

    def tables(self) -> pd.DataFrame:
        """The tables that table() and sql() know, each with what a row of it is."""
        import pandas as pd

        texts = {name: staged.table(name).what for name in staged.tables()}
        texts[ROWS] = "The run's rows, as they are in the file."
        return pd.DataFrame({"table": list(texts), "about": list(texts.values())}, dtype="string")

    def columns(self, name: str) -> pd.DataFrame:
        """The columns of a staged table: name, unit, meaning, when it is null, what it is a bound of."""
        import pandas as pd

        names = ("name", "kind", "meaning", "null", "bound")
        found = [[getattr(column, key) for key in names] for column in staged.table(name).columns]
        return pd.DataFrame(found, columns=list(names), dtype="string")

    def table(self, name: str) -> pd.DataFrame:
        """A staged table, or ``events`` for the run's rows; the order of rows is not defined."""
        if name not in (*staged.tables(), ROWS):
            raise MemtraceError(f"there is no table {name!r}; there are {_names()}", 2)
        tables = self._tables()
        with told(self._run):
            if name == ROWS:
                tables.let_rows_be_whole()
            else:
                tables.need(name)
            return frame_of_arrow(tables.connection.table(name).to_arrow_table())

    def sql(self, statement: str, /, **values: object) -> pd.DataFrame:
        """What a SELECT gives over the staged tables and ``events``; ``$name`` stands for a value.

        The tables that the text names are made first.  It reads no other file and changes nothing.
        """
        tables = self._tables()
        _check(tables.connection, statement)
        given = {name: _value(value) for name, value in values.items()}
        with told(self._run):
            _stage(tables, statement)
            with _explained():
                return frame_of_arrow(_query(tables, statement, given).to_arrow_table())

    def view(
        self, name: str = "summary", *, by: str | None = None, window: str | None = None
    ) -> dict[str, pd.DataFrame]:
        """The tables of `memtrace report --view NAME`, by the names that they have in its JSON."""
        asked, part = views.choice_by(name, by), parse_window(window)
        if part is not None:
            asked = dataclasses.replace(asked, window=part.of(self._open()))
        report = views.view(self._open(), name, asked).report
        return {table.name: frame_of(table) for table in report.tables}

    def _open(self) -> Run:
        if self._closed:
            raise MemtraceError(f"{self._run.path} is closed; memtrace.open() opens it again")
        return self._run

    def _tables(self) -> Model:
        run = self._open()
        if self._model is None:
            self._model = self._stack.enter_context(model(run))
        return self._model


def _stage(tables: Model, statement: str) -> None:
    """Make what the statement names, and let the rows have the columns that it may mean."""
    words = words_of(statement)
    tables.need(*sorted(words & {*staged.tables(), *STEPS}))
    if "*" in _COUNT.sub("", statement) or "select" not in words or words & _ALL_COLUMNS:
        if ROWS in words:
            tables.let_rows_be_whole()
    else:
        tables.let_rows_have(statement)


def _query(tables: Model, statement: str, given: dict[str, object]) -> duckdb.DuckDBPyRelation:
    """What the statement gives; raises duckdb.Error."""
    import duckdb

    try:
        return tables.connection.sql(statement, params=given)
    except duckdb.BinderException:
        # It may want columns of the rows that it does not name; if not, DuckDB proposes others.
        tables.let_rows_be_whole()
        return tables.connection.sql(statement, params=given)


def _check(connection: duckdb.DuckDBPyConnection, statement: str) -> None:
    """Raises MemtraceError (exit 2) for what is not one question."""
    import duckdb

    with _explained():
        found = connection.extract_statements(statement)
    asks = (duckdb.StatementType.SELECT, duckdb.StatementType.EXPLAIN)
    if len(found) != 1 or found[0].type not in asks:
        raise MemtraceError("sql() takes one SELECT; a run is not changed, and nothing else is written", 2)


@contextmanager
def _explained() -> Iterator[None]:
    """Let what DuckDB says of the user's statement be a sentence."""
    import duckdb

    try:
        yield
    except (duckdb.OperationalError, duckdb.InternalError):
        # Not the statement's fault but the file's, or for want of memory.
        raise
    except duckdb.Error as error:
        text = " ".join(str(error).partition("\nLINE ")[0].split())
        hint = f"; the tables are {_names()}" if isinstance(error, duckdb.CatalogException) else ""
        raise MemtraceError(f"DuckDB does not take the statement: {text}{hint}", 2) from error


def _names() -> str:
    return ", ".join((*staged.tables(), ROWS))


def _value(value: object) -> object:
    """A value that DuckDB takes: numpy's and pandas' scalars as Python's, NA as None."""
    import pandas as pd

    if value is pd.NA:
        return None
    return value.item() if hasattr(value, "item") else value
