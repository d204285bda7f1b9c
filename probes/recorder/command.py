# SPDX-License-Identifier: Apache-2.0
"""The traced COMMAND, which is forked before recording starts and executed once it has started."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from memtrace.errors import MemtraceError
from memtrace.probes.machine.limits import OpenFiles
from memtrace.probes.recorder.child import User, shed
from memtrace.probes.recorder.terminal import Terminal

NOT_FOUND, NOT_EXECUTABLE = 127, 126
"""The shell's exit statuses for a command that can't be found, and for one that can't be executed."""
_INTERRUPT_S = 1.0
_PATIENCE_S = 3.0
_KILLED_S = 1.0
_POLL_S = 0.01


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
    """A child that waits for release() before it executes its command, in a process group of its own."""

    def __init__(
        self, command: Sequence[str], user: User | None = None, files: OpenFiles | None = None
    ) -> None:
        """Fork the child; raises MemtraceError if the command can't be found or executed.

        The command runs as ``user``, or as the recording user if that is None, and with the limit
        ``files`` on open files, or this process's.
        """
        find_command(command)
        self._command = list(command)
        read_end, self._go = os.pipe()
        self.pid = os.fork()
        self.status: int | None = None
        if self.pid == 0:
            os.close(self._go)
            self._child(read_end, user, files)
        os.close(read_end)
        with contextlib.suppress(OSError):
            # Parent and child both call it, so the group exists whichever of them runs first.
            os.setpgid(self.pid, self.pid)
        self._terminal = Terminal(self.pid)

    def release(self) -> None:
        """Let the child execute the command."""
        os.write(self._go, b"x")
        os.close(self._go)
        self._go = -1

    def poll(self) -> bool:
        """Return whether the command has ended; ``status`` is then its exit status (128 + n for signal n)."""
        if self.status is None:
            self._terminal.offer()
            pid, code = os.waitpid(self.pid, os.WNOHANG | os.WUNTRACED)
            if pid and os.WIFSTOPPED(code):
                self._terminal.stopped(os.WSTOPSIG(code))
            elif pid:
                self.status = _exit_status(code)
                self._terminal.close()
        return self.status is not None

    def stop(self, *, interrupted: bool = False, hurried: Callable[[], bool] = lambda: False) -> None:
        """End a command that is still running, and what it has started in its process group.

        SIGTERM is sent first, and SIGKILL after 3 s or once ``hurried()`` is true.  With
        ``interrupted``, Ctrl-C is passed on before that if this process alone got it, and
        SIGTERM follows after 1 s.  ``status`` stays None if not even SIGKILL ends the command
        within 1 s.
        """
        if self._go >= 0:
            os.close(self._go)
            self._go = -1
        if self.status is not None:
            return
        passed_on = interrupted and self._terminal.has_us()
        self._terminal.take_back()
        if passed_on:
            self._signal(signal.SIGINT)
        if not (passed_on and self._gone(_INTERRUPT_S, hurried)):
            self._signal(signal.SIGTERM)
            # A stopped process does not end before it is continued.
            self._signal(signal.SIGCONT)
            if not self._gone(_PATIENCE_S, hurried):
                self._signal(signal.SIGKILL)
                self._gone(_KILLED_S, lambda: False)
        self._terminal.close()

    def _gone(self, seconds: float, hurried: Callable[[], bool]) -> bool:
        """Wait until the process group has ended; return False after ``seconds`` or once ``hurried()``."""
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline and not hurried():
            if self.status is None:
                pid, code = os.waitpid(self.pid, os.WNOHANG)
                self.status = _exit_status(code) if pid else None
            if self.status is not None and not (self._signal(0) and _runs_in(self.pid)):
                return True
            time.sleep(_POLL_S)
        return False

    def _signal(self, number: int) -> bool:
        """Send a signal to the process group; return False if the group has no process."""
        try:
            os.killpg(self.pid, number)
        except ProcessLookupError:
            return False
        except PermissionError:
            # The group has a process, but it has become another user's.
            return True
        return True

    def _child(self, read_end: int, user: User | None, files: OpenFiles | None) -> None:
        try:
            os.setpgid(0, 0)
            shed(user, files)
            if os.read(read_end, 1):
                os.execvpe(self._command[0], self._command, os.environ | (user.environment if user else {}))
        except OSError as error:
            os.write(2, f"memtrace: {self._command[0]}: {error.strerror}\n".encode())
            if not isinstance(error, FileNotFoundError):
                os._exit(NOT_EXECUTABLE)
        finally:
            os._exit(NOT_FOUND)


def _runs_in(group: int) -> bool:
    """Return whether a process of the group still runs.

    A zombie does not count, because it may wait long for its new parent.
    """
    for path in Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(OSError):
            state, _, found = path.read_text(errors="replace").rpartition(")")[2].split()[:3]
            if int(found) == group and state not in "ZX":
                return True
    return False


def _exit_status(code: int) -> int:
    return os.WEXITSTATUS(code) if os.WIFEXITED(code) else 128 + os.WTERMSIG(code)
