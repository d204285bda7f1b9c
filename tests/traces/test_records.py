# SPDX-License-Identifier: Apache-2.0
"""The record layout, read here by SCHEMA.md alone, and what damage does to it."""

from __future__ import annotations

import json
import os
import random
import struct
import zlib
from pathlib import Path

from memtrace.tests.traces.conftest import MakeRows, MakeRun
from memtrace.traces.records import HEADER_SIZE, Kind, Record, scan


def by_the_document(data: bytes) -> list[tuple[int, int, bytes, bytes]]:
    """(kind, rows, body, meta) of the records, as SCHEMA.md describes them."""
    found: list[tuple[int, int, bytes, bytes]] = []
    position = 4
    while data[position : position + 4] == b"MTRC":
        header = data[position : position + 44]
        kind, sequence, meta_size = header[4], *struct.unpack_from("<II", header, 8)
        body_size, rows = struct.unpack_from("<QQ", header, 16)
        body_crc, meta_crc, header_crc = struct.unpack_from("<III", header, 32)
        assert header[5:8] == bytes(3)
        assert sequence == len(found)
        assert zlib.crc32(header[:40]) == header_crc
        body = data[position + 44 : position + 44 + body_size]
        meta = data[position + 44 + body_size : position + 44 + body_size + meta_size]
        assert (zlib.crc32(body), zlib.crc32(meta)) == (body_crc, meta_crc)
        found.append((kind, rows, body, meta if kind == 1 else zlib.decompress(meta)))
        position += 44 + body_size + meta_size
    return found


def records(path: Path, **check: bool) -> list[Record]:
    fd = os.open(path, os.O_RDONLY)
    try:
        return list(scan(fd, **check))
    finally:
        os.close(fd)


def test_the_file_is_what_schema_md_says(tmp_path: Path, make_run: MakeRun, make_rows: MakeRows) -> None:
    path = tmp_path / "run.parquet"
    make_run(path, [make_rows(100), make_rows(50, 1)])
    found = by_the_document(path.read_bytes())
    assert [kind for kind, *_ in found] == [0, 1, 2, 1, 2, 2]
    assert [rows for _, rows, _, _ in found] == [0, 100, 0, 50, 0, 0]
    assert [json.loads(meta)["rows"] for kind, _, _, meta in found if kind == 2] == [100, 150, 150]
    assert [(r.kind, r.rows, r.meta) for r in records(path)] == [(k, n, m) for k, n, _, m in found]
    assert HEADER_SIZE == 44


def test_one_wrong_byte_ends_the_log_before_its_record(
    tmp_path: Path, make_run: MakeRun, make_rows: MakeRows
) -> None:
    path = tmp_path / "run.parquet"
    make_run(path, [make_rows(20, seed) for seed in range(4)])
    whole = records(path)
    data = path.read_bytes()
    starts = [4, *(r.end for r in whole)]
    rng = random.Random(1)
    places = {rng.randrange(4, whole[-1].end) for _ in range(300)} | {
        s + i for s in starts[:-1] for i in range(44)
    }
    for place in places:
        broken = bytearray(data)
        broken[place] ^= 1 << rng.randrange(8)
        path.write_bytes(broken)
        intact = sum(place >= r.end for r in whole)
        assert records(path) == whole[:intact]


def test_a_record_in_the_wrong_place_does_not_count(
    tmp_path: Path, make_run: MakeRun, make_rows: MakeRows
) -> None:
    """A block of an older file at this place of the disk: intact, but not the next of this log."""
    path = tmp_path / "run.parquet"
    make_run(path, [make_rows(20, seed) for seed in range(3)])
    whole = records(path)
    data = path.read_bytes()
    path.write_bytes(data[: whole[1].end] + data[whole[2].end :])
    assert records(path) == whole[:2]


def test_bodies_can_be_left_unread(tmp_path: Path, make_run: MakeRun, make_rows: MakeRows) -> None:
    path = tmp_path / "run.parquet"
    make_run(path, [make_rows(20)])
    whole = records(path)
    assert whole[1].kind is Kind.ROWS
    data = bytearray(path.read_bytes())
    data[whole[0].end + HEADER_SIZE] ^= 1
    path.write_bytes(data)
    assert len(records(path)) == 1
    assert records(path, check_bodies=False) == whole
