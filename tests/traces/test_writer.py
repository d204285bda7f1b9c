# SPDX-License-Identifier: Apache-2.0
"""What the writer promises: no earlier data lost, no half-written rows, one sentence when it fails."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest

from memtrace.errors import MemtraceError
from memtrace.traces import writer
from memtrace.traces.reader import open_run
from memtrace.traces.run import RunStatus
from memtrace.traces.schema import arrow_schema
from memtrace.traces.writer import RunWriter

CHECKPOINT = RunStatus(complete=False, started_ns=1, ended_ns=2)


def no_space(*_: object) -> int:
    raise OSError(28, "No space left on device")


def refusal(path: Path, header, **options: bool) -> str:
    with pytest.raises(MemtraceError) as refused:
        RunWriter(path, header, **options)
    assert "\n" not in str(refused.value)
    return str(refused.value).replace(str(path), "FILE")


# Rows


def test_rows_of_many_writes_become_one_row_group_a_checkpoint(
    tmp_path: Path, header, status, make_rows, read, plain
) -> None:
    tables = [make_rows(100, seed, {"comm": [f"task {seed}", "shared"]}) for seed in range(6)]
    path = tmp_path / "run.parquet"
    with RunWriter(path, header) as run:
        for table in tables[:4]:
            run.write(table)
        assert (run.rows, run.rows_lost) == (0, 0)
        run.checkpoint(CHECKPOINT)
        assert (run.rows, run.bytes_written) == (400, path.stat().st_size)
        run.write(tables[4])
        run.write(tables[5])
        run.close(status)
        assert (run.rows, run.rows_lost, run.bytes_written) == (600, 0, path.stat().st_size)
    assert pq.read_metadata(path).num_row_groups == 2
    assert read(open_run(path)) == plain(tables)


def test_more_than_a_million_rows_are_cut_into_row_groups(
    tmp_path: Path, header, status, monkeypatch: pytest.MonkeyPatch, make_rows, read, plain
) -> None:
    assert writer.MAX_ROW_GROUP == 1_000_000
    monkeypatch.setattr(writer, "MAX_ROW_GROUP", 1000)
    tables = [make_rows(count, count) for count in (999, 2, 3500, 0, 1)]
    path = tmp_path / "run.parquet"
    with RunWriter(path, header) as run:
        for table in tables:
            run.write(table)
        assert run.rows == 4000
        run.close(status)
    metadata = pq.read_metadata(path)
    assert [metadata.row_group(i).num_rows for i in range(metadata.num_row_groups)] == [1000] * 4 + [502]
    assert read(open_run(path)) == plain(tables)


def test_a_run_without_rows_is_a_run(tmp_path: Path, header, status, make_rows) -> None:
    path = tmp_path / "run.parquet"
    with RunWriter(path, header) as run:
        run.write(make_rows(0))
        run.checkpoint(CHECKPOINT)
        run.close(status)
    opened = open_run(path)
    assert (opened.rows, list(opened.batches()), opened.status.complete) == (0, [], True)
    assert pq.read_table(path).schema.names == arrow_schema().names


def test_the_writer_states_rows_and_completeness_itself(tmp_path: Path, header, make_rows) -> None:
    path = tmp_path / "run.parquet"
    with RunWriter(path, header) as run:
        run.write(make_rows(5))
        run.checkpoint(RunStatus(complete=True, started_ns=1, ended_ns=2, rows=99))
    opened = open_run(path)
    assert (opened.cut_short, opened.status.complete, opened.status.rows) == (True, False, 5)


def test_other_columns_or_nulls_where_none_may_be_are_refused_at_once(
    tmp_path: Path, header, status, make_rows
) -> None:
    table = make_rows(10)
    with RunWriter(tmp_path / "run.parquet", header) as run:
        for wrong in (table.drop_columns("gfp"), table.select(table.column_names[::-1])):
            with pytest.raises(ValueError, match="columns"):
                run.write(wrong)
        gap = table.set_column(0, arrow_schema().field("ts_ns"), pa.array([None] * 10, pa.int64()))
        with pytest.raises(ValueError, match="nulls in ts_ns"):
            run.write(gap)
        run.write(table)
        run.close(status)
        assert run.rows == 10


def test_a_dictionary_that_grows_is_not_stored_again_and_again(
    tmp_path: Path, header, status, make_rows, read, plain
) -> None:
    """Each table carries all 20,000 stacks seen so far and uses two of them."""
    stacks = [";".join(f"function_{(i * 7 + j) % 9973}" for j in range(20)) for i in range(20_000)]
    base = make_rows(50)
    index = base.column_names.index("stack")
    tables = []
    for number in range(10):
        codes = pa.array([None, number, 19_999 - number] * 16 + [number] * 2, pa.int32())
        column = pa.DictionaryArray.from_arrays(codes, pa.array(stacks))
        tables.append(base.set_column(index, arrow_schema().field("stack"), column))
    path = tmp_path / "run.parquet"
    with RunWriter(path, header) as run:
        for table in tables:
            run.write(table)
            run.checkpoint(CHECKPOINT)
        run.close(status)
        assert run.bytes_written < 200_000
    assert read(open_run(path)) == plain(tables)


def test_a_checkpoint_can_wait_for_the_disk(
    tmp_path: Path, header, make_rows, monkeypatch: pytest.MonkeyPatch
) -> None:
    synced = []
    real = os.fsync
    monkeypatch.setattr(os, "fsync", lambda fd: (synced.append(os.fstat(fd).st_size), real(fd)))
    with RunWriter(tmp_path / "run.parquet", header) as run:
        run.write(make_rows(10))
        run.checkpoint(CHECKPOINT)
        assert synced == []
        run.checkpoint(CHECKPOINT, fsync=True)
        assert synced == [run.bytes_written]


def test_values_survive_in_their_full_range(tmp_path: Path, header, status, make_rows) -> None:
    table = make_rows(4)
    extremes = {
        "ts_ns": [0, 1, (1 << 63) - 1, 5],
        "pfn": [(1 << 52) - 1, 0, None, 7],
        "gfp": [0xFFFFFFFF, 0, None, 1],
        "nid": [-1, 0, 1023, None],
        "order": [0, -1, None, 18],
        "total_ns": [(1 << 63) - 1, 0, None, 1],
    }
    for name, numbers in extremes.items():
        field = arrow_schema().field(name)
        table = table.set_column(table.column_names.index(name), field, pa.array(numbers, field.type))
    path = tmp_path / "run.parquet"
    with RunWriter(path, header) as run:
        run.write(table)
        run.close(status)
    got = pq.read_table(path)
    assert {name: got[name].to_pylist() for name in extremes} == extremes
    assert pc.max(got["gfp"]).as_py() == 0xFFFFFFFF


# Outputs


def test_an_existing_file_is_kept_unless_told_otherwise(
    tmp_path: Path, header, status, make_run, make_rows
) -> None:
    path = tmp_path / "run.parquet"
    path.write_text("precious")
    assert refusal(path, header) == "FILE exists; add -f to overwrite it, or give another name with -o"
    assert path.read_text() == "precious"
    with RunWriter(path, header, overwrite=True) as run:
        run.close(status)
    assert open_run(path).rows == 0
    assert [p.name for p in tmp_path.iterdir()] == ["run.parquet"]


def test_overwriting_keeps_the_earlier_file_until_the_new_one_has_its_header(
    tmp_path: Path, header, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "run.parquet"
    path.write_text("precious")
    monkeypatch.setattr(os, "pwrite", no_space)
    assert "No space left" in refusal(path, header, overwrite=True)
    assert path.read_text() == "precious"
    assert [p.name for p in tmp_path.iterdir()] == ["run.parquet"]
    path.unlink()
    assert "No space left" in refusal(path, header)
    assert list(tmp_path.iterdir()) == []


def test_the_header_is_on_disk_before_the_earlier_file_goes(
    tmp_path: Path, header, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "run.parquet"
    path.write_text("precious")
    seen = []
    real = os.fsync

    def fsync(fd: int) -> None:
        real(fd)
        seen.append(path.read_text())

    monkeypatch.setattr(os, "fsync", fsync)
    with RunWriter(path, header, overwrite=True):
        assert seen == ["precious"]
        assert path.read_bytes().startswith(b"PAR1MTRC")


@pytest.mark.parametrize("overwrite", [False, True])
def test_a_link_is_neither_followed_nor_replaced(tmp_path: Path, header, overwrite: bool) -> None:
    link = tmp_path / "link.parquet"
    for target in ("absent.parquet", "there.parquet"):
        link.symlink_to(target)
        (tmp_path / "there.parquet").write_text("precious")
        assert "FILE is a symbolic link, which is not followed" in refusal(link, header, overwrite=overwrite)
        assert str(link.readlink()) == target
        assert not (tmp_path / "absent.parquet").exists()
        assert (tmp_path / "there.parquet").read_text() == "precious"
        link.unlink()


def test_a_run_that_was_deleted_while_it_was_written_is_saved(
    tmp_path: Path, header, status, make_rows
) -> None:
    """With enough row groups that it is rewritten at the end."""
    path = tmp_path / "run.parquet"
    with RunWriter(path, header) as run:
        for seed in range(70):
            run.write(make_rows(3, seed))
            run.checkpoint(CHECKPOINT)
        path.unlink()
        with pytest.raises(MemtraceError, match="was deleted while it was written; its content is saved as"):
            run.close(status)
    assert [p.name for p in tmp_path.iterdir()] == ["run.saved-1.parquet"]
    opened = open_run(tmp_path / "run.saved-1.parquet")
    assert (opened.rows, opened.whole) == (210, True)


@pytest.mark.parametrize("overwrite", [False, True])
def test_outputs_that_cannot_be(tmp_path: Path, header, overwrite: bool) -> None:
    def said(path: Path) -> str:
        return refusal(path, header, overwrite=overwrite)

    (tmp_path / "text").write_text("x")
    assert said(tmp_path) == "FILE is a folder; give the name of a file to write with -o"
    assert "does not exist; make it" in said(tmp_path / "absent" / "run.parquet")
    assert "is not a folder" in said(tmp_path / "text" / "run.parquet")
    assert "too long" in said(tmp_path / ("x" * 300))
    assert "not a regular file" in said(Path("/dev/null"))
    assert Path("/dev/null").is_char_device()
    os.mkfifo(tmp_path / "fifo")
    assert "not a regular file" in said(tmp_path / "fifo")
    assert sorted(p.name for p in tmp_path.iterdir()) == ["fifo", "text"]


def test_a_folder_closed_to_the_user_is_a_sentence() -> None:
    script = """
