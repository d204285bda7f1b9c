# SPDX-License-Identifier: Apache-2.0
"""``memtrace lab``: what no boot can be made of is refused before one is announced, and leaves nothing."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from memtrace import cli

NAMES = "debian-6.1, debian-6.12, debian-7.3, accept-6.12, accept-7.3"
KERNEL = f"is neither a kernel of the list ({NAMES}) nor a file"
MEMORY = "a guest needs 512M of memory or more, and some of it on node 0"
SIZE = "is not a memory size: write it like 512M or 2G"


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ("run --kernel nope", f"'nope' {KERNEL}"),
        ("run --kernel ./no/bzImage", f"'./no/bzImage' {KERNEL}"),
        ("ab --before debian-6.1 --after nope", f"'nope' {KERNEL}"),
        ("run --kernel debian-6.12 --mem 0", MEMORY),
        ("run --kernel debian-6.12 --mem 0,2G", MEMORY),
        ("run --kernel debian-6.12 --mem 10T,foo", f"'foo' {SIZE}"),
        ("run --kernel debian-6.12 --mem 2G,", f"'' {SIZE}"),
        ("run --kernel debian-6.12 --mem 1073741825", "the memory of each node must be whole MiB"),
        ("run --kernel debian-6.12 -e nonsense", "unknown event 'nonsense'"),
        ("run --kernel debian-6.12 --hotplug 100M@1", "--hotplug 100M@1: the size must be a multiple"),
        ("run --kernel debian-6.12 --hotplug 512M@2", "--hotplug 512M@2: there is no node 2; give --mem"),
        ("run --kernel debian-6.12 --mem 2G --hotplug 512M@1", "--hotplug 512M@1: there is no node 1; 0 as"),
        ("ab --before debian-6.1 --after debian-6.12 --unplug dimm0", "--unplug dimm0: no device is named"),
        ("run --kernel debian-6.12 -e ,", "-e ,: give words with commas between them"),
    ],
)
def test_it_is_status_2_and_one_sentence(
    words: str,
    said: str,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "argv", ["memtrace", "lab", *words.split(), "--boots", "1"])
    assert cli.main() == 2
    out, err = capsys.readouterr()
    assert (out, len(err.splitlines())) == ("", 1)
    assert err.startswith(f"memtrace: {said}")
    assert list(tmp_path.iterdir()) == []
