# SPDX-License-Identifier: Apache-2.0
"""Running the host's tools, with their failures told in one sentence."""

from __future__ import annotations

import contextlib
import errno
import os
import signal
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import IO

from memtrace.errors import MemtraceError
from memtrace.lab.needs import NEEDS, cure, find, search_path
from memtrace.lab.process import END_S, signals_held


class ToolFailed(MemtraceError):
    """A host tool that ended with an error, told by its own complaint."""


def run_tool(
    *command: str | Path,
    cwd: Path | None = None,
    stdin: bytes = b"",
    stdout: Path | None = None,
    env: dict[str, str] | None = None,
) -> bytes:
    """Run a host tool and return what it printed (b"" where the file `stdout` takes it).

    Raises MemtraceError with the tool's complaint.  What makes the caller leave (Ctrl-C,
    SIGTERM) ends the tool and all that it has started.
    """
    name = str(command[0])
    path = _found(name)
    process = None
    with contextlib.ExitStack() as files:
        taken = files.enter_context(stdout.open("wb")) if stdout else None
        try:
            with signals_held():
                process = subprocess.Popen(
                    [path, *map(str, command[1:])],
                    cwd=cwd,
                    stdin=subprocess.PIPE,
                    stdout=taken or subprocess.PIPE,
                    stderr=subprocess.PIPE,
                    env={**os.environ, "PATH": search_path(), "LC_ALL": "C.UTF-8", **(env or {})},
                    start_new_session=True,
                )
            printed, complaint = process.communicate(stdin)
        except BaseException:
            if process is not None:
                _end_group(process)
            raise
    if process.returncode:
        said = (complaint + b"\n" + (printed or b"")).decode(errors="replace")
        if os.strerror(errno.ENOSPC) in said:
            raise MemtraceError(
                f"{name} failed: the disk is full; free some, or set XDG_CACHE_HOME to another"
            )
        raise ToolFailed(f"{name} failed ({process.returncode}): {last_complaint(said)}")
    return printed or b""


@contextlib.contextmanager
def stream_tool(*command: str | Path) -> Iterator[IO[bytes]]:
    """What a host tool prints, to be read while it prints it.

    Raises ToolFailed at the end of the block where the tool failed; a block that is left
    early, whatever the cause, ends the tool.
    """
    name = str(command[0])
    path = _found(name)
    process = None
    with tempfile.TemporaryFile() as complaint:
        try:
            with signals_held():
                process = subprocess.Popen(
                    [path, *map(str, command[1:])],
                    stdin=subprocess.DEVNULL,
                    stdout=subprocess.PIPE,
                    stderr=complaint,
                    env={**os.environ, "PATH": search_path(), "LC_ALL": "C.UTF-8"},
                    start_new_session=True,
                )
            assert process.stdout is not None
            with process.stdout as stream:
                yield stream
                while stream.read(1 << 20):
                    pass
            process.wait()
        except BaseException:
            if process is not None:
                _end_group(process)
            raise
        if process.returncode:
            complaint.seek(0)
            said = complaint.read().decode(errors="replace")
            raise ToolFailed(f"{name} failed ({process.returncode}): {last_complaint(said)}")


def last_complaint(text: str) -> str:
    """The last line that speaks of an error, else the last that is not empty."""
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    errors = [line for line in lines if "error" in line.lower() or line.startswith("E:")]
    # apt ends with this, having said before which and why.
    errors = [line for line in errors if "Some index files failed" not in line] or errors
    return (errors or lines or ["it said nothing"])[-1]


def _found(name: str) -> str:
    path = find(name)
    if path is None:
        raise MemtraceError(f"no {name} here; {cure(need for need in NEEDS if need.looked_for == name)}")
    return path


def _end_group(process: subprocess.Popen[bytes]) -> None:
    # First politely: mmdebstrap then undoes its mounts, apt its locks.
    for number in (signal.SIGTERM, signal.SIGKILL):
        with contextlib.suppress(ProcessLookupError, subprocess.TimeoutExpired):
            os.killpg(process.pid, number)
            process.wait(END_S)
