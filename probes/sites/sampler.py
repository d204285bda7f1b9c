# SPDX-License-Identifier: Apache-2.0
"""Estimates time by sampling, where no function takes a probe.

The CPU clock of every CPU is sampled.  A sample's kernel stack says whether it was
taken inside an allocation, in the zeroing of that allocation, or in folio_zero_user().
Each sample stands for one period.  An estimate from n samples has a standard error of
about sqrt(n) periods.  A region with interrupts off is charged to its end; clear_page is
not in one (get_page_from_freelist() zeroes with interrupts on).

The estimate is CPU time.  Where folio_zero_user() slept in cond_resched(), or the host
did not run its virtual CPU, the wall time that a probe measures is longer.  The interrupt
that takes a sample is in the period of what it interrupted.  Samples come at even
intervals: a loop whose length divides the interval is hit at the same places each time,
and the number of samples does not show it.  Uneven work and real machines break the step.
"""

from __future__ import annotations

from memtrace.probes.sites.system import System

DEFAULT_HZ = 997
"""Samples per second on each CPU; prime, so that they do not beat with timers."""

_CLEAR = ("clear_page_erms", "clear_page_rep", "clear_page_orig")
_RANGES = 4
_USER = ("folio_zero_user", "clear_huge_page")


def macros(system: System) -> dict[str, str] | None:
    """Return the address ranges for the sampling program; None if symbols or addresses are missing.

    From 7.0 on the zeroing is inlined (``rep stosb`` in the caller).  No range stands for it
    then, and zero.alloc can't be told from the rest of the allocation.
    """
    symbols = system.symbols
    alloc = symbols.one("get_page_from_freelist")
    clears = [s for name in _CLEAR if (s := symbols.one(name)) is not None]
    if alloc is None or not clears:
        return None
    user = next((s for name in _USER if (s := symbols.one(name)) is not None), None)
    ranges = {"MT_ALLOC": (alloc.address, alloc.end)}
    ranges["MT_USER"] = (user.address, user.end) if user else (1, 0)
    for i in range(_RANGES):
        ranges[f"MT_CLEAR{i}"] = (clears[i].address, clears[i].end) if i < len(clears) else (1, 0)
    numbers = {"MT_SAMPLE": "1"}
    for name, (low, high) in ranges.items():
        numbers[f"{name}_LO"], numbers[f"{name}_HI"] = f"{low:#x}ULL", f"{high:#x}ULL"
    return numbers
