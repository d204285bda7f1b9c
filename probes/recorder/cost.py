# SPDX-License-Identifier: Apache-2.0
"""What the probes add to one page fault, measured on this machine with these probes.

Fresh 4 KiB pages are touched with the gate open and, after detaching, without
probes; the difference of the best rounds is the time added to one order-0
allocation.  Done after the kernel's sums have been read: it leaves no trace in
the run.  Never subtracted from anything, only stated.
"""

from __future__ import annotations

import mmap
import time
from collections.abc import Callable

from memtrace.probes.workloads.touch import fresh, touch

_PAGES = 1024
_ROUNDS = 9


def fault_ns() -> float:
    """Best time of one page fault over some rounds, ns."""
    best = float("inf")
    size = _PAGES * mmap.PAGESIZE
    for _ in range(_ROUNDS):
        with fresh(size, huge=False) as address:
            begin = time.perf_counter_ns()
            touch(address, size)
            best = min(best, (time.perf_counter_ns() - begin) / _PAGES)
    return best


def probe_ns(gate: Callable[[bool], None], detach: Callable[[], None]) -> int:
    """ns that the attached probes add to one fault; detaches them.  Noise can make it negative."""
    gate(True)
    try:
        probed = fault_ns()
    finally:
        gate(False)
        detach()
    return round(probed - fault_ns())