import os, sys
from pathlib import Path
import pyarrow.parquet
from memtrace.errors import MemtraceError
from memtrace.traces.run import RunHeader
from memtrace.traces.writer import RunWriter
if os.geteuid() == 0:
    os.seteuid(65534)
for overwrite in (False, True):
    try:
        RunWriter(Path(sys.argv[1]), RunHeader("0", ()), overwrite=overwrite)
    except MemtraceError as error:
        print(error)
"""
    with tempfile.TemporaryDirectory() as folder:
        Path(folder).chmod(0o555)
        path = Path(folder) / "run.parquet"
        said = subprocess.check_output([sys.executable, "-c", script, str(path)], text=True)
    assert said == f"{path} may not be written by you; give another output with -o\n" * 2


# Failures

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


def check_filled(path: Path, count: int, closed: bool, make_rows, read) -> None:
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
def test_a_file_size_limit_leaves_what_was_checkpointed(tmp_path: Path, make_rows, read, room: int) -> None:
    path = tmp_path / "run.parquet"
    limit = f"import resource; resource.setrlimit(resource.RLIMIT_FSIZE, ({room}, {room}))\n"
    said, count, closed = fill(path, limit=limit)
    assert said == "cannot write FILE (File too large); free some space or give another output with -o"
    check_filled(path, count, closed, make_rows, read)


@pytest.mark.skipif(
    os.geteuid() != 0 or not shutil.which("unshare"), reason="mounts a small tmpfs: needs root"
)
def test_a_full_disk_leaves_what_was_checkpointed(tmp_path: Path, make_rows, read) -> None:
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
    tmp_path: Path, header, status, make_rows, monkeypatch: pytest.MonkeyPatch
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
    tmp_path: Path, header, status, make_rows, monkeypatch: pytest.MonkeyPatch
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
    tmp_path: Path, header, status, make_rows, read, monkeypatch: pytest.MonkeyPatch, nth: int
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
