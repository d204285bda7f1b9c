# SPDX-License-Identifier: Apache-2.0
"""Does an attached site fire?  A little known work, seen by the kernel side's counters.

A probe can attach and stay silent (an inlined copy runs
instead, a wrapper has moved), so a site is proven only by work that must have passed through it.
Done before recording starts; the sums it leaves are cleared again.
"""

from __future__ import annotations

import dataclasses
import mmap
from collections.abc import Callable

from memtrace.probes import maps
from memtrace.probes.events import NAMES
from memtrace.probes.module import Module
from memtrace.probes.touch import HUGE_BYTES, fresh, huge_pages, touch
from memtrace.traces.run import ProbeSite

_SMALL_PAGES = 128
_EXERCISED = ("alloc", "zero.alloc", "zero.user", "zero.page", "root.fault", "root.shmem")
"""Page faults reach these; acceptance and hotplug can't be provoked, and stay unproven."""


def prove(
    module: Module, cpus: int, manifest: tuple[ProbeSite, ...], gate: Callable[[bool], None]
) -> tuple[ProbeSite, ...]:
    """The manifest with ``proven`` filled in where this work decides it."""
    before = maps.counters(module, cpus)["seen"].copy()
    gate(True)
    try:
        with fresh(_SMALL_PAGES * mmap.PAGESIZE, huge=False) as address:
            touch(address, _SMALL_PAGES * mmap.PAGESIZE)
        with fresh(HUGE_BYTES, huge=True) as address:
            touch(address, 1)
            huge = huge_pages(address, HUGE_BYTES)
        with mmap.mmap(
            -1, _SMALL_PAGES * mmap.PAGESIZE, flags=mmap.MAP_SHARED | mmap.MAP_ANONYMOUS
        ) as shared:
            for page in range(_SMALL_PAGES):
                shared[page * mmap.PAGESIZE] = 1
    finally:
        gate(False)
    seen = maps.counters(module, cpus)["seen"] - before
    fired = dict(zip(NAMES, (int(n) for n in seen), strict=True))
    return tuple(dataclasses.replace(site, proven=_verdict(site, fired, huge)) for site in manifest)


def _verdict(site: ProbeSite, fired: dict[str, int], huge: int) -> bool | None:
    if site.site is None or site.kind == "sampling" or site.event not in _EXERCISED:
        return None
    if site.event == "zero.user":
        # From 6.14 on the caller leaves the clearing to an allocator that does it anyway
        # (5708d96da20b, "mm: avoid zeroing user movable page twice with init_on_alloc=1").
        if fired["zero.user"]:
            return True
        return None if not huge or fired["zero.alloc"] > _SMALL_PAGES else False
    event = "alloc" if site.kind == "inferred" else site.event
    return fired[event] >= _SMALL_PAGES
