# SPDX-License-Identifier: Apache-2.0
"""Where the writer writes: no earlier data lost, and one sentence where it cannot."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

from memtrace.errors import MemtraceError
from memtrace.tests.traces.conftest import CHECKPOINT, MakeRows, MakeRun, no_space
from memtrace.traces.reader import open_run
from memtrace.traces.run import RunHeader, RunStatus
from memtrace.traces.writer import RunWriter


def refusal(path: Path, header: RunHeader, **options: bool) -> str:
    with pytest.raises(MemtraceError) as refused:
        RunWriter(path, header, **options)
    assert "\n" not in str(refused.value)
    return str(refused.value).replace(str(path), "FILE")


def test_an_existing_file_is_kept_unless_told_otherwise(
    tmp_path: Path, header: RunHeader, status: RunStatus, make_run: MakeRun, make_rows: MakeRows
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
    tmp_path: Path, header: RunHeader, monkeypatch: pytest.MonkeyPatch
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
    tmp_path: Path, header: RunHeader, monkeypatch: pytest.MonkeyPatch
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
def test_a_link_is_neither_followed_nor_replaced(tmp_path: Path, header: RunHeader, overwrite: bool) -> None:
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
    tmp_path: Path, header: RunHeader, status: RunStatus, make_rows: MakeRows
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
def test_outputs_that_cannot_be(tmp_path: Path, header: RunHeader, overwrite: bool) -> None:
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
