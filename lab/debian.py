# SPDX-License-Identifier: Apache-2.0
"""Debian packages: their versions in order, and their files unpacked beside the system."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

from memtrace.lab import progress
from memtrace.lab.run import run_tool

Key = tuple[tuple[tuple[int, ...], int], ...]


@dataclass(frozen=True)
class Package:
    """One version of one package; the hash is that of its .deb file."""

    name: str
    version: str
    sha256: str


def version_key(version: str) -> Key:
    """Sorts versions as dpkg does (deb-version(7)), and names with versions in them too.

    Numbers count as numbers; of other characters ~ comes before the end, the end before
    letters, and letters before the rest.
    """
    epoch, colon, rest = version.rpartition(":")
    upstream, _, revision = rest.rpartition("-") if "-" in rest else (rest, "", "0")
    head = ((), int(epoch) if colon and epoch.isdigit() else 0)
    # No character has the order of the end (0), so (0,) parts the two.
    return (head, *_pieces(upstream), ((0, 0), 0), *_pieces(revision))


def _pieces(text: str) -> Key:
    pairs = re.findall(r"(\D*)(\d*)", text)
    return tuple(((*map(_order, word), 0), int(digits or 0)) for word, digits in pairs)


def _order(character: str) -> int:
    if character == "~":
        return -1
    return ord(character) if character.isalpha() else ord(character) + 256


def unpack_file(deb: Path, folder: Path, keep: bool = False) -> None:
    """Unpack a .deb file into the folder, and remove the file unless it is to be kept."""
    with progress.step(f"unpacking {deb.name.split('_')[0]}"):
        run_tool("dpkg-deb", "-x", deb, folder)
    if not keep:
        deb.unlink()
