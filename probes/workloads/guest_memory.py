# SPDX-License-Identifier: Apache-2.0
"""Memory of a guest_memfd, touched by user space that has mapped it (Linux 6.18 on).

The guest_memfd is made by KVM_CREATE_GUEST_MEMFD with GUEST_MEMFD_FLAG_MMAP and _INIT_SHARED
(include/uapi/linux/kvm.h), for a virtual machine that never runs.
"""

from __future__ import annotations

import errno
import fcntl
import mmap
import os
import struct

from memtrace.errors import MemtraceError
from memtrace.probes.workloads import Done, Size
from memtrace.probes.workloads.moment import timed

_KVM = "/dev/kvm"
_CREATE_VM = 0xAE01
_CREATE_GUEST_MEMFD = 0xC040AED4
_FLAG_MMAP, _FLAG_INIT_SHARED = 1, 2


def mapped(size: Size) -> Done:
    """Touch pages of 4 KiB; raises MemtraceError if a node is asked for, or where this machine can't."""
    if size.nid is not None:
        raise MemtraceError("guest_memfd takes its node from the VM's memory policy: leave --node out", 2)
    try:
        kvm = os.open(_KVM, os.O_RDWR | os.O_CLOEXEC)
    except OSError as error:
        raise MemtraceError(
            f"{_KVM} can't be opened ({error.strerror}): load kvm_intel or kvm_amd"
        ) from error
    try:
        return _touched(kvm, size.size)
    finally:
        os.close(kvm)


def _touched(kvm: int, size: int) -> Done:
    machine = fcntl.ioctl(kvm, _CREATE_VM, 0)
    try:
        # With an immutable buffer, ioctl() returns the buffer's content instead of the descriptor.
        wanted = bytearray(struct.pack("<QQ48x", size, _FLAG_MMAP | _FLAG_INIT_SHARED))
        file = fcntl.ioctl(machine, _CREATE_GUEST_MEMFD, wanted)
    except OSError as error:
        if error.errno not in (errno.EINVAL, errno.ENOTTY):
            raise
        why = "this kernel's guest_memfd can't be mapped (6.18 on)"
        raise MemtraceError(f"{why}: take another workload, or a newer kernel") from error
    finally:
        os.close(machine)
    return _each_page(file, size)


def _each_page(file: int, size: int) -> Done:
    try:
        area = mmap.mmap(file, size, mmap.MAP_SHARED)
    finally:
        os.close(file)
    with area:

        def touch_each() -> None:
            for at in range(0, size, mmap.PAGESIZE):
                area[at] = 1

        return timed(touch_each, mmap.PAGESIZE, size // mmap.PAGESIZE)
