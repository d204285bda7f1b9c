# SPDX-License-Identifier: Apache-2.0
"""Time by sampling, where no function takes a probe.

The CPU clock of every CPU is sampled; a sample's kernel stack says whether it
was taken inside an allocation, in its clearing, or in folio_zero_user().  Each
stands for one period.  An estimate from n samples has a standard error of about
sqrt(n) periods; regions with interrupts off are charged to their end, which
clear_page is not (get_page_from_freelist() clears with interrupts on).

It is CPU time: of a folio_zero_user() that slept in cond_resched(), or whose virtual
CPU the host did not run, a probe's wall time holds more.  The interrupt that takes
the sample is in the period of what it interrupted.  Samples come at even intervals:
a loop whose length divides them is hit at the same places each time, and nothing in
their number tells; uneven work and real machines break the step.
"""

from __future__ import annotations

from memtrace.probes.sites.system import System

DEFAULT_HZ = 997
"""Prime, so that it does not beat with timers."""

_CLEAR = ("clear_page_erms", "clear_page_rep", "clear_page_orig")
_RANGES = 4
_USER = ("folio_zero_user", "clear_huge_page")


def macros(system: System) -> dict[str, str] | None:
    """Address ranges for the sampling program; None if symbols or addresses are missing.

    From 7.0 clearing is inlined (``rep stosb`` in the caller): then no range
    stands for it and zero.alloc can't be told from the rest of the allocation.
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
