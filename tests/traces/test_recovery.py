# SPDX-License-Identifier: Apache-2.0
"""Runs whose recorder did not finish: what was checkpointed opens, and nothing else."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pyarrow as pa
import pytest
from duckdb import DuckDBPyConnection

from memtrace.errors import MemtraceError
from memtrace.tests.traces.conftest import MakeRows, MakeRun, Plain, Read, Values
from memtrace.traces.reader import open_run

COUNTS = [300, 1, 40, 1000, 7]


@pytest.fixture
def tables(make_rows: MakeRows) -> list[pa.Table]:
    return [make_rows(count, seed) for seed, count in enumerate(COUNTS)]


def first_rows(everything: Values, count: int) -> Values:
    return {name: column[:count] for name, column in everything.items()}


def cuts(ends: list[int], size: int) -> list[int]:
    """Each checkpoint's end and the bytes around it, the last bytes of the file, and many places more."""
    near = {end + d for end in ends for d in (-1, 0, 1, 43, 44, 45)}
    rng = random.Random(7)
    return sorted(
        {*near, *range(size - 9, size), *(rng.randrange(ends[0], size) for _ in range(150))} - {size}
    )


def test_cut_anywhere_the_rows_of_whole_checkpoints_remain(
    tmp_path: Path,
    make_run: MakeRun,
    tables: list[pa.Table],
    read: Read,
    plain: Plain,
    connection: DuckDBPyConnection,
) -> None:
    path = tmp_path / "run.parquet"
    ends = make_run(path, tables)
    whole = path.read_bytes()
    expected = plain(tables)
    for size in (c for c in cuts(ends, len(whole)) if c >= ends[0]):
        path.write_bytes(whole[:size])
        complete = sum(end <= size for end in ends)
        count = sum(COUNTS[:complete])
        with open_run(path) as run:
            assert (run.cut_short, run.rows, run.status.rows) == (True, count, count)
            # The closing checkpoint has no rows of its own.
            closed = run.status.complete
            assert closed or run.status.ended_ns == complete - 1
            assert closed or run.dropped_bytes == size - ends[complete - 1]
            assert read(run) == first_rows(expected, count)
            if size % 5 == 0:
                got = run.relation(connection).fetchall()
                assert got == list(zip(*first_rows(expected, count).values(), strict=True))
        assert path.read_bytes() == whole[:size]


def test_cut_before_the_first_checkpoint_is_a_sentence_at_every_byte(
    tmp_path: Path, make_run: MakeRun, tables: list[pa.Table]
) -> None:
    path = tmp_path / "run.parquet"
    ends = make_run(path, tables)
    whole = path.read_bytes()
    for size in [*range(150), *range(150, ends[0], 97), ends[0] - 1]:
        path.write_bytes(whole[:size])
        with pytest.raises(MemtraceError, match="nothing was recorded") as refused:
            open_run(path)
        assert str(path) in str(refused.value)


def test_a_corrupted_checkpoint_leaves_those_before_it(
    tmp_path: Path, make_run: MakeRun, tables: list[pa.Table], read: Read, plain: Plain
) -> None:
    path = tmp_path / "run.parquet"
    ends = make_run(path, tables)
    whole = path.read_bytes()[: ends[-1]]
    for number in range(1, len(ends)):
        broken = bytearray(whole)
        broken[ends[number] - 1] ^= 0x10
        path.write_bytes(broken)
        run = open_run(path)
        assert run.rows == sum(COUNTS[:number])
        assert run.dropped_bytes == len(whole) - ends[number - 1]
        assert read(run) == first_rows(plain(tables), run.rows)


def test_blocks_that_never_reached_the_disk_are_left_out(
    tmp_path: Path, make_run: MakeRun, tables: list[pa.Table], read: Read, plain: Plain
) -> None:
    """After a power cut a file can have its size, its last blocks, and zeros before them."""
    path = tmp_path / "run.parquet"
    ends = make_run(path, tables)
    broken = bytearray(path.read_bytes()[: ends[-1]])
    broken[ends[2] + 100 : ends[2] + 612] = bytes(512)
    path.write_bytes(broken)
    run = open_run(path)
    assert run.rows == sum(COUNTS[:3])
    assert read(run) == first_rows(plain(tables), run.rows)


