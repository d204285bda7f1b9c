# SPDX-License-Identifier: Apache-2.0
"""Following a guest while it runs: what it says on its control line, and the answers.

The guest writes lines to its second serial port (`init/guest.sh`): "up BYTES" (of its memory
blocks) once its script starts, "mark NAME" and "now BYTES" (`marks`), "end STATUS", or
"fail REASON" where it cannot start.
"""

from __future__ import annotations

import select
import socket
import subprocess
import time
from collections.abc import Callable
from enum import Enum
from pathlib import Path

from memtrace.lab.marks import Marks
from memtrace.lab.qmp import Qmp
from memtrace.lab.spec import Step

TICK_S = 0.1

Echo = Callable[[str], None]


class Ending(Enum):
    """How following a guest ended."""

    SCRIPT = "the script ended"
    POWER_CUT = "a step cut its power"
    REFUSED = "the guest said why it cannot run"
    DIED = "QEMU ended by itself"
    LATE = "its time was over"


class Watch:
    """One guest's progress.

    started_at  time.monotonic() when the script was started, None before
    status      the script's exit status, None where it has not ended
    refusal     why the guest cannot run, in its own words
    marks       what was done at the marks that came
    """

    def __init__(self, control: socket.socket, qmp: Qmp, steps: tuple[Step, ...]) -> None:
        self.started_at: float | None = None
        self.status: int | None = None
        self.refusal = ""
        self._control = control
        self.marks = Marks(qmp, steps)
        self._unread = b""

    def follow(
        self,
        process: subprocess.Popen[bytes],
        boot_deadline: float,
        deadline: float,
        tick: Callable[[], None],
    ) -> Ending:
        """Return when the guest has ended or is to be ended.

        boot_deadline  time.monotonic() by which the script must have been started
        deadline       the same for its end
        tick           called several times a second
        """
        while True:
            left = (deadline if self.started_at else boot_deadline) - time.monotonic()
            gone = process.poll() is not None
            heard = self._hear(0.0 if gone else min(TICK_S, max(left, 0.0)))
            ending = self._take_lines(deadline)
            tick()
            if ending:
                return ending
            if gone and not heard:
                return Ending.DIED
            if left <= 0:
                return Ending.LATE

    def _hear(self, wait_s: float) -> bool:
        if not select.select([self._control], [], [], wait_s)[0]:
            return False
        try:
            data = self._control.recv(4096)
        except ConnectionError:
            data = b""
        self._unread += data
        if not data:
            # QEMU has closed its end and is about to be gone.
            time.sleep(wait_s)
        return bool(data)

    def _take_lines(self, deadline: float) -> Ending | None:
        while b"\n" in self._unread:
            line, self._unread = self._unread.split(b"\n", 1)
            word, _, rest = line.decode(errors="replace").strip().partition(" ")
            match word:
                case "up":
                    self.started_at = time.monotonic()
                    self.marks.note_blocks(_number(rest))
                case "mark":
                    answer = self.marks.come(rest, deadline)
                    if answer is None:
                        return Ending.POWER_CUT
                    self._tell(answer)
                case "now":
                    self._tell(self.marks.look(_number(rest)))
                case "end" if rest.isascii() and rest.isdigit():
                    self.status = int(rest)
                    return Ending.SCRIPT
                case "fail":
                    self.refusal = rest
                    return Ending.REFUSED
        return None

    def _tell(self, answer: str) -> None:
        self._control.sendall(answer.encode() + b"\n")


def _number(text: str) -> int:
    # The guest's root may write to the line too.
    return int(text) if text.isascii() and text.isdigit() else 0


class OutputTail:
    """Passes on what a growing file has got since the last call."""

    def __init__(self, path: Path, echo: Echo | None) -> None:
        self._path = path
        self._echo = echo
        self._told = 0

    def __call__(self) -> None:
        if self._echo is None:
            return
        with open(self._path, "rb") as file:
            file.seek(self._told)
            data = file.read()
        if data:
            self._told += len(data)
            self._echo(data.decode(errors="replace"))
