# SPDX-License-Identifier: Apache-2.0
"""Reports by the sums that a run carries are those of its rows, and read no row."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from memtrace.analyzer import scan
from memtrace.analyzer.cells import cells
from memtrace.analyzer.check import check
from memtrace.analyzer.keys import KEYS
from memtrace.analyzer.report import Request, make
from memtrace.analyzer.summary import CARRIED
from memtrace.commands.check import check as command
from memtrace.tests.analyzer.cases import CASES
from memtrace.tests.analyzer.recorded import Case, header, status
from memtrace.tests.analyzer.test_scan import any_rows
from memtrace.traces import partials
from memtrace.traces.reader import Run, open_run
from memtrace.traces.schema import KEY_PARTIALS
from memtrace.traces.totals import TaskTotal

RunOf = Callable[[Any], Run]


@pytest.fixture(autouse=True)
def _carrying(monkeypatch: pytest.MonkeyPatch) -> None:
    """However few its rows, a run is reported on by the sums that it carries."""
    monkeypatch.setattr(partials, "EXACT_ROWS", 0)


@pytest.mark.parametrize(
    "words", [("event",), ("event", "order", "node"), ("event", "parent"), ("node", "event")]
)
@pytest.mark.parametrize("seed", range(2))
def test_cells_are_those_of_the_rows(words: Sequence[str], seed: int, run_of: RunOf) -> None:
    keys = [KEYS[word] for word in words]
    names = [key.output for key in keys]
    run = run_of(Case(any_rows(seed), header("alloc"), status()))
    assert run.partials is not None
    with scan.connect(run) as connection:
        for how in ({}, {"with_pfn": True}, {"with_durations": False}):
            carried = scan.partials(run, keys, connection, **how)
            assert cells(carried, names) == cells(scan.scanned(run, keys, connection, **how), names)


@pytest.mark.parametrize("name", CASES)
def test_a_summary_is_the_same_without_them(name: str, run_of: RunOf, folder: Path) -> None:
    run = run_of(name)
    if run.cut_short or not run.rows:
        return
    path = run.path
    with_them = make(Request((str(path),)))
    assert " ".join(CARRIED.split()) in " ".join(with_them.split())
    about = {k: v for k, v in pq.read_metadata(path).metadata.items() if k != KEY_PARTIALS.encode()}
    table = pq.read_table(path).replace_schema_metadata(about)
    pq.write_table(table, path)
    assert open_run(path).partials is None
    without = make(Request((str(path),)))
    assert " ".join(with_them.split()).replace(f" {CARRIED}", "") == " ".join(without.split())


def test_a_summary_reads_no_row(run_of: RunOf, folder: Path) -> None:
    case = Case(any_rows(1), header("alloc"), status(tasks=(TaskTotal("alloc", 1, "sh", 1, 4096, None),)))
    path = run_of(case).path
    before = make(Request((str(path),)))
    metadata = pq.read_metadata(path)
    content = bytearray(path.read_bytes())
    for group in range(metadata.num_row_groups):
        column = metadata.row_group(group).column(0)
        start = column.dictionary_page_offset or column.data_page_offset
        content[start : start + metadata.row_group(group).total_byte_size // 4] = b"\xff" * (
            metadata.row_group(group).total_byte_size // 4
        )
    path.write_bytes(content)
    assert make(Request((str(path),))) == before


def changed(path: Path, old: str, new: str) -> Path:
    about = dict(pq.read_metadata(path).metadata)
    text = about[KEY_PARTIALS.encode()].decode()
    assert old in text
    about[KEY_PARTIALS.encode()] = text.replace(old, new, 1).encode()
    pq.write_table(pq.read_table(path).replace_schema_metadata(about), path)
    return path


@pytest.mark.parametrize("name", [name for name in CASES if name != "cut_short"])
def test_a_check_agrees_with_what_was_recorded(name: str, run_of: RunOf) -> None:
    found = check(run_of(name))
    assert found.entries is not None
    assert found.different == 0


def test_a_check_finds_a_sum_that_was_changed(run_of: RunOf, folder: Path) -> None:
    from click.testing import CliRunner

    path = run_of("streamed").path
    good = CliRunner().invoke(command, [str(path)])
    assert good.exit_code == 0
    assert "sums agree with 1" in good.output
    changed(path, '"bytes":[', '"bytes":[1')
    result = CliRunner().invoke(command, [str(path)])
    assert result.exit_code == 1
    first, second = result.output.splitlines()
    assert first.startswith("run.parquet: 1 of ")
    assert " carried, " in second
    assert second.endswith(" in the rows")


def test_a_check_of_a_run_that_carries_none_says_so(run_of: RunOf, folder: Path) -> None:
    from click.testing import CliRunner

    result = CliRunner().invoke(command, [str(run_of("cut_short").path)])
    assert result.exit_code == 0
    assert "it carries no sums" in result.output


def test_of_few_rows_each_duration_counts_so_that_they_are_read(
    run_of: RunOf, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(partials, "EXACT_ROWS", 1 << 13)
    run = run_of("streamed")
    assert run.partials is not None
    assert not run.summed_up
    assert "the sums that it carries" not in make(Request((str(run.path),)))
