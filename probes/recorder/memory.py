# SPDX-License-Identifier: Apache-2.0
"""Keeps the recorder's own allocations few, because it is allocations that it traces."""

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
    """An import finder that says that pandas is not installed."""

    def find_spec(
        self, fullname: str, path: Any = None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        if fullname == "pandas":
            raise ModuleNotFoundError("the recorder does without pandas", name="pandas")
        return None


def settle(many_texts: bool) -> None:
    """Import what recording needs, and let freed memory stay with the process.

    pyarrow looks for pandas at its first conversion and remembers the answer.  Importing
    pandas costs a fifth of a second and 30 MB, and recording has no use for it.  At the
    first conversion of a numpy array pyarrow imports numpy.ma.  Memory given back to the
    kernel between flushes would be faulted in again at the next one.  The writer takes
    pyarrow.compute for a column of ``many_texts``, as stacks are.
    """
    finder = _NoPandas()
    sys.meta_path.insert(0, finder)
    try:
        import numpy as np
        import pyarrow as pa

        if many_texts:
            import pyarrow.compute
        pa.array([1])
        pa.array(np.array([1]))
    finally:
        sys.meta_path.remove(finder)
    libc = ctypes.CDLL(None)
    libc.mallopt(_M_TRIM_THRESHOLD, _KEEP_BYTES)
    libc.mallopt(_M_MMAP_THRESHOLD, _KEEP_BYTES)
    pa.set_memory_pool(pa.system_memory_pool())


def peak_rss_bytes() -> int:
    """Return VmHWM of this process in bytes, or 0 if /proc/self/status does not have it.

    ru_maxrss will not do, because it begins at the parent's own peak.
    """
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith("VmHWM:"):
            return int(line.split()[1]) * 1024
    return 0
