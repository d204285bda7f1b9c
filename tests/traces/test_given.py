# SPDX-License-Identifier: Apache-2.0
"""What may not be looked at is nothing, and who opens it says why."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from memtrace.traces.given import is_folder, is_there

NOBODY = 65534


@pytest.fixture
def reachable() -> Iterator[Path]:
    """A folder that everybody may go into, as those of pytest are not."""
    with tempfile.TemporaryDirectory() as name:
        Path(name).chmod(0o755)
        yield Path(name)


def test_a_file_and_a_folder(tmp_path: Path) -> None:
    file = tmp_path / "file"
    file.touch()
    assert (is_folder(tmp_path), is_there(tmp_path)) == (True, True)
    assert (is_folder(file), is_there(file)) == (False, True)
    assert (is_folder(tmp_path / "no"), is_there(tmp_path / "no")) == (False, False)


@pytest.mark.parametrize("name", ["x" * 5000, "a\0b", "file/below"])
def test_what_no_path_can_be_is_nothing(tmp_path: Path, name: str) -> None:
    (tmp_path / "file").touch()
    assert not is_folder(tmp_path / name) and not is_there(str(tmp_path / name))


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become somebody else")
@pytest.mark.parametrize("words", [["report"], ["compare", "--plan", "10%"], ["import", "-o", "/dev/null"]])
def test_in_a_folder_of_somebody_else_it_is_a_sentence(reachable: Path, words: list[str]) -> None:
    closed = reachable / "closed"
    closed.mkdir(mode=0o700)
    (closed / "run.parquet").touch()
    command = [sys.executable, "-m", "memtrace.cli", *words, str(closed / "run.parquet")]
    done = subprocess.run(
        command, capture_output=True, text=True, check=False, user=NOBODY, group=NOBODY, extra_groups=[]
    )
    assert done.returncode in (1, 2, 125), done.stderr
    (line,) = done.stderr.splitlines()
    assert "run.parquet may not be read by you" in line or "Permission denied" in line
