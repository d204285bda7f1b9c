# SPDX-License-Identifier: Apache-2.0
"""Opening a file to import: text, gzipped or not; anything else is refused in a sentence."""

from __future__ import annotations

import hashlib
import io
import re
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from memtrace.errors import MemtraceError

if TYPE_CHECKING:
    from _typeshed import WriteableBuffer as Buffer

HEAD_LINES = 400
"""Lines by which a format is recognised."""
LONGEST_LINE = 1 << 14
"""Signs of a line: twice what a kernel's trace or log prints on one (TRACE_SEQ_SIZE, PRINTK_MESSAGE_MAX)."""
LONGEST_NUMBER = 64
"""Digits of one: no counter of a kernel has as many, and Python reads none of thousands."""
MOST_UNPACKED, MOST_PACKED = 64 << 20, 25
"""Bytes that a gzipped file may become in any case, and beyond that how many times its own size."""
_HEAD_BYTES, _PIECE = 1 << 18, 1 << 16
_SHOWN = 60
"""Signs of a line that was passed over."""
_HUGE_NUMBER = re.compile(rf"\d{{{LONGEST_NUMBER + 1}}}")
_GZIP = b"\x1f\x8b"
_GZIP_WINDOW = 31
_BINARY: tuple[tuple[bytes, str], ...] = (
    (b"PAR1", "a run or other parquet file; put a run into the new one with --merge"),
    (b"PERFILE2", "perf's own file; give the text of `perf script -i FILE`"),
    (b"\x17\x08Dtracing", "trace-cmd's own file; give the text of `trace-cmd report -i FILE`"),
    (b"\x28\xb5\x2f\xfd", "compressed with zstd; give it uncompressed (`zstd -d`) or gzipped"),
    (b"\xfd7zXZ", "compressed with xz; give it uncompressed (`xz -d`) or gzipped"),
    (b"BZh", "compressed with bzip2; give it uncompressed (`bzip2 -d`) or gzipped"),
    (b"\x04\x22\x4d\x18", "compressed with lz4; give it uncompressed (`lz4 -d`) or gzipped"),
    (b"PK\x03\x04", "a zip archive; give the files in it"),
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
    return [line[:LONGEST_LINE] for line in text.splitlines()[:HEAD_LINES]]


class Text:
    """All lines of a file, with their line ends, but for those that no tracer and no kernel wrote.

    Once they were read, ``cut`` tells whether it ended too early, ``refused`` is of the lines
    that were passed over (their beginnings, and why), and ``digest`` is of the text, however
    it is compressed.  Raises MemtraceError if reading fails.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self.cut = False
        self.refused: list[str] = []
        self.digest = b""

    def __iter__(self) -> Iterator[str]:
        with _opened(self._path) as file:
            digested = _Digested(file)
            text = io.TextIOWrapper(io.BufferedReader(digested, _PIECE), encoding="utf-8", errors="replace")
            try:
                for lines in _batches(text):
                    # All of them at once: a line by itself would cost as much as its parsing.
                    if len(max(lines, key=len)) > LONGEST_LINE or _HUGE_NUMBER.search("".join(lines)):
                        yield from filter(self._takes, lines)
                    else:
                        yield from lines
            except (OSError, zlib.error) as error:
                raise _unreadable(self._path, error) from error
            self.cut = isinstance(file.raw, _Inflated) and file.raw.cut
            self.digest = digested.hash.digest()

    def _takes(self, line: str) -> bool:
        if len(line) > LONGEST_LINE:
            why = f"longer than {LONGEST_LINE} signs"
        elif _HUGE_NUMBER.search(line):
            why = f"has a number of more than {LONGEST_NUMBER} digits"
        else:
            return True
        self.refused.append(f"({why}) {line[:_SHOWN]}")
        return False


def _batches(text: io.TextIOWrapper) -> Iterator[list[str]]:
    """Lines, many at a time; of one that is too long its beginning, which is still too long."""
    rest = ""
    while piece := text.read(_PIECE):
        *lines, rest = (rest + piece).split("\n")
        rest = rest[: LONGEST_LINE + 1]
        if lines:
            yield [f"{line}\n" for line in lines]
    if rest:
        yield [rest]


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
    """What a gzip file holds; one that is cut ends where it is cut, and says so.

    Raises MemtraceError for one that unpacks to more than any trace does.
    """

    def __init__(self, file: io.BufferedReader, path: Path) -> None:
        self._file = file
        self._path = path
        self._left = max(MOST_UNPACKED, MOST_PACKED * path.stat().st_size)
        self._inflate = zlib.decompressobj(_GZIP_WINDOW)
        self._ready = b""
        self.cut = False

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Buffer) -> int:
        view = memoryview(buffer)
        while not self._ready:
            # Several members may follow each other, as gzip -c >> makes them.
            ahead = self._inflate.unused_data if self._inflate.eof else self._inflate.unconsumed_tail
            block = ahead or self._file.read(_PIECE)
            if self._inflate.eof and block:
                self._inflate = zlib.decompressobj(_GZIP_WINDOW)
            if not block:
                self.cut = not self._inflate.eof
                return 0
            self._ready = self._inflate.decompress(block, _PIECE)
            self._left -= len(self._ready)
        if self._left < 0:
            raise MemtraceError(
                f"{self._path} unpacks to more than {MOST_PACKED} times its size, as no trace does;"
                " unpack it, and import what is in it if that is one"
            )
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
    return io.BufferedReader(_Inflated(file, path), _PIECE)


def _unreadable(path: Path, error: Exception) -> MemtraceError:
    reason = getattr(error, "strerror", None) or str(error)
    return MemtraceError(f"{path} cannot be read ({reason}); give a file that can")
