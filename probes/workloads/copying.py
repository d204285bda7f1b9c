# SPDX-License-Identifier: Apache-2.0
"""fork(2): pages that the child copies when it writes to them."""

from __future__ import annotations

import mmap
import os

from memtrace.errors import MemtraceError
from memtrace.probes.workloads import Done, Size
from memtrace.probes.workloads.moment import timed
from memtrace.probes.workloads.touch import fresh, touch


def fork(size: Size) -> Done:
    """Touch 4 KiB pages in the parent, and then all of them in a child, which copies them.

    Raises MemtraceError if the child fails.
    """
    pages = size.size // mmap.PAGESIZE
    with fresh(size.size, huge=False, nid=size.nid) as address:

        def work() -> None:
            touch(address, size.size)
            child = os.fork()
            if child == 0:
                touch(address, size.size)
                os._exit(0)
            if os.waitpid(child, 0)[1] != 0:
                raise MemtraceError("the child that copies did not end well: ask for less memory")

        return timed(work, mmap.PAGESIZE, pages, copied_pages=pages)
