# SPDX-License-Identifier: Apache-2.0
"""fork(2): pages that the child copies when it writes to them."""

from __future__ import annotations

import dataclasses
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
    child = 0
    with fresh(size.size, huge=False, nid=size.nid) as address:

        def work() -> None:
            nonlocal child
            touch(address, size.size)
            child = os.fork()
            if child == 0:
                touch(address, size.size)
                os._exit(0)
            if os.waitpid(child, 0)[1] != 0:
                raise MemtraceError("the child that copies did not end well: ask for less memory")

        done = timed(work, mmap.PAGESIZE, pages)
    return dataclasses.replace(done, copied_pages=pages, copied_by=child)
