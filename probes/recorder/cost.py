# SPDX-License-Identifier: Apache-2.0
"""The time that the probes add to one page fault, measured on this machine with these probes.

Fresh 4 KiB pages are touched with the gate open, and again without probes after
detaching.  The difference between the best rounds is the time added to one order-0
allocation.  It is measured after the kernel's sums have been read, so it leaves no
trace in the run.  It is reported, and never subtracted from anything.
"""

from __future__ import annotations

import mmap
import time
from collections.abc import Callable

from memtrace.probes.workloads.touch import fresh, touch

_PAGES = 1024
_ROUNDS = 9


def fault_ns() -> float:
    """Return the time of one page fault, ns: the mean over the pages of the best round."""
    best = float("inf")
    size = _PAGES * mmap.PAGESIZE
    for _ in range(_ROUNDS):
        with fresh(size, huge=False) as address:
            begin = time.perf_counter_ns()
            touch(address, size)
            best = min(best, (time.perf_counter_ns() - begin) / _PAGES)
    return best


def probe_ns(gate: Callable[[bool], None], detach: Callable[[], None]) -> int:
    """Return the ns that the attached probes add to one page fault, and detach them.

    Noise can make the result negative.
    """
    gate(True)
    try:
        probed = fault_ns()
    finally:
        gate(False)
        detach()
    return round(probed - fault_ns())
