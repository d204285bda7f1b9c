# SPDX-License-Identifier: Apache-2.0
"""Anonymous private memory: small pages, huge pages, folios between, and mlock(2)."""

from __future__ import annotations

import ctypes
import mmap
import os
from pathlib import Path

from memtrace.errors import MemtraceError
from memtrace.probes.workloads import Done, Size
from memtrace.probes.workloads.moment import timed
from memtrace.probes.workloads.touch import HUGE_BYTES, fresh, huge_pages, touch

_THP = Path("/sys/kernel/mm/transparent_hugepage")
_MIDDLE_BYTES = 64 << 10


def small(size: Size) -> Done:
    """Fault in anonymous memory in 4 KiB pages."""
    with fresh(size.size, False, size.nid) as address:
        return timed(lambda: touch(address, size.size), mmap.PAGESIZE, size.size // mmap.PAGESIZE)


def huge(size: Size) -> Done:
    """Fault in transparent huge pages; raises MemtraceError unless all are granted."""
    whole = size.size - size.size % HUGE_BYTES or HUGE_BYTES
    with fresh(whole, True, size.nid) as address:
        done = timed(lambda: touch(address, whole), HUGE_BYTES, whole // HUGE_BYTES)
        granted = huge_pages(address, whole)
    if granted != done.pages:
        raise MemtraceError(
            f"the kernel granted {granted} of {done.pages} huge pages: set {_THP}/enabled to madvise "
            "or always, or free memory"
        )
    return done


def middle(size: Size) -> Done:
    """Fault in folios of 64 KiB; raises MemtraceError where the kernel has none or grants fewer."""
    folder = _THP / f"hugepages-{_MIDDLE_BYTES >> 10}kB"
    given = folder / "stats" / "anon_fault_alloc"
    if not given.exists():
        raise MemtraceError(f"this kernel has no folios of 64 KiB for anonymous memory ({given} is missing)")
    if "[never]" in (folder / "enabled").read_text():
        raise MemtraceError(f"folios of 64 KiB are off: write madvise into {folder / 'enabled'}")
    pages = size.size // _MIDDLE_BYTES
    with fresh(size.size, True, size.nid) as address:
        before = int(given.read_text())
        done = timed(lambda: touch(address, size.size), _MIDDLE_BYTES, pages)
        granted = int(given.read_text()) - before
    if granted < pages:
        raise MemtraceError(
            f"the kernel granted {granted} of {pages} folios of 64 KiB: larger ones come first, "
            f"so write never into {_THP}/hugepages-2048kB/enabled and those between"
        )
    return done


def locked(size: Size) -> Done:
    """Make 4 KiB pages present with mlock(2); raises MemtraceError if that fails."""
    libc = ctypes.CDLL(None, use_errno=True)
    with fresh(size.size, False, size.nid) as address:

        def lock() -> None:
            if libc.mlock(ctypes.c_void_p(address), ctypes.c_size_t(size.size)) != 0:
                reason = os.strerror(ctypes.get_errno())
                raise MemtraceError(f"mlock failed ({reason}): raise `ulimit -l`, or be root")

        return timed(lock, mmap.PAGESIZE, size.size // mmap.PAGESIZE)
