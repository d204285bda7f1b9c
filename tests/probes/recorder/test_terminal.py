# SPDX-License-Identifier: Apache-2.0
"""Keys of a terminal reach COMMAND, which has a process group of its own, and its recorder."""

from __future__ import annotations

import os
import pty
import re
import select
import shlex
import sys
import time
from pathlib import Path

import pytest

SCRIPT = """
import signal, sys, time
from memtrace.probes.recorder.command import Workload
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
SHOWN = r"up (\d+)\r"
UNDER = (sys.executable, "-c", SCRIPT)
PATIENT_S = 300


# dash loses a signal that comes while it starts a program (`vforked` in its trap.c): where keys are
# typed, the shell runs none or has become one.


class Session:
    """A command on a terminal of its own."""

    def __init__(self, *command: str) -> None:
        self.pid, self.master = pty.fork()
        if self.pid == 0:
            os.environ["HISTFILE"] = os.devnull
            os.execvp(command[0], command)
        self.text = ""

    def type(self, keys: str) -> None:
        os.write(self.master, keys.encode())

    def until(self, word: str) -> str:
        """What has been shown, once the word has been, which is a pattern."""
        while not re.search(word, self.text):
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
    trap = "trap 'echo got it; exit 5' INT; echo up; while :; do :; done"
    session = Session(*UNDER, "sh", "-c", trap)
    session.until("up")
    session.type("\x03")
    assert "got it" in session.until("status 5 after 1")
    session.close()


def test_two_ctrl_c_end_what_ignores_them_without_waiting() -> None:
    session = Session(*UNDER, "sh", "-c", "trap '' INT TERM; echo up; while :; do sleep 0.01; done")
    session.until("up")
    session.type("\x03")
    # Each key is a signal of its own only if the first has been taken.
    session.until("seen 1")
    session.type("\x03")
    session.until("status 137 after 2")
    session.close()


def test_a_command_that_reads_the_terminal_gets_it() -> None:
    script = "read line; echo read $line; stty -echo && echo set; exec sleep 1000"
    session = Session(*UNDER, "sh", "-c", script)
    session.type("words\n")
    session.until("read words")
    session.until("set")
    # Ctrl-C is the command's alone now.
    session.type("\x03")
    session.until("status 130 after 0")
    session.close()


def state(text: str) -> str:
    """Of the process whose number was shown."""
    (number,) = re.findall(SHOWN, text)
    return Path(f"/proc/{number}/stat").read_text().rpartition(")")[2].split()[0]


@pytest.mark.parametrize("reads", [False, True])
def test_ctrl_z_and_fg_stop_and_go_on_with_both(tmp_path: Path, reads: bool) -> None:
    """Whether the recorder has the terminal or COMMAND."""
    script = "echo up $$; read line; echo read $line; " if reads else "echo up $$; "
    (tmp_path / "script").write_text(SCRIPT)
    words = [sys.executable, str(tmp_path / "script"), "sh", "-c", script + "exec sleep 1000"]
    session = Session("bash", "--norc", "--noprofile", "-i")
    session.type(f"{shlex.join(words)}\n")
    session.until(SHOWN)
    if reads:
        session.type("words\n")
        session.until("read words")
    session.type("\x1a")
    session.until("Stopped")
    while state(session.text) != "T":
        time.sleep(0.01)
    session.type("fg\n")
    while state(session.text) == "T":
        time.sleep(0.01)
    session.type("\x03")
    session.until(f"status 130 after {0 if reads else 1}")
    session.type("exit\n")
    session.close()
