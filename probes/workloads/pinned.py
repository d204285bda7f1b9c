# SPDX-License-Identifier: Apache-2.0
"""Long-term pins (FOLL_LONGTERM), as a device that is assigned to a guest takes them."""

from __future__ import annotations

import ctypes
import mmap
import os

from memtrace.errors import MemtraceError
from memtrace.probes.workloads import Done, Size
from memtrace.probes.workloads.moment import timed
from memtrace.probes.workloads.touch import HUGE_BYTES, fresh, huge_pages

_SYS_IO_URING_SETUP, _SYS_IO_URING_REGISTER = 425, 427  # x86-64
_IORING_REGISTER_BUFFERS = 0
_MOST = 1 << 30
"""Largest size of one buffer, bytes (io_uring/rsrc.c: io_buffer_validate)."""


class _Iovec(ctypes.Structure):
    _fields_ = (("base", ctypes.c_void_p), ("length", ctypes.c_size_t))


def small(size: Size) -> Done:
    """Pin memory not yet present in 4 KiB pages, by registering it with io_uring in one call."""
    return _pinned(size, huge=False)


def huge(size: Size) -> Done:
    """Pin memory in transparent huge pages likewise; raises MemtraceError unless all are granted."""
    return _pinned(size, huge=True)


def _pinned(size: Size, *, huge: bool) -> Done:
    page = HUGE_BYTES if huge else mmap.PAGESIZE
    if size.size > _MOST:
        raise MemtraceError("io_uring pins at most 1 GiB in one piece: ask for less")
    libc = ctypes.CDLL(None, use_errno=True)
    ring = libc.syscall(_SYS_IO_URING_SETUP, 1, (ctypes.c_uint8 * 120)())
    if ring < 0:
        reason = os.strerror(ctypes.get_errno())
        raise MemtraceError(f"no io_uring here ({reason}): see kernel.io_uring_disabled")
    try:
        with fresh(size.size, huge=huge, nid=size.nid) as address:
            piece = _Iovec(address, size.size)

            def pin() -> None:
                arguments = (ring, _IORING_REGISTER_BUFFERS, ctypes.byref(piece), 1)
                if libc.syscall(_SYS_IO_URING_REGISTER, *arguments) != 0:
                    reason = os.strerror(ctypes.get_errno())
                    raise MemtraceError(f"io_uring did not pin ({reason}): raise `ulimit -l`, or be root")

            done = timed(pin, page, size.size // page)
            granted = huge_pages(address, size.size) if huge else done.pages
    finally:
        os.close(ring)
    if granted != done.pages:
        raise MemtraceError(
            f"the kernel granted {granted} of {done.pages} huge pages: set "
            "/sys/kernel/mm/transparent_hugepage/enabled to madvise or always, or free memory"
        )
    return done
