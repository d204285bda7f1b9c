# SPDX-License-Identifier: Apache-2.0
"""memtrace: what memory costs a Linux kernel, per order and per NUMA node."""

from __future__ import annotations

from typing import TYPE_CHECKING

from memtrace.errors import MemtraceError

if TYPE_CHECKING:
    from pathlib import Path

    from memtrace.analyzer.opened import OpenRun

__all__ = ["MemtraceError", "__version__", "open"]
__version__ = "0.2.0"


def open(path: str | Path) -> OpenRun:
    """Open a run file; its tables are pandas DataFrames (docs/python.md).

    Raises MemtraceError, which says what is wrong with the file and what to do.
    """
    from memtrace.analyzer.opened import OpenRun

    return OpenRun(path)
