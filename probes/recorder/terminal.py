# SPDX-License-Identifier: Apache-2.0
"""Shares the terminal between the recorder and COMMAND, which has a process group of its own.

The recorder stays in the foreground, so that Ctrl-C ends the recording, and passes the
signal on.  When COMMAND reads from the terminal or sets it up, its group is stopped,
being in the background (SIGTTIN, SIGTTOU).  COMMAND is then given the terminal, as it
would be by a shell.
"""

from __future__ import annotations

import contextlib
import os
import signal
from types import FrameType

_WANT_IT = (signal.SIGTTIN, signal.SIGTTOU)


class Terminal:
    """The controlling terminal, if there is one, and who has it: this process or COMMAND's group."""

    def __init__(self, group: int) -> None:
        """Open the terminal, and handle SIGTSTP and SIGQUIT for the process group ``group`` too.

        Only this process gets them from the terminal.
        """
        self._group = group
        self._wanted = False
        self._given = False
        try:
            self._fd = os.open("/dev/tty", os.O_RDWR | os.O_NOCTTY)
        except OSError:
            self._fd = -1
            return
        # The recorder changes the terminal only to take it back, and must not be stopped by that.
        signal.signal(signal.SIGTTOU, signal.SIG_IGN)
        signal.signal(signal.SIGTSTP, self._suspend)
        signal.signal(signal.SIGQUIT, self._quit)

    def has_us(self) -> bool:
        """Return whether keys such as Ctrl-C reach this process."""
        return self._foreground() == os.getpgrp()

    def stopped(self, number: int) -> None:
        """Handle that COMMAND was stopped by the signal ``number``."""
        if number in _WANT_IT:
            self._wanted = True
            self.offer()
        elif self._given:
            # Ctrl-Z went to COMMAND alone, but the shell waits for the recorder.
            self.take_back()
            self._stop_ourselves()
            self._wanted = True
            self.offer()
            if self._wanted:
                # The recorder was continued by `bg`; COMMAND asks again when it needs the terminal.
                self._wanted = False
                self._signal(signal.SIGCONT)

    def offer(self) -> None:
        """Give the terminal to COMMAND if it has asked for it and this process has it."""
        if self._wanted and self.has_us() and self._set(self._group):
            self._wanted, self._given = False, True
            self._signal(signal.SIGCONT)

    def take_back(self) -> None:
        """Take the terminal back for this process if COMMAND has it."""
        if self._given and self._foreground() == self._group:
            self._set(os.getpgrp())
        self._given = False

    def close(self) -> None:
        """Take the terminal back and close it; the signals that were taken get their default action again."""
        self.take_back()
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1
            for number in (signal.SIGTSTP, signal.SIGQUIT, signal.SIGTTOU):
                signal.signal(number, signal.SIG_DFL)

    def _suspend(self, number: int, frame: FrameType | None) -> None:
        self._signal(signal.SIGTSTP)
        self._stop_ourselves()
        self._signal(signal.SIGCONT)

    def _quit(self, number: int, frame: FrameType | None) -> None:
        self._signal(signal.SIGQUIT)
        signal.signal(signal.SIGQUIT, signal.SIG_DFL)
        signal.raise_signal(signal.SIGQUIT)

    def _stop_ourselves(self) -> None:
        os.kill(os.getpid(), signal.SIGSTOP)

    def _signal(self, number: int) -> None:
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(self._group, number)

    def _foreground(self) -> int | None:
        if self._fd < 0:
            return None
        try:
            return os.tcgetpgrp(self._fd)
        except OSError:
            return None

    def _set(self, group: int) -> bool:
        try:
            os.tcsetpgrp(self._fd, group)
        except OSError:
            return False
        return True
