# SPDX-License-Identifier: Apache-2.0
"""Reading kernel image files: what one is, and the ELF vmlinux inside a bzImage.

QEMU starts an ELF file with a PVH entry at once, where a bzImage has to unpack
itself under emulation first: that saves about three seconds of each boot.
Formats: Documentation/arch/x86/boot.rst (setup header), include/xen/interface/elfnote.h
(XEN_ELFNOTE_PHYS32_ENTRY), scripts/extract-ikconfig.
"""

from __future__ import annotations

import re
import struct
import zlib
from pathlib import Path
from typing import BinaryIO

from memtrace.errors import MemtraceError
from memtrace.lab.run import run_tool

ELF_MAGIC = b"\x7fELF"
PVH_NOTE = (b"Xen\0", 18)
PT_NOTE = 4
# The first boot protocol whose header tells where the payload is.
PAYLOAD_TOLD = 0x0208
# Bytes from the start that tell what a file is; a bzImage's release is in them.
HEAD = 1 << 16

# First bytes of a payload -> the command that unpacks it.
UNPACKERS = {
    b"\x1f\x8b": ("gzip", "-dc"),
    b"\xfd7zXZ": ("xz", "-dc"),
    b"\x28\xb5\x2f\xfd": ("zstd", "-dcq"),
    b"\x02\x21\x4c\x18": ("lz4", "-dcq"),
}


def is_bzimage(image: bytes) -> bool:
    """Whether the bytes begin with an x86 boot sector and setup header."""
    # The header's fields up to init_size are read: a file that ends before them is none.
    return len(image) >= 0x264 and image[0x1FE:0x200] == b"\x55\xaa" and image[0x202:0x206] == b"HdrS"


def is_elf(image: bytes) -> bool:
    """Whether the bytes begin an x86-64 ELF file."""
    return len(image) >= 64 and image[:5] == ELF_MAGIC + b"\x02" and image[18:20] == b"\x3e\x00"


def read_kernel(path: Path) -> bytes:
    """The content of a kernel file; MemtraceError where it is not one for x86-64."""
    with open_kernel(path) as file:
        head = file.read(HEAD)
        image = head + file.read() if is_bzimage(head) or is_elf(head) else b""
    if image:
        if _end_of(image) > len(image):
            raise MemtraceError(f"{path} is cut short: copy or build it again")
        return image
    for magic, (command, _) in UNPACKERS.items():
        if head.startswith(magic):
            raise MemtraceError(
                f"{path} is packed with {command}: unpack it first, with '{command} -dc < {path} > KERNEL'"
            )
    raise MemtraceError(
        f"{path} is not an x86-64 kernel: give a bzImage, an ELF vmlinux, a kernel's .deb or .rpm, "
        "or a folder that one was unpacked or built in"
    )


def open_kernel(path: Path) -> BinaryIO:
    """Open a kernel file for reading; MemtraceError says how to make it readable."""
    try:
        if not path.is_file():
            raise MemtraceError(f"{path} is not a regular file: give a bzImage or an ELF vmlinux")
        return open(path, "rb")
    except PermissionError as error:
        raise MemtraceError(
            f"cannot read the kernel {path}: run 'sudo chmod a+r {path}', or give a copy that you may read"
        ) from error
    except OSError as error:
        raise MemtraceError(f"cannot read the kernel {path}: {error.strerror}") from error


def release_of(image: bytes) -> str | None:
    """`uname -r` of the kernel in a bzImage or vmlinux, None where it is not told."""
    if is_bzimage(image):
        (offset,) = struct.unpack_from("<H", image, 0x20E)
        text = image[offset + 0x200 : offset + 0x300].split(b"\0")[0]
        return text.split()[0].decode() if offset and text else None
    found = re.search(rb"Linux version (\S+) \(", image)
    return found[1].decode() if found else None


def unpack_bzimage(image: bytes) -> bytes | None:
    """The ELF vmlinux packed in a bzImage, None where its packing is not known."""
    if _protocol(image) < PAYLOAD_TOLD:
        return None
    start, end = _payload(image)
    payload = image[start:end]
    if is_elf(payload):
        return payload
    for magic, (command, flags) in UNPACKERS.items():
        if payload.startswith(magic):
            # All but gzip carry their unpacked size behind the data (scripts/Makefile.lib).
            data = payload if command == "gzip" else payload[:-4]
            vmlinux = run_tool(command, flags, stdin=data)
            return vmlinux if is_elf(vmlinux) else None
    return None


def has_pvh_entry(vmlinux: bytes) -> bool:
    """Whether the ELF file has the note that QEMU's -kernel needs to start it."""
    return any(
        kind == PT_NOTE and PVH_NOTE in _notes(vmlinux[offset : offset + size])
        for kind, offset, size in _segments(vmlinux)
    )


def check_startable(image: bytes, shown: str | Path) -> None:
    """Raise MemtraceError, which calls the file `shown`, for a vmlinux that QEMU cannot start."""
    if not is_bzimage(image) and not has_pvh_entry(image):
        raise MemtraceError(f"{shown} is a vmlinux without CONFIG_PVH: give the kernel's bzImage")


def _end_of(image: bytes) -> int:
    """The bytes that a whole kernel has at least, by what its headers say."""
    if is_elf(image):
        return max((offset + size for _, offset, size in _segments(image)), default=0)
    return _payload(image)[1] if _protocol(image) >= PAYLOAD_TOLD else 0


def _protocol(image: bytes) -> int:
    return int.from_bytes(image[0x206:0x208], "little")


def _payload(image: bytes) -> tuple[int, int]:
    """Start and end of the packed kernel in a bzImage."""
    setup_sectors = image[0x1F1] or 4
    offset, length = struct.unpack_from("<II", image, 0x248)
    start = (setup_sectors + 1) * 512 + offset
    return start, start + length


def _segments(vmlinux: bytes) -> list[tuple[int, int, int]]:
    """Kind, offset and size in the file of each program header that is in the file."""
    (phoff,) = struct.unpack_from("<Q", vmlinux, 32)
    phentsize, phnum = struct.unpack_from("<HH", vmlinux, 54)
    headers = (phoff + index * phentsize for index in range(phnum))
    found = []
    for header in headers:
        if header + 40 <= len(vmlinux):
            kind, offset, size = struct.unpack_from("<I4xQ16xQ", vmlinux, header)
            found.append((kind, offset, size))
    return found


def _notes(segment: bytes) -> list[tuple[bytes, int]]:
    notes = []
    at = 0
    while at + 12 <= len(segment):
        name_size, data_size, kind = struct.unpack_from("<III", segment, at)
        notes.append((segment[at + 12 : at + 12 + name_size], kind))
        at += 12 + (name_size + 3 & ~3) + (data_size + 3 & ~3)
    return notes


def embedded_config(vmlinux: bytes) -> str | None:
    """The text of CONFIG_IKCONFIG, None for a kernel that does not carry its config."""
    start = vmlinux.find(b"IKCFG_ST\x1f\x8b")
    if start < 0:
        return None
    try:
        return zlib.decompressobj(31).decompress(vmlinux[start + 8 :]).decode()
    except zlib.error:
        return None
