# SPDX-License-Identifier: Apache-2.0
"""Taking a kernel's files out of an archive that nobody vouches for.

Only regular files below boot and [usr/]lib/modules are written, the latter as lib/modules.
No link is ever made, so nothing leads out of the folder; an archive that names a path
with `..` is refused, and so is one that would fill the disk.
"""

from __future__ import annotations

import errno
import re
import shutil
import tarfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from memtrace.errors import MemtraceError

WANTED = re.compile(r"(?:usr/)?(lib/modules/[^/]+/.+)|(boot/.+)")
# A distribution's kernel and all its modules with their debugging information are below these.
MOST_BYTES = 24 << 30
MOST_FILES = 200_000
SPARE_BYTES = 64 << 20
BLOCK = 1 << 20
# Errors that a member's name causes, not the disk.
OF_NAMES = (errno.EEXIST, errno.ENOTDIR, errno.EISDIR, errno.ENAMETOOLONG, errno.EINVAL)

# struct cpio_newc_header of kernel's init/initramfs.c: a magic and 13 fields of 8 hex digits.
CPIO_HEAD = 110
CPIO_MAGICS = (b"070701", b"070702")
CPIO_END = "TRAILER!!!"
NAME_MOST = 1 << 16


class Damaged(Exception):
    """An archive that ends too early or is none."""


@dataclass
class Sink:
    """The folder that the files of one package are written to.

    origin  of each file in the folder, by its path there, the package that it came from
    total   bytes written of this package
    """

    folder: Path
    origin: dict[str, Path]
    package: Path
    total: int = 0

    def add(self, name: str, size: int, source: IO[bytes]) -> bool:
        """Write one file if it is wanted, and tell whether it was; MemtraceError refuses it."""
        relative = self.wanted(name)
        if relative is None:
            return False
        self._check_room(size)
        self._claim(relative)
        target = self.folder / relative
        try:
            target.parent.mkdir(parents=True, exist_ok=True)
            with open(target, "xb") as file:
                _copy(source, file, size)
        except OSError as error:
            if error.errno in OF_NAMES:
                raise Damaged(f"{relative}: {error.strerror}") from error
            raise
        self.total += size
        return True

    def add_copy(self, name: str, of: str) -> None:
        """Write one file that is another name of one written before."""
        source = self.wanted(of)
        relative = self.wanted(name)
        if source is not None and relative is not None and source in self.origin:
            path = self.folder / source
            with open(path, "rb") as file:
                self.add(name, path.stat().st_size, file)

    def wanted(self, name: str) -> str | None:
        """The path in the folder that this member gets, None for one that is not wanted."""
        parts = [part for part in name.split("/") if part not in ("", ".")]
        if ".." in parts or "\0" in name:
            raise MemtraceError(
                f"{self.package} holds the path '{name}', which leads out of it: it is not taken"
            )
        found = WANTED.fullmatch("/".join(parts))
        return (found[1] or found[2]) if found else None

    def _claim(self, relative: str) -> None:
        other = self.origin.get(relative)
        if other and other != self.package:
            raise MemtraceError(f"{other} and {self.package} both hold {relative}: give only one of them")
        self.origin[relative] = self.package

    def _check_room(self, size: int) -> None:
        if self.total + size > MOST_BYTES or len(self.origin) >= MOST_FILES:
            raise MemtraceError(f"{self.package} unpacks to more than any kernel does: it is not taken")
        if shutil.disk_usage(self.folder).free < size + SPARE_BYTES:
            raise MemtraceError(
                f"the disk is full before {self.package} is unpacked: free {size >> 20} MiB and more, "
                "or set XDG_CACHE_HOME to another"
            )


def from_tar(stream: IO[bytes], sink: Sink) -> None:
    """Take what is wanted from a tar archive that is read once; Damaged where it is cut short."""
    try:
        with tarfile.open(fileobj=stream, mode="r|", errorlevel=2) as archive:
            for member in archive:
                if member.isreg():
                    content = archive.extractfile(member)
                    if content is not None:
                        sink.add(member.name, member.size, content)
                elif member.islnk():
                    sink.add_copy(member.name, member.linkname)
    except (tarfile.TarError, EOFError, ValueError) as error:
        raise Damaged(str(error)) from error


def from_cpio(stream: IO[bytes], sink: Sink) -> None:
    """Take what is wanted from a newc archive, as rpm2cpio prints it; Damaged where it is cut short."""
    waiting: dict[tuple[int, ...], list[str]] = {}
    for fields, name in _cpio_members(stream):
        inode, mode, links, size = fields[0], fields[1], fields[4], fields[6]
        # Of the names of one file, the last carries its bytes.
        same = waiting.setdefault((inode, *fields[7:9]), []) if links > 1 else []
        taken = 0
        if mode & 0o170000 == 0o100000:
            if links > 1 and not size:
                same.append(name)
            elif sink.add(name, size, stream):
                taken = size
                for other in same:
                    sink.add_copy(other, name)
        _skip(stream, size - taken + (-size) % 4)


def _cpio_members(stream: IO[bytes]) -> Iterator[tuple[list[int], str]]:
    while True:
        head = _exactly(stream, CPIO_HEAD)
        if head[:6] not in CPIO_MAGICS:
            raise Damaged("it is no cpio archive")
        try:
            fields = [int(head[at : at + 8], 16) for at in range(6, CPIO_HEAD, 8)]
        except ValueError as error:
            raise Damaged("it is no cpio archive") from error
        length = fields[11]
        if length > NAME_MOST:
            raise Damaged("it is no cpio archive")
        name = _exactly(stream, length + (-(CPIO_HEAD + length)) % 4)[: length - 1].decode(errors="replace")
        if name == CPIO_END:
            return
        yield fields, name


def _copy(source: IO[bytes], target: IO[bytes], size: int) -> None:
    left = size
    while left:
        block = source.read(min(left, BLOCK))
        if not block:
            raise Damaged("it ends too early")
        target.write(block)
        left -= len(block)


def _skip(stream: IO[bytes], size: int) -> None:
    while size:
        size -= len(_exactly(stream, min(size, BLOCK)))


def _exactly(stream: IO[bytes], size: int) -> bytes:
    data = stream.read(size)
    if len(data) < size:
        raise Damaged("it ends too early")
    return data
