# SPDX-License-Identifier: Apache-2.0
"""Each way to fail has its own sentence, the last console lines below it."""

from typing import Any

import pytest

from memtrace.lab.autopsy import Remains, out_of_memory, verdict, with_console
from memtrace.lab.watch import Ending

PANIC = "[    1.0] Kernel panic - not syncing: Attempted to kill init! exitcode=0x00000100\n[    1.1] CPU: 0"
DEADLOCK = "[    9.0] Kernel panic - not syncing: System is deadlocked on memory"
KILL = "[    9.0] Out of memory: Killed process 71 (python3) total-vm:9kB, anon-rss:8kB"


def remains(ending: Ending, **changes: Any) -> Remains:
    values = {
        "started": True,
        "status": None,
        "refusal": "",
        "console": "[    0.0] Linux version 6.12",
        "log": "",
        "qemu_said": "",
        "limit_s": 60.0,
    }
    return Remains(ending=ending, **{**values, **changes})


@pytest.mark.parametrize("status", [0, 3])
def test_a_script_that_ends_is_a_result_whatever_its_status(status: int) -> None:
    assert verdict(remains(Ending.SCRIPT, status=status)) is None


def test_a_cut_power_is_a_result() -> None:
    assert verdict(remains(Ending.POWER_CUT)) is None


@pytest.mark.parametrize(
    ("left", "sentence"),
    [
        (remains(Ending.SCRIPT, status=137, log=KILL), "ran out of memory: its kernel killed python3"),
        (remains(Ending.DIED, console=DEADLOCK), "deadlocked on memory; give it more memory"),
        (remains(Ending.DIED, console=PANIC), "panicked while its script ran: Attempted to kill init!"),
        (remains(Ending.DIED, console=PANIC, started=False), "panicked before user space"),
        (remains(Ending.DIED, qemu_said="qemu: a\nqemu: cannot b\n"), "QEMU failed: qemu: cannot b"),
        (remains(Ending.DIED), "ended while its script ran and did not say why"),
        (remains(Ending.DIED, console="", started=False), "CONFIG_SERIAL_8250_CONSOLE"),
        (remains(Ending.LATE), "the script did not end within 60 s"),
        (remains(Ending.LATE, started=False), "did not reach user space within 60 s"),
        (remains(Ending.REFUSED, refusal="no 9p"), "this kernel cannot be a guest: no 9p"),
    ],
)
def test_failures(left: Remains, sentence: str) -> None:
    said = verdict(left)
    assert said is not None
    assert sentence in said
    assert "\n" not in said


def test_a_script_that_ends_well_may_have_had_victims() -> None:
    assert verdict(remains(Ending.SCRIPT, status=0, log=KILL)) is None


def test_a_memory_cgroup_s_victim_is_the_script_s_own_affair() -> None:
    assert out_of_memory("Memory cgroup out of memory: Killed process 71 (python3)") is None


def test_the_last_lines_of_the_console_come_below_the_sentence() -> None:
    console = "".join(f"line {number}\n\n" for number in range(100))
    text = with_console("It failed.", console).splitlines()
    assert text[:2] == ["It failed.", "last console lines:"]
    assert text[-1] == "  line 99"
    assert len(text) < 20


def test_without_a_console_the_sentence_stands_alone() -> None:
    assert with_console("It failed.", " \n") == "It failed."
