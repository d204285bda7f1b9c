# SPDX-License-Identifier: Apache-2.0
"""Programs that are kept are found again, and what others could have written is not loaded."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from memtrace.probes.programs import kept
from memtrace.probes.programs.compiled import Compiled, MapSpec, Program, Slot

MADE = Compiled(
    digest="d" * 64,
    made_by="BCC 0.26.0",
    made_for="6.12.117: alloc",
    values=("MT_TAIL_NS",),
    maps=(MapSpec("mt_conf", 2, 4, 24, 1, 0), MapSpec("mt_rings", 12, 4, 4, 1, 0, "mt_conf")),
    programs=(Program("mt_alloc_fentry", "00" * 24, (Slot(0, 1),), (Slot(1, 0),)),),
)


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    made = tmp_path / "programs"
    monkeypatch.setenv(kept.FOLDER, str(made))
    return made


@pytest.fixture
def file(folder: Path) -> Path:
    path = kept.keep(MADE)
    assert path is not None and path.parent == folder
    return path


def test_what_was_kept_is_found_as_it_was(file: Path) -> None:
    assert kept.find(MADE.digest) == MADE
    assert file.stat().st_mode & 0o777 == 0o600
    assert file.parent.stat().st_mode & 0o777 == 0o700
    assert [path.name for path in file.parent.iterdir()] == [file.name]
    assert kept.find("e" * 64) is None


def test_a_file_that_was_cut_or_edited_is_not_loaded(file: Path) -> None:
    whole = file.read_bytes()
    for damaged in (whole[:-1], whole[:40], b"", whole.replace(b"mt_conf", b"mt_cone")):
        file.write_bytes(damaged)
        assert kept.find(MADE.digest) is None


@pytest.mark.parametrize(
    "change",
    [
        {"code": "zz" * 24},
        {"code": "00" * 23},
        {"maps": (Slot(2, 1),)},
        {"maps": (Slot(0, 2),)},
        {"values": (Slot(-1, 0),)},
    ],
)
def test_what_refers_to_what_is_not_there_is_not_loaded(folder: Path, change: dict[str, Any]) -> None:
    wrong = dataclasses.replace(MADE, programs=(dataclasses.replace(MADE.programs[0], **change),))
    kept.keep(wrong)
    assert kept.find(MADE.digest) is None
    assert [one.why for one in kept.stored()] == ["its parts don't fit together"]


def test_a_digest_that_is_a_path_is_no_name_for_a_file() -> None:
    with pytest.raises(ValueError, match="fit together"):
        kept.decoded(kept.encoded(dataclasses.replace(MADE, digest="../" * 21 + "x")))


def test_a_file_under_another_name_is_not_loaded(file: Path) -> None:
    other = "e" * 64
    file.rename(file.with_name(file.name.replace(MADE.digest, other)))
    assert kept.find(other) is None


@pytest.mark.parametrize("what", ["file", "folder"])
@pytest.mark.parametrize("mode", [0o020, 0o002])
def test_what_others_can_write_is_not_loaded(file: Path, what: str, mode: int) -> None:
    target = file if what == "file" else file.parent
    target.chmod(target.stat().st_mode | mode)
    assert kept.find(MADE.digest) is None


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root, to give a file away")
@pytest.mark.parametrize("what", ["file", "folder"])
def test_what_another_user_owns_is_not_loaded(file: Path, what: str) -> None:
    os.chown(file if what == "file" else file.parent, 65534, 65534)
    assert kept.find(MADE.digest) is None


def test_a_symbolic_link_is_not_followed(file: Path, tmp_path: Path) -> None:
    moved = tmp_path / "elsewhere"
    file.rename(moved)
    file.symlink_to(moved)
    assert kept.find(MADE.digest) is None


def test_a_folder_that_cannot_be_made_keeps_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").touch()
    monkeypatch.setenv(kept.FOLDER, str(tmp_path / "file" / "below"))
    assert kept.keep(MADE) is None
    assert kept.find(MADE.digest) is None


def test_all_that_lies_there_is_listed_with_why_it_would_not_be_loaded(file: Path) -> None:
    (file.parent / "cut.programs").write_bytes(file.read_bytes()[:-9])
    (file.parent / "notes").write_text("no programs")
    first, second = sorted(kept.stored(), key=lambda one: one.path.name)
    assert (first.path.name, first.compiled, first.why) == ("cut.programs", None, "it was cut or edited")
    assert (second.path, second.compiled, second.why) == (file, MADE, "")


@pytest.mark.parametrize("make", [os.mkdir, os.mkfifo])
def test_what_is_no_file_is_neither_opened_for_long_nor_in_the_way(
    folder: Path, make: Callable[[Path], None]
) -> None:
    folder.mkdir(mode=0o700)
    make(folder / f"{MADE.digest}.programs")
    assert kept.find(MADE.digest) is None
    assert [(one.compiled, one.why) for one in kept.stored()] == [(None, "it is not a regular file")]
    for number in range(kept.MOST):
        assert kept.keep(dataclasses.replace(MADE, digest=f"{number:064x}")) is not None


def test_old_programs_make_room_for_new_ones(folder: Path) -> None:
    for number in range(kept.MOST + 3):
        path = kept.keep(dataclasses.replace(MADE, digest=f"{number:064x}"))
        assert path is not None
        os.utime(path, (number, number))
    assert len(list(folder.iterdir())) == kept.MOST
    assert kept.find(f"{2:064x}") is None and kept.find(f"{kept.MOST + 2:064x}") is not None
