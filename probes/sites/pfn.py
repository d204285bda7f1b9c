# SPDX-License-Identifier: Apache-2.0
"""Learns vmemmap_base from live events, where kallsyms does not give it.

A raw program on kmem:mm_page_alloc gets a page pointer, and the tracepoint's record
holds the pfn of the same page.  Both programs on one event, on one CPU, give
page - pfn * sizeof(struct page).  The answer must be the same several times.
"""

from __future__ import annotations

import mmap

import numpy as np

from memtrace.probes.programs.module import Module
from memtrace.probes.programs.refusal import RefusedError
from memtrace.probes.programs.tables import percpu
from memtrace.probes.sites.system import System

_PAIR = np.dtype([("page", "<u8"), ("pfn", "<u8")])
_AGREEING = 4


def learn_vmemmap_base(module: Module, system: System) -> int | None:
    """Return vmemmap_base, or None if it could not be learnt; pfns are then unknown."""
    size = system.btf.size_of("page") if system.btf else None
    number = system.mm_page_alloc_id
    if size is None or number is None:
        return None
    attached: list[int] = []
    try:
        attached.append(module.open_rawtp("mm_page_alloc", "mt_calibrate_page"))
        # Second, because the programs of a tracepoint run in the order in which they were attached.
        attached.append(module.open_tracepoint(number, "mt_calibrate_pfn"))
        return _agreed(module, system, size)
    except RefusedError:
        return None
    finally:
        module.leave(*reversed(attached))


def _agreed(module: Module, system: System, size: int) -> int | None:
    bases: set[int] = set()
    seen = 0
    for _ in range(64):
        with mmap.mmap(-1, mmap.PAGESIZE) as page:
            page[0] = 1
        for pair in percpu(module, "mt_calibration", 0, _PAIR, system.cpus):
            if pair["page"] and pair["pfn"]:
                bases.add(int(pair["page"]) - int(pair["pfn"]) * size)
                seen += 1
        if seen >= _AGREEING:
            break
    return bases.pop() if len(bases) == 1 else None
