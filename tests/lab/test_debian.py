# SPDX-License-Identifier: Apache-2.0
"""Packages are found by the pattern of their name, the newest first."""

from collections.abc import Iterator

import pytest

from memtrace.errors import MemtraceError
from memtrace.lab import debian


@pytest.fixture
def apt(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    names = "linux-image-6.1.0-9-amd64 linux-image-6.1.0-47-amd64 linux-image-6.1.0-47-rt-amd64"

    def run_tool(*command: str) -> bytes:
        if command[1] == "pkgnames":
            return names.encode() if names.startswith(command[2]) else b""
        return b"Package: x\nVersion: 6.1.170-1\nSHA256: abc\n"

    debian.newest_package.cache_clear()
    monkeypatch.setattr(debian, "run_tool", run_tool)
    yield
    debian.newest_package.cache_clear()


def test_numbers_are_compared_as_numbers(apt: None) -> None:
    found = debian.newest_package(r"linux-image-6\.1\.0-\d+-amd64")
    assert found == debian.Package("linux-image-6.1.0-47-amd64", "6.1.170-1", "abc")


def test_a_host_whose_apt_does_not_know_it(apt: None) -> None:
    with pytest.raises(MemtraceError, match="apt-get update"):
        debian.newest_package(r"linux-image-9\.9\.\d+-amd64")
