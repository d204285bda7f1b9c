# SPDX-License-Identifier: Apache-2.0
"""Work whose page counts are known beforehand, one module per subject: `memtrace workload NAME`.

Each workload uses fresh memory, changes no setting of the machine, and says what it did
in pages, so that a trace of it can be checked against that.  May import machine/.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable
from dataclasses import dataclass

from memtrace.errors import MemtraceError


@dataclass(frozen=True)
class Size:
    """How much memory to use, and on which node."""

    size: int
    """Bytes, a multiple of 1 MiB."""
    nid: int | None = None
    """Node to bind the memory to; None for no binding."""


@dataclass(frozen=True)
class Done:
    """What was done between two moments (CLOCK_BOOTTIME, ns) by one thread."""

    begin_ns: int
    end_ns: int
    tid: int
    page_bytes: int
    """Size of each page that the memory came in, bytes."""
    pages: int
    """Number of pages of that size."""
    copied_pages: int = 0
    """Number of pages copied on write in addition."""
    copied_by: int | None = None
    """Thread that copied them, a child; None where none were."""


@dataclass(frozen=True)
class Kind:
    """A workload: what it is, and the module and function that do it."""

    doc: str
    module: str
    function: str


KINDS: dict[str, Kind] = {
    "anon": Kind("anonymous memory in 4 KiB pages, touched", "anonymous", "small"),
    "thp": Kind("anonymous memory in transparent huge pages, touched", "anonymous", "huge"),
    "mthp": Kind("anonymous memory in 64 KiB folios, touched", "anonymous", "middle"),
    "mlock": Kind("anonymous memory in 4 KiB pages, made present by mlock(2)", "anonymous", "locked"),
    "hugetlb": Kind("hugetlb pages of 2 MiB from the pool, touched", "hugetlb", "two_mib"),
    "hugetlb-1g": Kind("hugetlb pages of 1 GiB from the pool, touched", "hugetlb", "one_gib"),
    "shmem": Kind("shared anonymous memory, touched", "shared", "anonymous"),
    "memfd": Kind("memory of a memfd, touched through a mapping", "shared", "memfd"),
    "guest-memfd": Kind("memory of a guest_memfd, touched through a mapping", "guest_memory", "mapped"),
    "file": Kind("the page cache of a new file in TMPDIR, written", "shared", "file"),
    "fork": Kind("anonymous memory touched, then copied on write by a child", "copying", "fork"),
    "pin": Kind("anonymous memory pinned for long by io_uring, as VFIO pins it", "pinned", "small"),
    "pin-thp": Kind("the same in transparent huge pages", "pinned", "huge"),
    "vmalloc": Kind("kernel memory of a large BPF array, in single pages", "kernel_memory", "bpf_array"),
}
"""The workloads by name."""


def run(name: str, size: Size) -> Done:
    """Run a workload by name; raises MemtraceError where this machine can't (no hugetlb pages free, …)."""
    if name not in KINDS:
        raise MemtraceError(f"there is no workload {name!r}; take one of {', '.join(KINDS)}", 2)
    kind = KINDS[name]
    work: Callable[[Size], Done] = getattr(
        importlib.import_module(f"{__name__}.{kind.module}"), kind.function
    )
    try:
        return work(size)
    except OSError as error:
        reason = f"the {name} workload could not get {size.size >> 20} MiB ({error.strerror or error})"
        raise MemtraceError(f"{reason}: ask for less with --mib, or for another --node") from error
