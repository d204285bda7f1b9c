# SPDX-License-Identifier: Apache-2.0
"""The standard streams: what is done when they cannot be written, and what a terminal takes."""

from __future__ import annotations

import contextlib
import io
import os
import select
import sys
from collections.abc import Iterator
from typing import TYPE_CHECKING, TextIO

from memtrace.errors import MemtraceError

if TYPE_CHECKING:
    from _typeshed import ReadableBuffer as Buffer

_UNKNOWN_SIGNS = "backslashreplace"
"""What the encoding of a stream has not is shown escaped, and ends nothing."""


def takes_controls(stream: TextIO | None) -> bool:
    """Whether control sequences sent to it do what they say, and are not shown as they are."""
    return stream is not None and stream.isatty() and os.environ.get("TERM", "dumb") != "dumb"


def takes_colors(stream: TextIO | None) -> bool:
    """The same of colors, which a user may not want."""
    return takes_controls(stream) and not os.environ.get("NO_COLOR")


@contextlib.contextmanager
def guarded() -> Iterator[None]:
    """Standard output that raises MemtraceError if it cannot be written, and standard error that never does.

    A reader who leaves, such as a closed pager, is no error: the rest goes nowhere,
    and the exit status stays that of the work.  Streams that a caller has put in
    their place are left alone.
    """
    if sys.__stdin__ is None:
        _closed()
    with contextlib.ExitStack() as stack:
        if sys.stdout is sys.__stdout__:
            stack.enter_context(contextlib.redirect_stdout(_stream(_Output, sys.stdout)))
        if sys.stderr is sys.__stderr__:
            stack.enter_context(contextlib.redirect_stderr(_stream(_Errors, sys.stderr)))
        yield


def _stream(kind: type[_Output], old: TextIO | None) -> TextIO:
    number = _closed() if old is None else old.fileno()
    file = io.BufferedWriter(kind(number, "w", closefd=False))
    if old is None:
        return io.TextIOWrapper(file, encoding="utf-8", errors=_UNKNOWN_SIGNS)
    return io.TextIOWrapper(file, old.encoding, _UNKNOWN_SIGNS, line_buffering=bool(old.line_buffering))


def _closed() -> int:
    """The descriptor of a closed stream, taken lest a file opened later be written to in its name.

    It cannot be written, so that what goes to standard output is missed.
    """
    return os.open(os.devnull, os.O_RDONLY)


class _Output(io.FileIO):
    """Standard output."""

    def write(self, data: Buffer, /) -> int:
        try:
            # Of a pipe that does not block, as another program may have left it, nothing may be taken yet.
            while (written := super().write(data)) is None:
                select.select([], [self], [])
            return written
        except BrokenPipeError:
            return self._dropped(data)
        except OSError as error:
            # What a buffer still holds is not to fail again at exit.
            self._dropped(data)
            raise MemtraceError(f"standard output cannot be written ({error.strerror})") from error

    def _dropped(self, data: Buffer) -> int:
        null = os.open(os.devnull, os.O_WRONLY)
        os.dup2(null, self.fileno())
        os.close(null)
        return memoryview(data).nbytes


class _Errors(_Output):
    """Standard error: there is no one left to tell that it cannot be written."""

    def write(self, data: Buffer, /) -> int:
        try:
            return super().write(data)
        except MemtraceError:
            return memoryview(data).nbytes
