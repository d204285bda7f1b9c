# SPDX-License-Identifier: Apache-2.0
"""Keys of a terminal reach COMMAND, which has a process group of its own, and its recorder."""

from __future__ import annotations

import os
import pty
import select
import sys

SCRIPT = """
import signal, sys, time
from memtrace.probes.workload import Workload
seen = []
def interrupted(*_):
    seen.append(1)
    print("seen", len(seen), flush=True)
signal.signal(signal.SIGINT, interrupted)
workload = Workload(sys.argv[1:])
workload.release()
while not workload.poll() and not seen:
    time.sleep(0.01)
workload.stop(interrupted=True, hurried=lambda: len(seen) > 1)
print("status", workload.status, "after", len(seen), flush=True)
"""
PATIENT_S = 300


class Session:
    """The script with its command, on a terminal of its own."""

    def __init__(self, *command: str) -> None:
        self.pid, self.master = pty.fork()
        if self.pid == 0:
            os.execv(sys.executable, [sys.executable, "-c", SCRIPT, *command])
        self.text = ""

    def type(self, keys: str) -> None:
        os.write(self.master, keys.encode())

    def until(self, word: str, times: int = 1) -> str:
        """What has been shown, once the word has been."""
        while self.text.count(word) < times:
            ready, _, _ = select.select([self.master], [], [], PATIENT_S)
            assert ready, self.text
            try:
                self.text += os.read(self.master, 4096).decode()
            except OSError:
                raise AssertionError(f"no {word!r} in {self.text!r}") from None
        return self.text

    def close(self) -> None:
        os.close(self.master)
        os.waitpid(self.pid, 0)


def test_ctrl_c_reaches_a_command_that_does_not_read_the_terminal_and_its_recorder() -> None:
    trap = "trap 'echo got it; exit 5' INT; echo up; while :; do sleep 0.01; done"
    session = Session("sh", "-c", trap)
    session.until("up")
    session.type("\x03")
    assert "got it" in session.until("status 5 after 1")
    session.close()


def test_two_ctrl_c_end_what_ignores_them_without_waiting() -> None:
    session = Session("sh", "-c", "trap '' INT TERM; echo up; while :; do sleep 0.01; done")
    session.until("up")
    session.type("\x03")
    # Each key is a signal of its own only if the first has been taken.
    session.until("seen 1")
    session.type("\x03")
    session.until("status 137 after 2")
    session.close()


def test_a_command_that_reads_the_terminal_gets_it() -> None:
    session = Session("sh", "-c", "read line; echo read $line; stty -echo && echo set; sleep 1000")
    session.type("words\n")
    session.until("read words")
    session.until("set")
    # Ctrl-C is the command's alone now.
    session.type("\x03")
    session.until("status 130 after 0")
    session.close()
