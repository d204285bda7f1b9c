# SPDX-License-Identifier: Apache-2.0
"""Sizes are read as QEMU and the kernel write them, and nothing else is guessed."""

import pytest

from memtrace.errors import MemtraceError
from memtrace.lab.sizes import GIB, MIB, parse_size, parse_sizes


@pytest.mark.parametrize(
    ("text", "size"), [("0", 0), ("512M", 512 * MIB), ("2g", 2 * GIB), ("1GiB", GIB), ("4096", 4096)]
)
def test_sizes(text: str, size: int) -> None:
    assert parse_size(text) == size


def test_one_size_per_node() -> None:
    assert parse_sizes("2G,0,512M") == (2 * GIB, 0, 512 * MIB)


@pytest.mark.parametrize("text", ["", "2X", "-1G", "1.5G", "2G,,"])
def test_other_text_is_refused_in_a_sentence(text: str) -> None:
    with pytest.raises(MemtraceError, match="is not a memory size"):
        parse_sizes(text)
