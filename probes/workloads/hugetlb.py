# SPDX-License-Identifier: Apache-2.0
"""hugetlb memory: pages that are taken from the pool and zeroed at the fault."""

from __future__ import annotations

import mmap
from pathlib import Path

from memtrace.errors import MemtraceError
from memtrace.probes.workloads import Done, Size
from memtrace.probes.workloads.moment import timed
from memtrace.probes.workloads.touch import address_of, bind

_MAP_HUGETLB = 0x40000
_MAP_HUGE_SHIFT = 26
"""include/uapi/asm-generic/hugetlb_encode.h"""


def two_mib(size: Size) -> Done:
    """Touch pages of 2 MiB; raises MemtraceError if the pool has too few."""
    return _touched(size, 21)


def one_gib(size: Size) -> Done:
    """Touch pages of 1 GiB, at least one; raises MemtraceError if the pool has too few."""
    return _touched(size, 30)


def _touched(size: Size, shift: int) -> Done:
    page = 1 << shift
    pages = max(size.size >> shift, 1)
    name = f"hugepages-{page >> 10}kB"
    global_pool = Path("/sys/kernel/mm/hugepages") / name
    node_pool = Path(f"/sys/devices/system/node/node{size.nid}/hugepages") / name
    pool = global_pool if size.nid is None else node_pool
    if not pool.is_dir():
        raise MemtraceError(f"this machine has no hugetlb pages of {page >> 20} MiB ({pool} is missing)")
    free = int((pool / "free_hugepages").read_text())
    if free < pages:
        raise MemtraceError(
            f"{free} hugetlb pages of {page >> 20} MiB are free and {pages} are needed: "
            f"write more into {pool / 'nr_hugepages'}, or ask for less"
        )
    flags = mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS | _MAP_HUGETLB | shift << _MAP_HUGE_SHIFT
    try:
        area = mmap.mmap(-1, pages << shift, flags=flags)
    except OSError as error:
        raise MemtraceError(f"hugetlb memory can't be mapped ({error.strerror}): ask for less") from error
    with area:
        if size.nid is not None:
            bind(address_of(area), pages << shift, size.nid)

        def touch_each() -> None:
            for i in range(pages):
                area[i << shift] = 1

        return timed(touch_each, page, pages)
