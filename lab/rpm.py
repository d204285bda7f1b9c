# SPDX-License-Identifier: Apache-2.0
"""The header of an .rpm: whose package it is and for which machine.

Format: a lead of 96 bytes, the signatures, the header, the payload.  Signatures and
header are each a count of index entries, a size, the entries (tag, type, offset, count,
big-endian) and the store that the offsets point into (rpm's docs/manual/format_header.md).
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from pathlib import Path

LEAD_MAGIC = b"\xed\xab\xee\xdb"
LEAD_BYTES = 96
HEADER_MAGIC = b"\x8e\xad\xe8"
INTRO_BYTES = 16
ENTRY_BYTES = 16
# More than any kernel package's header, which lists thousands of files.
MOST = 256 << 20

TAG_NAME, TAG_VERSION, TAG_RELEASE, TAG_ARCH, TAG_SOURCERPM = 1000, 1001, 1002, 1022, 1044
STRING = 6


@dataclass(frozen=True)
class Header:
    """What a package calls itself; `arch` is "src" for a source package."""

    name: str
    version: str
    arch: str


def read_header(path: Path) -> Header | None:
    """The header of an .rpm, None where the file is none or is cut short in it.

    Raises OSError where it cannot be read.
    """
    with open(path, "rb") as file:
        if file.read(LEAD_BYTES)[:4] != LEAD_MAGIC:
            return None
        signatures = _section(file.read(INTRO_BYTES))
        if signatures is None:
            return None
        # The signatures end at a multiple of 8 bytes.
        file.seek(sum(signatures) + 7 & ~7, 1)
        sizes = _section(file.read(INTRO_BYTES))
        if sizes is None:
            return None
        index, store = file.read(sizes[0]), file.read(sizes[1])
    texts = _strings(index, store) if len(index) + len(store) == sum(sizes) else {}
    if TAG_NAME not in texts or TAG_ARCH not in texts:
        return None
    version = f"{texts.get(TAG_VERSION, '')}-{texts.get(TAG_RELEASE, '')}"
    return Header(texts[TAG_NAME], version, texts[TAG_ARCH] if TAG_SOURCERPM in texts else "src")


def _section(intro: bytes) -> tuple[int, int] | None:
    """Bytes of the index and of the store."""
    if len(intro) < INTRO_BYTES or intro[:3] != HEADER_MAGIC:
        return None
    count, size = struct.unpack(">II", intro[8:])
    return (count * ENTRY_BYTES, size) if count * ENTRY_BYTES + size < MOST else None


def _strings(index: bytes, store: bytes) -> dict[int, str]:
    texts = {}
    for tag, kind, offset, _ in struct.iter_unpack(">IIII", index):
        end = store.find(b"\0", offset)
        if kind == STRING and end >= 0:
            texts[tag] = store[offset:end].decode(errors="replace")
    return texts
