# SPDX-License-Identifier: Apache-2.0
"""Kernel memory that user space can ask for by size."""

from __future__ import annotations

import ctypes
import mmap
import os
import struct

from memtrace.errors import MemtraceError
from memtrace.probes.workloads import Done, Size
from memtrace.probes.workloads.moment import timed

_SYS_BPF = 321  # x86-64
_BPF_MAP_CREATE, _BPF_MAP_TYPE_ARRAY = 0, 2


def bpf_array(size: Size) -> Done:
    """Create a BPF array with one page for each value: vmalloc memory (kernel/bpf/arraymap.c).

    Raises MemtraceError if a node is asked for, or if the kernel refuses the array.
    """
    if size.nid is not None:
        raise MemtraceError("the kernel's memory can't be bound to a node: leave out --node", 2)
    pages = size.size // mmap.PAGESIZE
    attribute = struct.pack("<IIII", _BPF_MAP_TYPE_ARRAY, 4, mmap.PAGESIZE, pages).ljust(64, b"\0")
    libc = ctypes.CDLL(None, use_errno=True)
    made: list[int] = []

    def create() -> None:
        made.append(libc.syscall(_SYS_BPF, _BPF_MAP_CREATE, attribute, len(attribute)))

    # The array also has one page for its head, and a zeroed array of pointers to all pages (mm/vmalloc.c).
    held = pages + 1 + -(-(pages + 1) * 8 // mmap.PAGESIZE)
    done = timed(create, mmap.PAGESIZE, held)
    if made[0] < 0:
        reason = os.strerror(ctypes.get_errno())
        raise MemtraceError(f"no BPF array of {size.size >> 20} MiB ({reason}): be root, or ask for less")
    os.close(made[0])
    return done
