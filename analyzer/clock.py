# SPDX-License-Identifier: Apache-2.0
"""What the times of a run were counted by: of a guest of `memtrace lab --clock`, perhaps instructions.

On that clock one instruction is one nanosecond, whichever CPU executes it (QEMU's
-icount).  The CPUs take turns, so a CPU that spins for another counts its own spinning and
the other's work, and how much of each the emulator decides: with more than one CPU the
length of a wait, and the overlap of two CPUs, are the emulator's and not the kernel's.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from memtrace.traces.run import RunHeader

INSTRUCTIONS = "memtrace.clock=instructions"
"""On the kernel command line of such a guest (lab/qemu.py)."""


def by_instructions(header: RunHeader) -> bool:
    """Whether the clock counted instructions."""
    return INSTRUCTIONS in header.kernel_cmdline.split()


def takes_turns(header: RunHeader) -> bool:
    """Whether several CPUs shared such a clock; also where their number is unknown."""
    return by_instructions(header) and header.cpus != 1


def turns_text(header: RunHeader) -> str:
    """What that means, as a sentence."""
    cpus = f"{header.cpus} CPUs" if header.cpus else "CPUs"
    return (
        f"{cpus} took turns on a clock of instructions: time in which one spins or waits for another is the"
        " emulator's, and so is what overlaps; record with one CPU, or by the host's clock, to judge waiting"
    )
