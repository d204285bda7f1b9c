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

from memtrace.probes.workloads.touch import fresh, touch

LOG = "/sys/kernel/debug/unaccepted_emul"
BLOCK = 4 << 20
MOST = 1408 << 20
"""Bytes of the node that are touched for it, at most."""


def logged() -> int:
    """How often the kernel has accepted."""
    with open(LOG) as log:
        return int(log.readline().split(" calls=")[1].split()[0])


class Growth(contextlib.ExitStack):
    """Memory of a node that is touched, and kept until the end of the block."""

    def __init__(self, nid: int) -> None:
        super().__init__()
        self._nid = nid
        self._touched = 0

    def until(self, accepts: int, huge: bool = False) -> None:
        """Touch small pages, or huge ones, until so many accepts are logged; exits if they cannot be had."""
        while logged() < accepts:
            if self._touched >= MOST:
                sys.exit(f"{accepts} accepts were wanted, but {logged()} were made: raise MOST")
            touch(self.enter_context(fresh(BLOCK, huge, self._nid)), BLOCK)
            self._touched += BLOCK


def main(comm: str, nid: int, accepts: int) -> None:
    """Grow as the task COMM until there are so many accepts more."""
    Path("/proc/self/comm").write_text(comm)
    with Growth(nid) as memory:
        memory.until(logged() + accepts)


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]), int(sys.argv[3]))
