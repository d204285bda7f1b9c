# SPDX-License-Identifier: Apache-2.0
"""The traced COMMAND: forked before recording starts, executed when it has."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
from collections.abc import Sequence
from pathlib import Path

from memtrace.errors import MemtraceError

NOT_FOUND, NOT_EXECUTABLE = 127, 126
"""The shell's exit statuses for a command that is not there, and for one that is and can't be executed."""


def find_command(command: Sequence[str]) -> None:
    """Raise MemtraceError, with the shell's exit status, if the command can't be found or executed."""
    name = command[0]
    if shutil.which(name) is not None:
        return
    if "/" not in name:
        found = next((p for folder in os.get_exec_path() if (p := Path(folder) / name).is_file()), None)
    else:
        found = Path(name) if Path(name).exists() else None
    if found is None:
        raise MemtraceError(f"{name}: no such command: give a COMMAND in PATH or by its path", NOT_FOUND)
    why = "is a folder" if found.is_dir() else "may not be executed"
    raise MemtraceError(f"{found} {why}: give a COMMAND that can be", NOT_EXECUTABLE)


class Workload:
    """A child that waits for release() before it executes its command."""

    def __init__(self, command: Sequence[str]) -> None:
        """Fork; raises MemtraceError if the command can't be found or executed."""
        find_command(command)
        self._command = list(command)
        read_end, self._go = os.pipe()
        self.pid = os.fork()
        self.status: int | None = None
        if self.pid == 0:
            os.close(self._go)
            self._child(read_end)
        os.close(read_end)

    def release(self) -> None:
        """Let the child execute the command."""
        os.write(self._go, b"x")
        os.close(self._go)
        self._go = -1

    def poll(self) -> bool:
        """Whether the command has ended; its exit status is in ``status`` then (128 + n for signal n)."""
        if self.status is None:
            pid, code = os.waitpid(self.pid, os.WNOHANG)
            if pid:
                self.status = _exit_status(code)
        return self.status is not None

    def stop(self) -> None:
        """End a command that is still running (SIGTERM) and wait for it."""
        if self._go >= 0:
            os.close(self._go)
            self._go = -1
        if self.status is None:
            with contextlib.suppress(ProcessLookupError):
                os.kill(self.pid, signal.SIGTERM)
            self.status = _exit_status(os.waitpid(self.pid, 0)[1])

    def _child(self, read_end: int) -> None:
        try:
            for number in (signal.SIGINT, signal.SIGTERM):
                signal.signal(number, signal.SIG_DFL)
            if os.read(read_end, 1):
                os.execvp(self._command[0], self._command)
        except OSError as error:
            os.write(2, f"memtrace: {self._command[0]}: {error.strerror}\n".encode())
            if not isinstance(error, FileNotFoundError):
                os._exit(NOT_EXECUTABLE)
        finally:
            os._exit(NOT_FOUND)


def _exit_status(code: int) -> int:
    return os.WEXITSTATUS(code) if os.WIFEXITED(code) else 128 + os.WTERMSIG(code)
