# SPDX-License-Identifier: Apache-2.0
"""The reference of the staged tables: docs/tables.md, made from their .sql files.

``python -m memtrace.analyzer.model.pages`` rewrites it.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

from memtrace.analyzer.model.declared import Declared, DeclaredColumn, of_file
from memtrace.analyzer.model.staged import PACKAGE, Model, model, tables
from memtrace.analyzer.tables import Kind
from memtrace.traces.reader import open_run
from memtrace.traces.run import RunHeader, RunStatus
from memtrace.traces.writer import RunWriter

PAGE = Path(__file__).parents[2] / "docs" / "tables.md"

UNITS: Mapping[Kind, str] = {
    "text": "",
    "stack": "frames, root first, joined by ;",
    "number": "",
    "count": "occurrences",
    "bytes": "bytes",
    "ns": "ns",
    "rate": "GiB/s",
    "share": "of 1",
    "signed": "change",
}
"""What a value of each kind is in."""

_INTRODUCTION = """\
# The tables of a run

Each view of a report selects from these tables, and so may you: in Python with
`memtrace.open("run.parquet").table("NAME")` or `.sql("FROM NAME WHERE …")`, as
[python.md](python.md) shows. A table is made of the run's rows when it is first asked for,
by the file `analyzer/model/NAME.sql`; this page is made from these files
(`python -m memtrace.analyzer.model.pages`). The rows themselves, there called `events`, are
in [SCHEMA.md](../SCHEMA.md).

Types are DuckDB's. Null is what is not known, never 0; a column without an entry under Null
always has a value. A value is exact unless Bound says what it is a bound of.
"""


def page() -> str:
    """The text that docs/tables.md should have."""
    with _empty() as staged:
        parts = [_section(of_file(PACKAGE, name), types_of(staged, name)) for name in tables()]
    index = [f"- [{name}](#{name}): {of_file(PACKAGE, name).what}" for name in tables()]
    return "\n".join([_INTRODUCTION, *index, "", *parts])


def types_of(staged: Model, name: str) -> dict[str, str]:
    """The columns of a staged table, in order, and DuckDB's type of each."""
    staged.need(name)
    table = staged.connection.table(name)
    return dict(zip(table.columns, map(str, table.types), strict=True))


@contextmanager
def _empty() -> Iterator[Model]:
    """The tables of a run without rows: their types do not depend on what is in a run."""
    with tempfile.TemporaryDirectory(prefix="memtrace-") as folder:
        path = Path(folder) / "empty.parquet"
        with RunWriter(path, RunHeader(tool_version="", command=())) as writer:
            writer.close(RunStatus(complete=True, started_ns=0, ended_ns=0))
        with open_run(path) as run, model(run) as staged:
            yield staged


def _section(table: Declared, types: Mapping[str, str]) -> str:
    head = ["Column", "Type", "Unit", "Null", "Bound", "Meaning"]
    rows = [_row(column, types[column.name]) for column in table.columns]
    needs = [f"Made of {', '.join(f'`{name}`' for name in table.needs)}.", ""] if table.needs else []
    lines = [f"## {table.name}", "", table.about, "", *needs]
    return "\n".join([*lines, *map(_cells, (head, ["---"] * len(head), *rows)), ""])


def _row(column: DeclaredColumn, type_: str) -> list[str]:
    name, unit = f"`{column.name}`", UNITS[column.kind]
    return [name, type_, unit, column.null.rstrip("."), column.bound.rstrip("."), column.meaning.rstrip(".")]


def _cells(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in cells)} |"


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
