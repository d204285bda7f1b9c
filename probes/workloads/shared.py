# SPDX-License-Identifier: Apache-2.0
"""Memory with a file behind it: shared anonymous memory, a memfd, the page cache of a file."""

from __future__ import annotations

import mmap
import os
import tempfile

from memtrace.probes.workloads import Done, Size
from memtrace.probes.workloads.moment import timed
from memtrace.probes.workloads.touch import address_of, bind, touch

_WRITE_BYTES = 1 << 20


def anonymous(size: Size) -> Done:
    """Fault in shared anonymous memory (shmem)."""
    return _mapped(-1, size)


def memfd(size: Size) -> Done:
    """Fault in a memfd (shmem) through a mapping of it."""
    fd = os.memfd_create("memtrace")
    try:
        os.ftruncate(fd, size.size)
        return _mapped(fd, size)
    finally:
        os.close(fd)


def file(size: Size) -> Done:
    """Write a new file from its beginning to its end, which fills the page cache."""
    data = bytes(_WRITE_BYTES)
    with tempfile.TemporaryFile() as output:

        def write() -> None:
            for _ in range(size.size // _WRITE_BYTES):
                os.write(output.fileno(), data)

        return timed(write, mmap.PAGESIZE, size.size // mmap.PAGESIZE)


def _mapped(fd: int, size: Size) -> Done:
    flags = mmap.MAP_SHARED | (mmap.MAP_ANONYMOUS if fd < 0 else 0)
    with mmap.mmap(fd, size.size, flags=flags) as area:
        address = address_of(area)
        if size.nid is not None:
            bind(address, size.size, size.nid)
        return timed(lambda: touch(address, size.size), mmap.PAGESIZE, size.size // mmap.PAGESIZE)
