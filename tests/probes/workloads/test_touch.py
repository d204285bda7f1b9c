# SPDX-License-Identifier: Apache-2.0
"""Fresh memory, also of a kernel that has no huge pages."""

from __future__ import annotations

import errno
import mmap
import os
import threading

import pytest

from memtrace.probes.workloads import touch

PAGES = 16


class NoHugePages(mmap.mmap):
    """Memory of a kernel that was built without CONFIG_TRANSPARENT_HUGEPAGE."""

    def madvise(self, option: int, start: int = 0, length: int = 0) -> None:
        """Refuse, as madvise_behavior_valid() of mm/madvise.c does."""
        if option in (mmap.MADV_HUGEPAGE, mmap.MADV_NOHUGEPAGE):
            raise OSError(errno.EINVAL, os.strerror(errno.EINVAL))
        raise AssertionError(option)


@pytest.mark.parametrize("huge", [False, True])
def test_a_kernel_without_huge_pages_gives_small_ones(huge: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("memtrace.probes.workloads.touch.mmap.mmap", NoHugePages)
    touched = touch.touch_counted(PAGES * mmap.PAGESIZE, huge=huge)
    assert touched.tid == threading.get_native_id()
    assert touched.begin_ns < touched.end_ns
    if not huge:
        assert touched.huge_pages == 0
