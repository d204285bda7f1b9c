# SPDX-License-Identifier: Apache-2.0
"""In a guest of the emulation: touch memory of a node until the kernel has accepted some so many times.

``python3 -m memtrace.tests.vm.workloads.until_accepted COMM NID ACCEPTS``

How much memory that takes differs from boot to boot: what the boot and the start of the
recorder left accepted is used up first.  The kernel's own log tells how often it accepted.
"""

from __future__ import annotations

import contextlib
import sys
from pathlib import Path

from memtrace.probes.touch import fresh, touch

LOG = "/sys/kernel/debug/unaccepted_emul"
BLOCK = 4 << 20
MOST = 1408 << 20
"""Bytes of the node that are touched for it, at most."""


def logged() -> int:
    """How often the kernel has accepted."""
    with open(LOG) as log:
        return int(log.readline().split(" calls=")[1].split()[0])


def grow(nid: int, until: int) -> None:
    """Touch small pages, and keep them until so many accepts are logged; if they cannot be had, exits."""
    with contextlib.ExitStack() as memory:
        for _ in range(MOST // BLOCK):
            if logged() >= until:
                return
            touch(memory.enter_context(fresh(BLOCK, False, nid)), BLOCK)
    sys.exit(f"until {until} accepts memory was wanted, {logged()} were made")


def main(comm: str, nid: int, accepts: int) -> None:
    """Grow as the task COMM until there are so many accepts more."""
    Path("/proc/self/comm").write_text(comm)
    grow(nid, logged() + accepts)


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]), int(sys.argv[3]))
