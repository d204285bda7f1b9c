# SPDX-License-Identifier: Apache-2.0
"""Opening a file to import: text, gzipped or not; anything else is refused in a sentence."""

from __future__ import annotations

import gzip
import io
import stat
import zlib
from collections.abc import Iterator
from pathlib import Path

from memtrace.errors import MemtraceError

HEAD_LINES = 400
"""Lines by which a format is recognised."""
_HEAD_BYTES = 256 * 1024
_GZIP = b"\x1f\x8b"
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
        except (OSError, EOFError, zlib.error) as error:
            raise _unreadable(path, error) from error
    if not start.strip():
        raise MemtraceError(f"{path} is empty; there is nothing to import from it")
    for magic, what in _BINARY:
        if start.startswith(magic):
            raise MemtraceError(f"{path} is {what}")
    # A console log may hold a stray NUL; a binary file holds many.
    if start.count(0) > len(start) // 100:
        raise MemtraceError(f"{path} is not text; give what a tracer or dmesg printed")
    return start.decode("utf-8", "replace").splitlines()[:HEAD_LINES]


def lines(path: Path) -> Iterator[str]:
    """All lines, with their line ends; raises MemtraceError if reading fails."""
    with _opened(path) as file, io.TextIOWrapper(file, encoding="utf-8", errors="replace") as text:
        try:
            yield from text
        except EOFError:
            # The lines before a cut are good; the one at the cut is told by not parsing.
            return
        except (OSError, zlib.error) as error:
            raise _unreadable(path, error) from error


def _opened(path: Path) -> io.BufferedReader | gzip.GzipFile:
    try:
        if not stat.S_ISREG(path.stat().st_mode) and path.is_dir():
            raise MemtraceError(f"{path} is a folder; give the files in it")
        file = path.open("rb")
    except FileNotFoundError as error:
        raise MemtraceError(f"{path} does not exist; give a file that a tracer or dmesg printed") from error
    except OSError as error:
        raise _unreadable(path, error) from error
    if not file.seekable() or not file.peek(2).startswith(_GZIP):
        return file
    return gzip.GzipFile(fileobj=file)


def _unreadable(path: Path, error: Exception) -> MemtraceError:
    reason = getattr(error, "strerror", None) or str(error)
    return MemtraceError(f"{path} cannot be read ({reason}); give a file that can")
