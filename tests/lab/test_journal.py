# SPDX-License-Identifier: Apache-2.0
"""The journal of boots."""

from pathlib import Path

import pytest

from memtrace.lab import journal
from memtrace.lab.journal import Noted


def test_each_boot_is_a_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(journal.JOURNAL, str(tmp_path / "boots"))
    assert journal.read(tmp_path / "boots") == ()
    journal.note("debian-6.12", 12.34)
    journal.note("/with a blank/bzImage", 3)
    assert journal.read(tmp_path / "boots") == (
        Noted("debian-6.12", 12.3),
        Noted("/with a blank/bzImage", 3.0),
    )


def test_without_a_journal_nothing_is_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(journal.JOURNAL, raising=False)
    monkeypatch.chdir(tmp_path)
    journal.note("debian-6.12", 1)
    assert list(tmp_path.iterdir()) == []
