# SPDX-License-Identifier: Apache-2.0
"""Known work: fresh anonymous memory of a given kind on a given node, touched once."""

from __future__ import annotations

import contextlib
import ctypes
import mmap
import os
import re
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from memtrace.traces.names import decoded

HUGE_BYTES = 2 << 20
_MAPPING = re.compile(r"([0-9a-f]+)-([0-9a-f]+) ")
_MPOL_BIND = 2
_SYS_MBIND = 237  # x86-64


@dataclass(frozen=True)
class Touched:
    """Pages touched between two moments (CLOCK_BOOTTIME, ns) by one thread."""

    tid: int
    begin_ns: int
    end_ns: int
    pfns: tuple[int, ...]
    """pfn of each 4 KiB page in address order; empty where pagemap hides them."""
    huge_pages: int
    """Number of huge pages that the kernel granted, from smaps."""


@contextlib.contextmanager
def fresh(size: int, huge: bool, nid: int | None = None) -> Iterator[int]:
    """Yield the address of ``size`` bytes not yet backed by memory, aligned to 2 MiB.

    They are unmapped at the end.  Raises OSError if the node can't be bound to.
    """
    area = mmap.mmap(-1, size + HUGE_BYTES, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
    try:
        # A kernel without huge pages (PREEMPT_RT, for one) does not know the advice.
        with contextlib.suppress(OSError):
            area.madvise(mmap.MADV_HUGEPAGE if huge else mmap.MADV_NOHUGEPAGE)
        address = address_of(area)
        address += -address % HUGE_BYTES
        if nid is not None:
            bind(address, size, nid)
        yield address
    finally:
        area.close()


def address_of(area: mmap.mmap) -> int:
    """Return the address at which a mapping begins."""
    buffer = ctypes.c_char.from_buffer(area)
    return ctypes.addressof(buffer)


def touch(address: int, size: int) -> None:
    """Write to every byte in one C call, so that nothing else is allocated meanwhile."""
    ctypes.memset(address, 1, size)


def touch_counted(size: int, huge: bool, nid: int | None = None) -> Touched:
    """Touch fresh memory; return when, and which pages it got."""
    with fresh(size, huge, nid) as address:
        begin = time.clock_gettime_ns(time.CLOCK_BOOTTIME)
        touch(address, size)
        end = time.clock_gettime_ns(time.CLOCK_BOOTTIME)
        return Touched(os.getpid(), begin, end, page_frames(address, size), huge_pages(address, size))


def page_frames(address: int, size: int) -> tuple[int, ...]:
    """Return the pfns behind a range, from /proc/self/pagemap (needs CAP_SYS_ADMIN); empty if hidden."""
    pages = size // mmap.PAGESIZE
    try:
        with open("/proc/self/pagemap", "rb", buffering=0) as pagemap:
            pagemap.seek(address // mmap.PAGESIZE * 8)
            data = pagemap.read(pages * 8)
    except OSError:
        return ()
    entries = memoryview(data).cast("Q")
    frames = tuple(entry & ((1 << 55) - 1) for entry in entries)
    return frames if all(frames) else ()


def huge_pages(address: int, size: int) -> int:
    """Return how many huge pages back a range, from AnonHugePages in /proc/self/smaps.

    thp_fault_alloc would not do: it counts for the whole machine.
    """
    granted = 0
    inside = False
    for line in decoded(Path("/proc/self/smaps").read_bytes()).splitlines():
        if found := _MAPPING.match(line):
            low, high = (int(part, 16) for part in found.groups())
            inside = low < address + size and address < high
        elif inside and line.startswith("AnonHugePages:"):
            granted += int(line.split()[1]) * 1024
    return granted // HUGE_BYTES


def bind(address: int, size: int, nid: int) -> None:
    """Take the memory of a range from one node only; raises OSError if the kernel refuses."""
    libc = ctypes.CDLL(None, use_errno=True)
    mask = (ctypes.c_ulong * 16)()
    mask[nid // 64] = 1 << nid % 64
    arguments = (ctypes.c_long(_SYS_MBIND), ctypes.c_void_p(address), ctypes.c_ulong(size))
    policy = (ctypes.c_int(_MPOL_BIND), mask, ctypes.c_ulong(1024), ctypes.c_uint(0))
    if libc.syscall(*arguments, *policy) != 0:
        raise OSError(ctypes.get_errno(), f"memory can't be bound to node {nid}")
