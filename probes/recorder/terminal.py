# SPDX-License-Identifier: Apache-2.0
"""The terminal, between the recorder and a COMMAND in a process group of its own.

The recorder stays in the foreground, so that Ctrl-C ends the recording; it passes the
signal on.  Once COMMAND reads from the terminal or sets it up, which stops a group in
the background (SIGTTIN, SIGTTOU), the terminal is COMMAND's, as it is with a shell.
"""

from __future__ import annotations

import contextlib
import os
import signal
from types import FrameType

_WANT_IT = (signal.SIGTTIN, signal.SIGTTOU)


class Terminal:
    """The controlling terminal, if there is one, and who has it: this process or ``group``."""

    def __init__(self, group: int) -> None:
        """Takes SIGTSTP and SIGQUIT, which only this process gets from the terminal, for both."""
        self._group = group
        self._wanted = False
        self._given = False
        try:
            self._fd = os.open("/dev/tty", os.O_RDWR | os.O_NOCTTY)
        except OSError:
            self._fd = -1
            return
        # Of its own, the recorder does not change the terminal; in taking it back it does.
        signal.signal(signal.SIGTTOU, signal.SIG_IGN)
        signal.signal(signal.SIGTSTP, self._suspend)
        signal.signal(signal.SIGQUIT, self._quit)

    def has_us(self) -> bool:
        """Whether keys such as Ctrl-C reach this process."""
        return self._foreground() == os.getpgrp()

    def stopped(self, number: int) -> None:
        """COMMAND was stopped by this signal."""
        if number in _WANT_IT:
            self._wanted = True
            self.offer()
        elif self._given:
            # Ctrl-Z went to COMMAND alone; the shell waits for us.
            self.take_back()
            self._stop_ourselves()
            self._wanted = True
            self.offer()
            if self._wanted:
                # By `bg`: it asks again when it needs the terminal.
                self._wanted = False
                self._signal(signal.SIGCONT)

    def offer(self) -> None:
        """Hands the terminal over, if COMMAND has asked and it is ours to give."""
        if self._wanted and self.has_us() and self._set(self._group):
            self._wanted, self._given = False, True
            self._signal(signal.SIGCONT)

    def take_back(self) -> None:
        """Makes this process the terminal's again, if COMMAND has it."""
        if self._given and self._foreground() == self._group:
            self._set(os.getpgrp())
        self._given = False

    def close(self) -> None:
        """Takes the terminal back, and lets go of it."""
        self.take_back()
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1
            for number in (signal.SIGTSTP, signal.SIGQUIT):
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