def test_a_damaged_footer_costs_no_rows(
    tmp_path: Path, make_run: MakeRun, tables: list[pa.Table], read: Read, plain: Plain
) -> None:
    path = tmp_path / "run.parquet"
    make_run(path, tables)
    whole = path.read_bytes()
    broken = bytearray(whole)
    broken[-300:-8] = bytes(292)
    path.write_bytes(broken)
    run = open_run(path)
    assert run.cut_short
    assert read(run) == plain(tables)


def test_the_copy_for_duckdb_is_made_once_and_goes_with_close(
    tmp_path: Path,
    make_run: MakeRun,
    tables: list[pa.Table],
    monkeypatch: pytest.MonkeyPatch,
    connection: DuckDBPyConnection,
) -> None:
    room = tmp_path / "room"
    room.mkdir()
    monkeypatch.setenv("TMPDIR", str(room))
    path = tmp_path / "run.parquet"
    ends = make_run(path, tables)
    os.truncate(path, ends[3])
    open_files = Path("/proc/self/fd")
    before = len(list(open_files.iterdir()))
    with open_run(path) as run:
        relation = run.relation(connection, ["event", "count"])
        assert relation.aggregate("count(*)").fetchall() == [(sum(COUNTS[:4]),)]
        assert relation.aggregate("count(*)").fetchall() == [(sum(COUNTS[:4]),)]
        assert run.relation(connection).aggregate("count(*)").fetchall() == [(sum(COUNTS[:4]),)]
        assert len(list(open_files.iterdir())) == before + 1
        assert list(room.iterdir()) == []
    assert len(list(open_files.iterdir())) == before


def test_no_room_for_the_copy_is_a_sentence(
    tmp_path: Path,
    make_run: MakeRun,
    tables: list[pa.Table],
    monkeypatch: pytest.MonkeyPatch,
    connection: DuckDBPyConnection,
) -> None:
    monkeypatch.setenv("TMPDIR", str(tmp_path / "absent"))
    path = tmp_path / "run.parquet"
    os.truncate(path, make_run(path, tables)[0])
    with pytest.raises(MemtraceError, match="set TMPDIR"):
        open_run(path).relation(connection)


WRITER = """
import sys, time
from pathlib import Path
sys.path.insert(0, sys.argv[2])
from conftest import rows
from memtrace.traces.run import RunHeader, RunStatus
from memtrace.traces.writer import RunWriter

tables = [rows(300, seed) for seed in range(5)]
writer = RunWriter(Path(sys.argv[1]), RunHeader("0", ()))
for number in range(10**9):
    writer.write(tables[number % 5])
    writer.checkpoint(RunStatus(False, 0, number))
    print(number, writer.rows, flush=True)
"""


@pytest.mark.parametrize("attempt", range(3))
def test_killed_while_writing_every_finished_checkpoint_opens(
    tmp_path: Path, make_rows: MakeRows, read: Read, plain: Plain, attempt: int
) -> None:
    path = tmp_path / "run.parquet"
    command = [sys.executable, "-c", WRITER, str(path), str(Path(__file__).parent)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as writer:
        assert writer.stdout is not None
        writer.stdout.readline()
        time.sleep(0.2 + 0.0137 * attempt)
        writer.send_signal(signal.SIGKILL)
        said = writer.stdout.read().splitlines()
    number, count = map(int, said[-1].split())
    run = open_run(path)
    # The one after may have been on disk before it could be announced.
    assert run.cut_short
    assert run.status.ended_ns in (number, number + 1)
    assert run.rows == (run.status.ended_ns + 1) * 300 >= count
    expected = plain([make_rows(300, seed) for seed in range(5)])
    everything = read(run)
    for start in range(0, run.rows, 1500):
        got = {name: column[start : start + 1500] for name, column in everything.items()}
        assert got == first_rows(expected, len(got["ts_ns"]))


def test_thousands_of_row_groups_are_recovered(
    tmp_path: Path,
    make_run: MakeRun,
    make_rows: MakeRows,
    read: Read,
    plain: Plain,
    connection: DuckDBPyConnection,
) -> None:
    """More than one segment of metadata, and dictionaries that differ from each row group to the next."""
    path = tmp_path / "run.parquet"
    tables = [make_rows(3, seed, {"comm": [f"task-{seed}"]}) for seed in range(300)]
    os.truncate(path, make_run(path, tables)[-1])
    with open_run(path) as run:
        assert read(run) == plain(tables)
        counted = run.relation(connection).aggregate("count(*), count(DISTINCT comm)").fetchall()
    assert counted == [(900, len({c for t in tables for c in t["comm"].to_pylist()} - {None}))]
