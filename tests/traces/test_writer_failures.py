# SPDX-License-Identifier: Apache-2.0
"""What the writer leaves when a write fails: every checkpoint, and one sentence."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from memtrace.errors import MemtraceError
from memtrace.tests.traces.conftest import CHECKPOINT, MakeRows, Read, no_space
from memtrace.traces import writer
from memtrace.traces.reader import open_run
from memtrace.traces.run import RunHeader, RunStatus
from memtrace.traces.writer import RunWriter

FILL = """
import sys
from pathlib import Path
sys.path.insert(0, sys.argv[2])
from conftest import rows
from memtrace.errors import MemtraceError
from memtrace.traces.run import RunHeader, RunStatus
from memtrace.traces.writer import RunWriter

path = Path(sys.argv[1])
table = rows(4000)
with RunWriter(path, RunHeader("0", ())) as run:
    while True:
        before = run.rows
        run.write(table)
        try:
            run.checkpoint(RunStatus(False, 0, 1))
        except MemtraceError as error:
            assert (run.rows, run.rows_lost) == (before, len(table))
            assert run.bytes_written == path.stat().st_size
            print(error)
            break
    print(before)
    try:
        run.close(RunStatus(True, 0, 1, stopped_by="disk full"))
    except MemtraceError as error:
        assert path.stat().st_size == run.bytes_written
        print("not closed")
"""


def fill(path: Path, *prefix: str, limit: str = "") -> tuple[str, int, bool]:
    """What a writer said of a disk that filled, its rows up to then, and whether it could close."""
    command = [*prefix, sys.executable, "-c", limit + FILL, str(path), str(Path(__file__).parent)]
    said = subprocess.check_output(command, text=True).splitlines()
    return said[0].replace(str(path), "FILE"), int(said[1]), said[-1] != "not closed"


def check_filled(path: Path, count: int, closed: bool, make_rows: MakeRows, read: Read) -> None:
    run = open_run(path)
    assert run.rows == count > 0
    assert run.cut_short == (not closed)
    assert run.dropped_bytes == 0
    if closed:
        assert run.status.stopped_by == "disk full"
    everything = read(run)
    expected = {name: make_rows(4000)[name].to_pylist() for name in everything}
    for start in range(0, count, 4000):
        assert {n: c[start : start + 4000] for n, c in everything.items()} == expected


@pytest.mark.parametrize("room", [700_000, 750_000, 799_999])
def test_a_file_size_limit_leaves_what_was_checkpointed(
    tmp_path: Path, make_rows: MakeRows, read: Read, room: int
) -> None:
    path = tmp_path / "run.parquet"
    limit = f"import resource; resource.setrlimit(resource.RLIMIT_FSIZE, ({room}, {room}))\n"
    said, count, closed = fill(path, limit=limit)
    assert said == "cannot write FILE (File too large); free some space or give another output with -o"
    check_filled(path, count, closed, make_rows, read)


@pytest.mark.skipif(
    os.geteuid() != 0 or not shutil.which("unshare"), reason="mounts a small tmpfs: needs root"
)
def test_a_full_disk_leaves_what_was_checkpointed(tmp_path: Path, make_rows: MakeRows, read: Read) -> None:
    """On a tmpfs of 1 MB, in a mount namespace that ends with the writer; what it left is copied out."""
    disk = tmp_path / "disk"
    disk.mkdir()
    shell = (
        'mount -t tmpfs -o size=1m memtrace-test "$1" || exit 77; folder=$1; out=$2; shift 2; '
        '"$@"; status=$?; cp "$folder"/run.parquet "$out"; exit $status'
    )
    out = tmp_path / "out.parquet"
    prefix = ["unshare", "-m", "sh", "-c", shell, "sh", str(disk), str(out)]
    try:
        said, count, closed = fill(disk / "run.parquet", *prefix)
    except subprocess.CalledProcessError as error:
        if error.returncode == 77:
            pytest.skip("mounts are not allowed here")
        raise
    assert (
        said == "cannot write FILE (No space left on device); free some space or give another output with -o"
    )
    check_filled(out, count, closed, make_rows, read)
    assert list(disk.iterdir()) == []


def test_rows_that_did_not_fit_do_not_cost_the_footer(
    tmp_path: Path, header: RunHeader, status: RunStatus, make_rows: MakeRows, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The last rows are too much for the disk; without them there is room to close."""
    path = tmp_path / "run.parquet"
    real = os.pwrite

    def small_disk(fd: int, data: memoryview, position: int) -> int:
        if len(data) > 100_000:
            raise OSError(28, "No space left on device")
        return real(fd, data, position)

    monkeypatch.setattr(os, "pwrite", small_disk)
    with RunWriter(path, header) as run:
        run.write(make_rows(100))
        run.checkpoint(CHECKPOINT)
        run.write(make_rows(50_000))
        with pytest.raises(MemtraceError, match="No space left"):
            run.close(status)
        assert (run.rows, run.rows_lost) == (100, 50_000)
    opened = open_run(path)
    assert (opened.rows, opened.cut_short, opened.status.complete) == (100, False, False)


def test_the_header_stays_when_the_first_rows_do_not_fit(
    tmp_path: Path, header: RunHeader, status: RunStatus, make_rows: MakeRows, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(writer, "MAX_ROW_GROUP", 1000)
    path = tmp_path / "run.parquet"
    with RunWriter(path, header) as run:
        with monkeypatch.context() as full:
            full.setattr(os, "pwrite", no_space)
            with pytest.raises(MemtraceError, match="No space left"):
                run.write(make_rows(3500))
        assert (run.rows, run.rows_lost) == (0, 1000)
        run.checkpoint(CHECKPOINT)
        assert open_run(path).rows == 2500
        with monkeypatch.context() as full:
            full.setattr(os, "pwrite", no_space)
            with pytest.raises(MemtraceError, match="No space left"):
                run.write(make_rows(3500))
            with pytest.raises(MemtraceError, match="No space left"):
                run.close(status)
        assert (run.rows, run.rows_lost) == (2500, 4500)
    assert open_run(path).rows == 2500


@pytest.mark.parametrize("nth", range(1, 12))
def test_an_interrupt_in_the_middle_of_a_write_leaves_a_run_that_can_go_on(
    tmp_path: Path,
    header: RunHeader,
    status: RunStatus,
    make_rows: MakeRows,
    read: Read,
    monkeypatch: pytest.MonkeyPatch,
    nth: int,
) -> None:
    path = tmp_path / "run.parquet"
    real = os.pwrite
    calls = 0

    def interrupted(fd: int, data: memoryview, position: int) -> int:
        nonlocal calls
        calls += 1
        if calls == nth:
            real(fd, data[: len(data) // 2], position)
            raise KeyboardInterrupt
        return real(fd, data, position)

    with RunWriter(path, header) as run:
        run.write(make_rows(30, 0))
        run.checkpoint(CHECKPOINT)
        monkeypatch.setattr(os, "pwrite", interrupted)
        kept = [0]
        for seed in range(1, 5):
            run.write(make_rows(30, seed))
            try:
                run.checkpoint(CHECKPOINT)
                kept.append(seed)
            except KeyboardInterrupt:
                assert open_run(path).rows == 30 * len(kept)
        run.close(status)
        assert calls > nth
        assert run.rows_lost == 150 - run.rows == 30 * (5 - len(kept))
    opened = open_run(path)
    assert not opened.cut_short
    assert read(opened)["ts_ns"] == [t for s in kept for t in make_rows(30, s)["ts_ns"].to_pylist()]
