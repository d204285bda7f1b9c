# SPDX-License-Identifier: Apache-2.0
"""A bar on a terminal, in its colors or without; nothing elsewhere, and then nothing is imported."""

from __future__ import annotations

import os
import pty
import subprocess
import sys

import pytest

from memtrace.tests.commands.terminals import environment, sent_to

WORK = """
import sys
from memtrace.commands.bar import Bar
with Bar("reading runs") as bar:
    for done in range(1, 4):
        bar.show(done, 3)
print("rich" in sys.modules)
"""
ERASED = b"\x1b[2K"
SHOWN_CURSOR = b"\x1b[?25h"


def on_a_terminal(**changes: str) -> tuple[bytes, bytes]:
    """What the work prints on standard output, and what a terminal is sent as standard error."""
    ours, theirs = pty.openpty()
    done = subprocess.run(
        [sys.executable, "-c", WORK],
        stdout=subprocess.PIPE,
        stderr=theirs,
        env=environment(**changes),
        check=True,
    )
    os.close(theirs)
    return done.stdout, sent_to(ours)


@pytest.mark.parametrize(("environment", "colored"), [({}, True), ({"NO_COLOR": "1"}, False)])
def test_a_terminal_has_the_bar_until_the_work_is_done(environment: dict[str, str], colored: bool) -> None:
    printed, sent = on_a_terminal(TERM="xterm-256color", **environment)
    assert printed == b"True\n"
    assert b"reading runs" in sent and b"3/3" in sent
    assert (b"\x1b[38;5;" in sent) == colored
    after = sent.rpartition(b"3/3")[2]
    assert ERASED in after and SHOWN_CURSOR in sent


@pytest.mark.parametrize("environment", [{}, {"TERM": "dumb"}])
def test_a_terminal_that_takes_no_controls_has_nothing(environment: dict[str, str]) -> None:
    assert on_a_terminal(**environment) == (b"False\n", b"")


def test_without_a_terminal_nothing_is_said() -> None:
    done = subprocess.run([sys.executable, "-c", WORK], capture_output=True, check=True)
    assert (done.stdout, done.stderr) == (b"False\n", b"")
