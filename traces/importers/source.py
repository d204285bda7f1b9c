# SPDX-License-Identifier: Apache-2.0
"""Opening a file to import: text, gzipped or not; anything else is refused in a sentence."""

from __future__ import annotations

import hashlib
import io
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from memtrace.errors import MemtraceError

if TYPE_CHECKING:
    from _typeshed import WriteableBuffer as Buffer

HEAD_LINES = 400
"""Lines by which a format is recognised."""
_HEAD_BYTES, _PIECE = 1 << 18, 1 << 16
_GZIP = b"\x1f\x8b"
_GZIP_WINDOW = 31
_BINARY: tuple[tuple[bytes, str], ...] = (
    (b"PAR1", "a run or other parquet file; put a run into the new one with --merge"),
    (b"PERFILE2", "perf's own file; give the text of `perf script -i FILE`"),
    (b"\x17\x08Dtracing", "trace-cmd's own file; give the text of `trace-cmd report -i FILE`"),
    (b"\x28\xb5\x2f\xfd", "compressed with zstd; give it uncompressed (`zstd -d`) or gzipped"),
    (b"\xfd7zXZ", "compressed with xz; give it uncompressed (`xz -d`) or gzipped"),
)


def head(path: Path) -> list[str]:
    """The first lines, without line ends.

    Raises MemtraceError if the file cannot be read, is empty or is no text.
    """
    with _opened(path) as file:
        try:
            start = file.read(_HEAD_BYTES)
        except (OSError, zlib.error) as error:
            raise _unreadable(path, error) from error
    if not start.strip():
        raise MemtraceError(f"{path} is empty; there is nothing to import from it")
    for magic, what in _BINARY:
        if start.startswith(magic):
            raise MemtraceError(f"{path} is {what}")
    text = start.decode("utf-8", "replace")
    # A console log may hold a stray NUL; a binary file holds many.
    if (text.count("\0") + text.count("\ufffd")) * 20 > len(text):
        raise MemtraceError(f"{path} is not text; give what a tracer or dmesg printed")
    return text.splitlines()[:HEAD_LINES]


class Text:
    """All lines of a file, with their line ends.

    Once they were read, ``cut`` tells whether it ended too early, and ``digest``
    is of the text, however it is compressed.  Raises MemtraceError if reading fails.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self.cut = False
        self.digest = b""

    def __iter__(self) -> Iterator[str]:
        with _opened(self._path) as file:
            digested = _Digested(file)
            text = io.TextIOWrapper(io.BufferedReader(digested, _PIECE), encoding="utf-8", errors="replace")
            try:
                yield from text
            except (OSError, zlib.error) as error:
                raise _unreadable(self._path, error) from error
            self.cut = isinstance(file.raw, _Inflated) and file.raw.cut
            self.digest = digested.hash.digest()


class _Digested(io.RawIOBase):
    """What is read from a file, with a hash of it."""

    def __init__(self, file: io.BufferedReader) -> None:
        self._file = file
        self.hash = hashlib.blake2b(digest_size=16)

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Buffer) -> int:
        size = self._file.readinto1(buffer)
        self.hash.update(memoryview(buffer)[:size])
        return size


class _Inflated(io.RawIOBase):
    """What a gzip file holds; one that is cut ends where it is cut, and says so."""

    def __init__(self, file: io.BufferedReader) -> None:
        self._file = file
        self._inflate = zlib.decompressobj(_GZIP_WINDOW)
        self._ready = b""
        self.cut = False

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Buffer) -> int:
        view = memoryview(buffer)
        while not self._ready:
            # Several members may follow each other, as gzip -c >> makes them.
            block = self._inflate.unused_data or self._file.read(_PIECE)
            if self._inflate.eof and block:
                self._inflate = zlib.decompressobj(_GZIP_WINDOW)
            if not block:
                self.cut = not self._inflate.eof
                return 0
            self._ready = self._inflate.decompress(block)
        size = min(len(view), len(self._ready))
        view[:size] = self._ready[:size]
        self._ready = self._ready[size:]
        return size

    def close(self) -> None:
        self._file.close()
        super().close()


def _opened(path: Path) -> io.BufferedReader:
    try:
        if path.is_dir():
            raise MemtraceError(f"{path} is a folder; give the files in it")
        if path.exists() and not path.is_file():
            raise MemtraceError(f"{path} is not a regular file; save what it gives, and import that")
        file = path.open("rb")
    except FileNotFoundError as error:
        raise MemtraceError(f"{path} does not exist; give a file that a tracer or dmesg printed") from error
    except OSError as error:
        raise _unreadable(path, error) from error
    if not file.peek(2).startswith(_GZIP):
        return file
    return io.BufferedReader(_Inflated(file), _PIECE)


def _unreadable(path: Path, error: Exception) -> MemtraceError:
    reason = getattr(error, "strerror", None) or str(error)
    return MemtraceError(f"{path} cannot be read ({reason}); give a file that can")
