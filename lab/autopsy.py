# SPDX-License-Identifier: Apache-2.0
"""From what a guest left behind to the sentence that says why it failed."""

from __future__ import annotations

import re
from dataclasses import dataclass

from memtrace.lab.watch import Ending

LAST_LINES = 12
PANIC = re.compile(r"Kernel panic - not syncing: (.*)")
OUT_OF_MEMORY = re.compile(r"Out of memory: Killed process \d+ \((.*?)\)")


@dataclass(frozen=True)
class Remains:
    """What is known of an ended guest.

    ending     how following it ended
    started    whether its script had been started
    status     the script's exit status, None where it has not ended
    refusal    why it could not run, in its own words
    console    the kernel's console
    log        the kernel log of an ended script, else the console
    qemu_said  QEMU's own complaints
    limit_s    the time limit it had
    """

    ending: Ending
    started: bool
    status: int | None
    refusal: str
    console: str
    log: str
    qemu_said: str
    limit_s: float


def verdict(remains: Remains) -> str | None:
    """Why the guest is no result, None for one whose script ended or whose power was cut."""
    match remains.ending:
        case Ending.SCRIPT:
            victim = out_of_memory(remains.log) if remains.status else None
            if victim:
                return (
                    f"the guest ran out of memory: its kernel killed {victim}; "
                    "give it more memory, or the workload less"
                )
            return None
        case Ending.POWER_CUT:
            return None
        case Ending.REFUSED:
            return f"this kernel cannot be a guest: {remains.refusal}"
        case Ending.LATE:
            return _why_late(remains)
        case Ending.DIED:
            return _why_dead(remains)


def panicked(console: str, started: bool) -> str | None:
    """The sentence for a kernel that panicked, None where it did not."""
    found = PANIC.search(console)
    if not found:
        return None
    cure = "; give it more memory" if "memory" in found[1].lower() else ""
    return f"the guest's kernel panicked {_when(started)}: {found[1].strip()}{cure}"


def out_of_memory(log: str) -> str | None:
    """The first process killed because the whole guest was short of memory, else None."""
    found = OUT_OF_MEMORY.search(log)
    return found[1] if found else None


def with_console(sentence: str, console: str) -> str:
    """The sentence, with the last lines of the console below it where there are any."""
    lines = [line.expandtabs().rstrip() for line in console.splitlines() if line.strip()]
    if not lines:
        return sentence
    return "\n  ".join([sentence + "\nlast console lines:", *lines[-LAST_LINES:]])


def _why_late(remains: Remains) -> str:
    limit = f"within {remains.limit_s:.0f} s; the guest was killed"
    if remains.started:
        return f"the script did not end {limit}"
    return f"the guest did not reach user space {limit}{_hint(remains.console)}"


def _why_dead(remains: Remains) -> str:
    sentence = panicked(remains.console, remains.started)
    if sentence:
        return sentence
    if remains.qemu_said.strip():
        return f"QEMU failed: {remains.qemu_said.strip().splitlines()[-1]}"
    return f"the guest ended {_when(remains.started)} and did not say why{_hint(remains.console)}"


def _when(started: bool) -> str:
    return "while its script ran" if started else "before user space"


def _hint(console: str) -> str:
    if console.strip():
        return ""
    return " (it wrote nothing on its console: is CONFIG_SERIAL_8250_CONSOLE on?)"
