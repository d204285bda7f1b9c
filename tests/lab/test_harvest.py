# SPDX-License-Identifier: Apache-2.0
"""What a guest leaves: its words whatever they are, its files but nothing that leads out of them."""

from __future__ import annotations

import os
import socket
from pathlib import Path

import pytest

from memtrace.errors import MemtraceError
from memtrace.lab.harvest import how_it_ended, keep, last_words, take_run


@pytest.fixture
def left(tmp_path: Path) -> Path:
    """The folder that a guest shares."""
    (tmp_path / "scratch" / "files").mkdir(parents=True)
    (tmp_path / "runs").mkdir()
    return tmp_path / "scratch"


@pytest.fixture
def final(tmp_path: Path) -> Path:
    return tmp_path / "runs" / "boot-001.parquet"


def beside(final: Path) -> set[str]:
    return {path.name for path in final.parent.iterdir()}


def test_words_and_files_stand_beside_the_run(left: Path, final: Path) -> None:
    (left / "stdout").write_bytes(b"answer\n")
    (left / "stderr").write_bytes(b"")
    (left / "known.json").write_text("[]")
    (left / "run.parquet").write_bytes(b"run")
    (left / "files" / "deep").mkdir()
    (left / "files" / "deep" / "data").write_bytes(b"\0\1")
    kept = keep(left, final)
    take_run(left, final)
    assert beside(final) == {
        "boot-001.out", "boot-001.known.json", "boot-001.files", "boot-001.parquet",
    }  # fmt: skip
    assert (final.parent / "boot-001.files" / "deep" / "data").read_bytes() == b"\0\1"
    assert kept.note == ""


def test_nothing_is_left_of_an_earlier_try(left: Path, final: Path) -> None:
    (final.parent / "boot-001.files").mkdir()
    (final.parent / "boot-001.files" / "old").touch()
    (final.parent / "boot-001.err").write_text("old")
    keep(left, final)
    assert beside(final) == set()


def test_nothing_leads_out_of_the_folder(left: Path, final: Path, tmp_path: Path) -> None:
    secret = tmp_path / "secret"
    secret.write_text("secret")
    secret.chmod(0o600)
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "file").touch()
    files = left / "files"
    (files / "link").symlink_to(secret)
    (files / "folder").symlink_to(outside)
    os.mkfifo(files / "pipe")
    with socket.socket(socket.AF_UNIX) as end:
        end.bind(os.path.relpath(files / "socket"))
    (files / "program").write_text("")
    (files / "program").chmod(0o6755)
    (files / "hidden").mkdir(mode=0)
    (left / "stdout").symlink_to(secret)
    (left / "run.parquet").symlink_to(secret)
    kept = keep(left, final)
    assert kept.words == {}
    assert kept.note.startswith("of $RESULTS only files and folders are kept, not ")
    assert "2 symbolic links" in kept.note
    assert kept.left_out == {"symbolic link": 2, "FIFO": 1, "socket": 1}
    kept_files = final.with_suffix(".files")
    assert {path.name for path in kept_files.iterdir()} == {"program", "hidden"}
    assert (kept_files / "program").stat().st_mode & 0o7777 == 0o700
    assert (kept_files / "hidden").stat().st_mode & 0o7777 == 0o700
    assert secret.stat().st_mode & 0o777 == 0o600
    assert (outside / "file").exists()
    with pytest.raises(MemtraceError, match="left no run file"):
        take_run(left, final)


def test_a_link_in_the_place_of_the_folder_is_not_followed(left: Path, final: Path, tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "file").touch()
    (left / "files").rmdir()
    (left / "files").symlink_to(outside)
    keep(left, final)
    assert beside(final) == set()
    assert (outside / "file").exists()


def test_last_words_are_those_of_both_streams(left: Path, final: Path) -> None:
    (left / "stdout").write_bytes(b"".join(b"line %d\n" % i for i in range(100)))
    (left / "stderr").write_bytes(b"\x1b[31mbad \xff\0\n")
    said = last_words(keep(left, final), "")
    assert f"last words on stdout, all of it in {final.with_suffix('.out')}:\n  line 88\n" in said
    assert "line 87" not in said
    assert said.endswith("boot-001.err:\n  \\x1b[31mbad \\xff\\x00")


def test_no_words_are_told_too(left: Path, final: Path) -> None:
    (left / "stdout").write_bytes(b"")
    assert last_words(keep(left, final), "\n") == "it printed nothing"
    assert last_words(keep(left, final), "bash: no\n") == "last words on its console:\n  bash: no"


def test_a_signal_is_named() -> None:
    assert [how_it_ended(n) for n in (1, 139, 255)] == ["status 1", "status 139 (SIGSEGV)", "status 255"]
