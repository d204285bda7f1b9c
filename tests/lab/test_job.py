# SPDX-License-Identifier: Apache-2.0
"""The folder of a running guest goes with its process, however that ends."""

import os
import tempfile
import time
from pathlib import Path

import pytest

from memtrace.lab import job
from memtrace.lab.spec import GuestSpec


@pytest.fixture(autouse=True)
def own_tmp(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    return tmp_path


def age(folder: Path) -> None:
    long_ago = time.time() - 1000
    os.utime(folder, (long_ago, long_ago))


def test_it_is_removed_on_leaving_and_on_an_error(own_tmp: Path) -> None:
    with pytest.raises(KeyboardInterrupt), job.job_folder() as folder:
        (folder / "file").write_text("x")
        raise KeyboardInterrupt
    assert list(own_tmp.iterdir()) == []


def test_that_of_a_killed_process_goes_with_the_next_guest(own_tmp: Path) -> None:
    orphan = own_tmp / f"{job.PREFIX}orphan"
    orphan.mkdir()
    age(orphan)
    with job.job_folder() as folder:
        assert list(own_tmp.iterdir()) == [folder]


def test_that_of_a_living_guest_stays() -> None:
    with job.job_folder() as living:
        age(living)
        with job.job_folder():
            assert living.exists()


def test_the_guest_sees_its_script_its_files_and_nothing_of_the_host_s(own_tmp: Path) -> None:
    (own_tmp / "tool").write_text("x")
    (own_tmp / "tool").chmod(0o755)
    with job.job_folder() as folder:
        spec = GuestSpec("k", "echo a", files=(own_tmp / "tool",), modules=("kvm_amd",))
        share = job.fill(folder, spec)
        assert (share / "script").read_text() == "echo a\n"
        assert (share / "modules").read_text() == "kvm_amd"
        assert os.access(share / "files" / "tool", os.X_OK)
        assert share != folder


def test_text_that_is_missing_or_no_text_is_still_read(own_tmp: Path) -> None:
    assert job.read(own_tmp / "none") == ""
    (own_tmp / "console").write_bytes(b"a\r\n\xff")
    assert job.read(own_tmp / "console") == "a\n\ufffd"
