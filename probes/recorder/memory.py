# SPDX-License-Identifier: Apache-2.0
"""Keeping the recorder's own memory quiet: it traces allocations, so it should make few."""

from __future__ import annotations

import ctypes
import sys
from importlib.abc import MetaPathFinder
from importlib.machinery import ModuleSpec
from pathlib import Path
from types import ModuleType
from typing import Any

_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD = -1, -3
_KEEP_BYTES = 1 << 30


class _NoPandas(MetaPathFinder):
    """Says that pandas is not installed."""

    def find_spec(
        self, fullname: str, path: Any = None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        if fullname == "pandas":
            raise ModuleNotFoundError("the recorder does without pandas", name="pandas")
        return None


def settle() -> None:
    """Import what recording needs, and let freed memory stay with the process.

    pyarrow looks for pandas at its first conversion and remembers the answer: a
    fifth of a second and 30 MB that recording has no use for; at the first one of a
    numpy array it imports numpy.ma.  Memory given back to the kernel between
    flushes would be faulted in again at the next.
    """
    finder = _NoPandas()
    sys.meta_path.insert(0, finder)
    try:
        import numpy as np
        import pyarrow as pa

        pa.array([1])
        pa.array(np.array([1]))
    finally:
        sys.meta_path.remove(finder)
    libc = ctypes.CDLL(None)
    libc.mallopt(_M_TRIM_THRESHOLD, _KEEP_BYTES)
    libc.mallopt(_M_MMAP_THRESHOLD, _KEEP_BYTES)
    pa.set_memory_pool(pa.system_memory_pool())


def peak_rss_bytes() -> int:
    """VmHWM of this process; ru_maxrss would begin at the parent's own peak."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith("VmHWM:"):
            return int(line.split()[1]) * 1024
    return 0
