# SPDX-License-Identifier: Apache-2.0
"""The rate of the host's time stamp counter, which is the guest's under emulation."""

from __future__ import annotations

import ctypes
import mmap
import platform
import time
from collections.abc import Callable

# rdtsc; shl rdx, 32; or rax, rdx; ret
READ_TSC = b"\x0f\x31\x48\xc1\xe2\x20\x48\x09\xd0\xc3"
MEASURE_S = 0.1
INSTRUCTIONS_KHZ = 1_000_000
"""Of a guest whose clock counts instructions: QEMU's counter is then in its nanoseconds."""


def host_tsc_khz() -> int | None:
    """Ticks per millisecond, measured over a tenth of a second; None on other machines."""
    if platform.machine() != "x86_64":
        return None
    try:
        with mmap.mmap(-1, mmap.PAGESIZE, prot=mmap.PROT_READ | mmap.PROT_WRITE | mmap.PROT_EXEC) as code:
            code.write(READ_TSC)
            anchor = ctypes.c_char.from_buffer(code)
            read = ctypes.CFUNCTYPE(ctypes.c_uint64)(ctypes.addressof(anchor))
            try:
                first = _sample(read)
                time.sleep(MEASURE_S)
                last = _sample(read)
            finally:
                del anchor
    except (OSError, ValueError):
        return None
    return round((last[1] - first[1]) * 1_000_000 / (last[0] - first[0]))


def _sample(read: Callable[[], int]) -> tuple[int, int]:
    # The tightest of several (ns, ticks) pairs: a preempted one would shift the rate.
    samples = []
    for _ in range(20):
        before, ticks, after = time.monotonic_ns(), read(), time.monotonic_ns()
        samples.append((after - before, (before + after) // 2, ticks))
    _, ns, ticks = min(samples)
    return ns, ticks
