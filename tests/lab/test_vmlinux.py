# SPDX-License-Identifier: Apache-2.0
"""What a kernel image file is, and what is in it; the real ones are booted in tests/vm."""

import gzip
import struct
from pathlib import Path

import pytest

from memtrace.errors import MemtraceError
from memtrace.lab import vmlinux


def elf(*notes: tuple[bytes, int], body: bytes = b"") -> bytes:
    """An ELF file with one PT_NOTE segment."""
    segment = b"".join(
        struct.pack("<III", len(name), 4, kind) + name.ljust(len(name) + 3 & ~3, b"\0") + b"data"
        for name, kind in notes
    )
    head = bytearray(64)
    head[:6] = b"\x7fELF\x02\x01"
    head[18:20] = b"\x3e\x00"
    struct.pack_into("<Q", head, 32, 64)
    struct.pack_into("<HH", head, 54, 56, 1)
    program = struct.pack("<IIQQQQQQ", 4, 0, 120, 0, 0, len(segment), 0, 4)
    return bytes(head) + program + segment + body


def bzimage(payload: bytes, protocol: int = 0x20F) -> bytes:
    """A boot sector and setup header with the payload behind one setup sector."""
    image = bytearray(1024)
    image[0x1F1] = 1
    image[0x1FE:0x206] = b"\x55\xaa\xeb\x00HdrS"
    struct.pack_into("<H", image, 0x206, protocol)
    struct.pack_into("<H", image, 0x20E, 0x100)
    image[0x300:0x312] = b"6.12.0-test (a@b)\0"
    struct.pack_into("<II", image, 0x248, 0, len(payload))
    return bytes(image) + payload


PVH = elf((b"Linux\0", 1), (b"Xen\0", 18))


def test_the_pvh_note_is_found_among_others() -> None:
    assert vmlinux.has_pvh_entry(PVH)
    assert not vmlinux.has_pvh_entry(elf((b"Linux\0", 18), (b"Xen\0", 6)))


def test_the_vmlinux_comes_out_of_a_bzimage_as_it_went_in() -> None:
    assert vmlinux.unpack_bzimage(bzimage(gzip.compress(PVH))) == PVH
    assert vmlinux.unpack_bzimage(bzimage(PVH)) == PVH


@pytest.mark.parametrize("image", [bzimage(b"unknown"), bzimage(PVH, protocol=0x207)])
def test_an_unknown_packing_is_left_packed(image: bytes) -> None:
    assert vmlinux.unpack_bzimage(image) is None


def test_the_release() -> None:
    assert vmlinux.release_of(bzimage(b"")) == "6.12.0-test"
    assert vmlinux.release_of(elf(body=b"..Linux version 6.1.0 (x@y) gcc")) == "6.1.0"
    assert vmlinux.release_of(elf()) is None


def test_the_embedded_config() -> None:
    body = b"IKCFG_ST" + gzip.compress(b"CONFIG_BPF=y\n") + b"IKCFG_ED"
    assert vmlinux.embedded_config(elf(body=body)) == "CONFIG_BPF=y\n"
    assert vmlinux.embedded_config(elf()) is None
    assert vmlinux.embedded_config(elf(body=b"IKCFG_ST\x1f\x8bnot gzip")) is None


@pytest.mark.parametrize("content", [b"", b"#!/bin/sh\n", b"\x7fELF\x01" + bytes(60), bytes(4096)])
def test_a_file_that_is_no_kernel_is_told(content: bytes, tmp_path: Path) -> None:
    file = tmp_path / "kernel"
    file.write_bytes(content)
    with pytest.raises(MemtraceError, match="is not an x86-64 kernel: give a bzImage"):
        vmlinux.read_kernel(file)
