# SPDX-License-Identifier: Apache-2.0
"""What is done to a guest when its script calls `lab-mark`, and whether it came about.

The guest says "mark NAME".  Where nothing of its memory changes, the answer is "done".
Otherwise the host changes it and says "look BYTES"; the guest waits until its memory
blocks hold as much, says "now BYTES", and gets the answer, "done ..." or "failed ...".
That the firmware's report says success is not enough: it also does where the kernel
cannot add memory (acpi_no_memhotplug, no CONFIG_ACPI_HOTPLUG_MEMORY).
"""

from __future__ import annotations

import dataclasses
import time

from memtrace.lab import hotplug
from memtrace.lab.qmp import Qmp
from memtrace.lab.sizes import MIB
from memtrace.lab.spec import Action, CutPower, Done, PlugDimm, ResizeVirtioMem, Step, UnplugDimm

STEP_PATIENCE_S = 20.0
MOST_MARKS = 1000
"""Of the marks that came, as many are kept: a script may call one in a loop."""


class Marks:
    """The steps of one guest.

    done    those whose mark came, with the answers
    called  the marks that came, the first MOST_MARKS
    """

    def __init__(self, qmp: Qmp, steps: tuple[Step, ...]) -> None:
        self.done: list[Done] = []
        self.called: list[str] = []
        self._qmp = qmp
        self._left = list(steps)
        self._blocks = 0
        self._sizes: dict[str, int] = {}
        self._new: list[Done] = []
        self._change = 0

    def note_blocks(self, size: int) -> None:
        """Take the bytes of the guest's memory blocks before any step."""
        self._blocks = size

    def come(self, mark: str, deadline: float) -> str | None:
        """Do the steps of a mark that are not done yet.

        deadline  time.monotonic() at which the guest is ended
        Returns what the guest is told, None where its power is to be cut.  Raises
        MemtraceError where QEMU refuses.
        """
        if len(self.called) < MOST_MARKS:
            self.called.append(mark)
        self._new, self._change = [], 0
        for step in [step for step in self._left if step.mark == mark]:
            if isinstance(step.action, CutPower):
                return None
            self._left.remove(step)
            self._qmp.timeout_s = min(STEP_PATIENCE_S, max(deadline - time.monotonic(), 1.0))
            self._new.append(Done(step, hotplug.perform(self._qmp, step.action)))
            self._change += self._change_by(self._new[-1])
        return f"look {self._blocks + self._change}" if self._new else "done"

    def look(self, size: int) -> str:
        """The answer to a guest whose memory blocks now hold ``size`` bytes."""
        added, wanted = size - self._blocks, self._change
        if added < wanted:
            but = f"is plugged, but the guest has added {max(added, 0) // MIB}M of {wanted // MIB}M"
            self._new = [
                dataclasses.replace(one, answer=f"failed {name} {but}") if grows and succeeded(one) else one
                for one in self._new
                for name, grows in [_subject(one.step.action)]
            ]
        self._blocks = size
        self.done += self._new
        failed = [one.answer for one in self._new if not succeeded(one)]
        return "; ".join(failed or (one.answer for one in self._new))

    def _change_by(self, done: Done) -> int:
        """Bytes by which the step has changed the guest's memory, as the host sees it."""
        name, size = _subject(done.step.action)
        if not succeeded(done):
            return 0
        before = self._sizes.get(name, 0)
        self._sizes[name] = size
        return size - before


def succeeded(done: Done) -> bool:
    """Whether a step came about."""
    return done.answer.startswith("done")


def _subject(action: Action) -> tuple[str, int]:
    """The device of a step, and the bytes that it has afterwards."""
    match action:
        case PlugDimm(name, _, size) | ResizeVirtioMem(name, size):
            return name, size
        case UnplugDimm(name):
            return name, 0
    return "", 0
