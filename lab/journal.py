# SPDX-License-Identifier: Apache-2.0
"""A line for each boot, where somebody wants to know how many there were and how long they took.

The environment variable MEMTRACE_LAB_JOURNAL names the file; without it nothing is written.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

JOURNAL = "MEMTRACE_LAB_JOURNAL"


@dataclass(frozen=True)
class Noted:
    """One boot, with however it ended: the kernel as it was asked for, seconds of QEMU."""

    kernel: str
    seconds: float


def note(kernel: str, seconds: float) -> None:
    """Append a boot to the journal.  Several processes may do so at once."""
    name = os.environ.get(JOURNAL)
    if name:
        with open(name, "a") as file:
            file.write(f"{seconds:.1f} {kernel}\n")


def read(path: Path) -> tuple[Noted, ...]:
    """The boots of a journal; none where there is no file."""
    if not path.exists():
        return ()
    lines = (line.split(" ", 1) for line in path.read_text().splitlines())
    return tuple(Noted(kernel, float(seconds)) for seconds, kernel in lines)
