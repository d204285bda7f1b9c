# SPDX-License-Identifier: Apache-2.0
"""The records of a run file: what lets it be opened when it was never closed.

A run file is ``PAR1``, then records one after the other, then (once closed) an
ordinary parquet footer.  Parquet readers find row groups by the offsets in the
footer and never look at what lies between them.

A record is a fixed header, a body and a meta part:

=======  ======================  =============================================
kind     body                    meta
=======  ======================  =============================================
START    empty                   parquet FileMetaData of the run without rows
ROWS     pages of one row group  its parquet RowGroup, offsets as in this file
STATUS   empty                   RunStatus as JSON; it ends a *checkpoint*
=======  ======================  =============================================

The metas of START and STATUS are deflated (zlib).  Each part has a CRC-32, so
that blocks which never reached the disk are told from those that did.
SCHEMA.md gives the layout byte by byte.
"""

from __future__ import annotations

import os
import struct
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from enum import IntEnum

from memtrace.traces.gate import Refused

PARQUET_MAGIC = b"PAR1"
RECORD_MAGIC = b"MTRC"

# Magic, kind, 3 zero bytes, sequence number, length of the meta, of the body,
# rows in the body, CRC-32 of the body, of the meta, of the header before it.
_HEADER = struct.Struct("<4sB3xIIQQIII")
HEADER_SIZE = _HEADER.size
_CHUNK = 1 << 22
MAX_META = 64 << 20
"""Bytes of a meta, inflated.  A document may have half of it (traces/gate.py)."""
MAX_ROWS = 1 << 40
"""Of a run; what claims more is damaged."""


class Kind(IntEnum):
    """What a record holds."""

    START = 0
    ROWS = 1
    STATUS = 2


@dataclass(frozen=True)
class Record:
    """One intact record: ``rows`` in its body, its inflated ``meta``, the file offset of its ``end``."""

    kind: Kind
    rows: int
    meta: bytes
    end: int


def pack(
    kind: Kind, sequence: int, meta: bytes, body: bytes | memoryview = b"", rows: int = 0
) -> list[bytes | memoryview]:
    """The parts of a record, to be written one after the other."""
    if kind is not Kind.ROWS:
        meta = zlib.compress(meta, 1)
    crcs = zlib.crc32(body), zlib.crc32(meta)
    fixed = _HEADER.pack(RECORD_MAGIC, kind, sequence, len(meta), len(body), rows, *crcs, 0)[:-4]
    return [fixed + zlib.crc32(fixed).to_bytes(4, "little"), body, meta]


def scan(fd: int, *, check_bodies: bool = True) -> Iterator[Record]:
    """The intact records of a run file, from its start up to the first that is not.

    ``check_bodies`` reads the pages too and holds them against their CRC.
    """
    pos = len(PARQUET_MAGIC)
    sequence = 0
    while record := _record_at(fd, pos, sequence, check_bodies):
        yield record
        pos = record.end
        sequence += 1


def _record_at(fd: int, pos: int, sequence: int, check_body: bool) -> Record | None:
    head = os.pread(fd, HEADER_SIZE, pos)
    if len(head) < HEADER_SIZE:
        return None
    magic, kind, number, meta_size, body_size, rows, body_crc, meta_crc, crc = _HEADER.unpack(head)
    if magic != RECORD_MAGIC or zlib.crc32(head[:-4]) != crc or number != sequence or kind not in list(Kind):
        return None
    body_start = pos + HEADER_SIZE
    meta_start = body_start + body_size
    end = meta_start + meta_size
    # Lengths are the file's word: nothing is read or allocated by them that is not in the file.
    if end > os.fstat(fd).st_size or meta_size > MAX_META or rows > MAX_ROWS:
        return None
    meta = os.pread(fd, meta_size, meta_start)
    if zlib.crc32(meta) != meta_crc or (check_body and _crc(fd, body_start, body_size) != body_crc):
        return None
    inflated = meta if kind == Kind.ROWS else _inflated(meta)
    return None if inflated is None else Record(Kind(kind), rows, inflated, end)


def _inflated(data: bytes) -> bytes | None:
    """What was deflated; None if it is broken.  Raises Refused if it is more than MAX_META."""
    inflater = zlib.decompressobj()
    try:
        meta = inflater.decompress(data, MAX_META)
    except zlib.error:
        return None
    if inflater.unconsumed_tail or len(meta) == MAX_META:
        raise Refused(f"has a record that inflates to more than {MAX_META >> 20} MiB")
    return meta if inflater.eof else None


def _crc(fd: int, start: int, size: int) -> int | None:
    """CRC-32 of a stretch of the file; None if it ends earlier."""
    crc = 0
    end = start + size
    while start < end:
        chunk = os.pread(fd, min(_CHUNK, end - start), start)
        if not chunk:
            return None
        crc = zlib.crc32(chunk, crc)
        start += len(chunk)
    return crc
