# SPDX-License-Identifier: Apache-2.0
"""What a connection to DuckDB may do: read the runs that it was made for, and nothing else."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import duckdb
import pyarrow.parquet as pq
import pytest

from memtrace.analyzer import scan
from memtrace.analyzer.in_file import in_file
from memtrace.analyzer.keys import DEFAULT
from memtrace.errors import MemtraceError
from memtrace.traces.reader import Run, open_run


@pytest.mark.parametrize(
    "sql",
    [
        "SELECT * FROM read_text('/etc/hostname')",
        "SELECT * FROM read_parquet('{other}')",
        "COPY (SELECT 1) TO '{other}.csv'",
        "ATTACH '{other}.db'",
        "SELECT * FROM glob('/etc/*')",
        "LOAD httpfs",
        "SET threads = 1",
        "SET enable_external_access = true",
        "SELECT * FROM local_variable",
    ],
)
def test_a_connection_opens_the_run_and_nothing_else(
    run_of: Callable[..., Run], tmp_path: Path, sql: str
) -> None:
    run = run_of("streamed")
    other = tmp_path / "other.parquet"
    other.write_bytes(run.path.read_bytes())
    local_variable = pq.read_table(other)
    with scan.connect(run) as connection:
        with pytest.raises(duckdb.Error):
            connection.execute(sql.format(other=other)).fetchall()
        assert in_file(run, connection).events == len(local_variable)
    assert {p.name for p in tmp_path.iterdir()} == {run.path.name, other.name}


def test_a_long_query_draws_no_bar_into_the_report(run_of: Callable[..., Run]) -> None:
    with scan.connect(run_of("empty")) as connection:
        assert connection.execute("SELECT current_setting('enable_progress_bar')").fetchone() == (False,)


def test_a_connection_opens_two_runs_if_told_both(run_of: Callable[..., Run], tmp_path: Path) -> None:
    one, two = run_of("streamed"), run_of("streamed")
    odd = tmp_path / "it's [1].parquet"
    odd.write_bytes(two.path.read_bytes())
    with open_run(odd) as named, scan.connect(one, named) as connection:
        assert in_file(named, connection) == in_file(one, connection)
    with scan.connect(one) as connection, pytest.raises(MemtraceError, match="disabled"):
        scan.scanned(two, DEFAULT, connection)
