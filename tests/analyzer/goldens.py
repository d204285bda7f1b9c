# SPDX-License-Identifier: Apache-2.0
"""Golden outputs: compared letter by letter, written anew with MEMTRACE_RENEW_GOLDEN=1."""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path

RENEW = "MEMTRACE_RENEW_GOLDEN"


def as_it_was(golden: Path, text: str) -> None:
    """Asserts that ``text`` is what the file has."""
    if os.environ.get(RENEW):
        golden.parent.mkdir(exist_ok=True)
        golden.write_text(text)
    assert golden.exists() and text == golden.read_text(), (
        f"{golden.name} differs; if it should: {RENEW}=1 pytest tests/analyzer, and read the difference"
    )


def none_left_over(folder: Path, wanted: Iterable[str]) -> None:
    """Asserts that the folder has the wanted files and no others."""
    assert {path.name for path in folder.iterdir()} == set(wanted)


def fits_mail(golden: Path) -> None:
    """Asserts that a page can be pasted into mail."""
    text = golden.read_text()
    assert text.isascii()
    assert max(len(line) for line in text.splitlines()) < 80
    assert not any(line != line.rstrip() for line in text.splitlines())
