# SPDX-License-Identifier: Apache-2.0
"""When work began and ended, on the clock of the trace."""

from __future__ import annotations

import os
import time
from collections.abc import Callable

from memtrace.probes.workloads import Done


def timed(work: Callable[[], object], page_bytes: int, pages: int) -> Done:
    """Run ``work`` and return when it ran (CLOCK_BOOTTIME, ns), with the page counts passed in."""
    begin = time.clock_gettime_ns(time.CLOCK_BOOTTIME)
    work()
    end = time.clock_gettime_ns(time.CLOCK_BOOTTIME)
    return Done(begin, end, os.getpid(), page_bytes, pages)
