# SPDX-License-Identifier: Apache-2.0
"""Each staged table is as it is declared, and docs/tables.md is as the tables are."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from typing import get_args

import pytest

from memtrace.analyzer.model import pages
from memtrace.analyzer.model.declared import of_file
from memtrace.analyzer.model.staged import PACKAGE, Model, model, tables
from memtrace.analyzer.model.steps import STEPS
from memtrace.analyzer.tables import Kind
from memtrace.tests.analyzer.recorded import Case
from memtrace.traces.reader import Run
from memtrace.traces.schema import COLUMN_NAMES

each_table = pytest.mark.parametrize("name", tables())


@pytest.fixture(params=["empty", "streamed"])
def staged(request: pytest.FixtureRequest, run_of: Callable[[Case | str], Run]) -> Iterator[Model]:
    with model(run_of(request.param)) as made:
        yield made


def test_the_reference_is_as_the_tables_are() -> None:
    """`python -m memtrace.analyzer.model.pages` renews it."""
    assert pages.PAGE.read_text(encoding="utf-8") == pages.page()


@each_table
def test_the_declared_columns_are_those_of_the_table(name: str, staged: Model) -> None:
    declared = tuple(column.name for column in of_file(PACKAGE, name).columns)
    assert declared == tuple(pages.types_of(staged, name))


@each_table
def test_the_types_do_not_depend_on_the_run(name: str, run_of: Callable[[Case | str], Run]) -> None:
    def types(case: str) -> dict[str, str]:
        with model(run_of(case)) as made:
            return pages.types_of(made, name)

    assert types("empty") == types("streamed")


@each_table
def test_a_type_is_one_that_people_and_files_take(name: str, staged: Model) -> None:
    """A sum of BIGINT is a HUGEINT unless it is cast; a null without a type is an INTEGER or worse."""
    assert not {"HUGEINT", "UHUGEINT", '"NULL"', "NULL"} & set(pages.types_of(staged, name).values())


@each_table
def test_a_file_begins_with_its_licence_its_rules_and_what_it_needs(name: str) -> None:
    table = of_file(PACKAGE, name)
    assert table.sql.startswith("-- SPDX-License-Identifier: Apache-2.0\n")
    assert re.match(r"\w.*\.$", table.what)
    assert set(table.needs) <= {*tables(), *STEPS}
    assert f"CREATE TEMP TABLE {name} AS\n" in table.sql


@each_table
def test_a_column_says_what_it_means_in_sentences(name: str) -> None:
    for column in of_file(PACKAGE, name).columns:
        for text in (column.meaning, column.null, column.bound):
            assert not text or text.endswith("."), f"{name}.{column.name}: {text}"
        assert column.meaning, column.name
        assert column.mark is None or of_file(PACKAGE, name).column(column.mark[1])


def test_a_name_is_one_table_and_no_column_of_a_run() -> None:
    assert not set(tables()) & set(STEPS)
    assert not {*tables(), *STEPS} & {*COLUMN_NAMES, "events"}


def test_each_kind_has_a_unit() -> None:
    assert set(pages.UNITS) == set(get_args(Kind))
