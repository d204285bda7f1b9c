# SPDX-License-Identifier: Apache-2.0
"""What memory was wanted for, from the innermost root around it and its gfp flags.

The kernel asks for anonymous memory with __GFP_ZERO where the allocator is to clear
it, and without where the caller will clear (huge pages, larger folios), copy or
read something over it.  Inside a fault, a populate or a pin, therefore: asked is
anonymous; not asked and of an order above 0 is a larger anonymous folio; not asked
and of order 0 is a page that something else is written to.

In a run without roots only the gfp flags are left: __GFP_MOVABLE is user memory and
page cache, __GFP_ZERO was asked for.  Where they were not seen either, it is unknown.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from memtrace.analyzer.facts import fact
from memtrace.analyzer.zero.coverage import KHUGEPAGED_PATH, SHMEM_PATH, sees

if TYPE_CHECKING:
    from memtrace.traces.reader import Run
    from memtrace.traces.totals import RootTotal

ANON, FOLIO, COPIED = "anonymous", "anonymous, huge", "copied or read"
HUGETLB, SHMEM, CACHE, KHUGEPAGED = "hugetlb", "shmem", "page cache", "khugepaged"
UNKNOWN = "unknown"
UNPLACED = "unknown"
"""Root of sums of which no root is known, in a run that has roots."""
GUEST_MEMFD = "root.guest_memfd"
_BY_ROOT = {
    "root.hugetlb_fault": HUGETLB,
    "root.hugetlb_pool": HUGETLB,
    "root.shmem": SHMEM,
    "root.page_cache": CACHE,
    "root.slab": "slab",
    "root.page_table": "page tables",
    "root.vmalloc": "vmalloc",
    "root.khugepaged": KHUGEPAGED,
    "root.compaction": "compaction",
}
_FAULTS = ("root.fault", "root.thp_fault", "root.cow", "root.populate", "root.pin")
ALLOCATOR, CALLER, FREE = "zero.alloc", ("zero.user", "zero.page"), "zero.free"
CLEARING = (ALLOCATOR, *CALLER, FREE)
MANY = ("alloc.bulk", "alloc.contig")
"""Allocations of many pages at once, around the clears and single allocations in them."""


def kind_of(total: RootTotal, rooted: bool = True) -> str:
    """The kind of one total's memory; ``rooted``: whether the run has roots at all."""
    within = total.within
    if total.event == FREE:
        return "freed"
    if not rooted or total.root == UNPLACED:
        return _by_gfp(total)
    if total.root == GUEST_MEMFD and within in (GUEST_MEMFD, "root.page_cache"):
        # A guest_memfd's folios are in its page cache.
        return "guest_memfd"
    if within in _BY_ROOT:
        return _BY_ROOT[within]
    if within not in _FAULTS:
        return "other kernel"
    large = (total.order or 0) > 0
    if total.asked is None and total.event in ("alloc", ALLOCATOR):
        return FOLIO if large and within == "root.thp_fault" else UNKNOWN
    if total.event == "zero.user" or (not total.asked and large):
        return FOLIO
    return ANON if total.asked else COPIED


def _by_gfp(total: RootTotal) -> str:
    if total.asked is None or total.movable is None:
        return UNKNOWN
    whose = "user or file" if total.movable else "kernel"
    return f"{whose}, asked" if total.asked else whose


@dataclass
class Cell:
    """Sums of one cell; bytes, occurrences and ns."""

    allocated: int = 0
    by_allocator: int = 0
    by_caller: int = 0
    on_free: int = 0
    asked: int = 0
    """Bytes of by_allocator that the caller asked for."""
    unsure: int = 0
    """Bytes of by_allocator of which that is unknown: no gfp flags."""
    placed: int = 0
    """Bytes cleared of which it is known whether the CPU was of another node."""
    remote: int = 0
    """Bytes cleared from a CPU of another node."""
    remote_ns: int = 0
    time_ns: int = 0
    timed: bool = True
    """Whether the time of every clear is known."""
    unasked_ns: int = 0
    """Of the allocator's time, what nobody asked for."""
    unsure_ns: int = 0
    """Of the allocator's time, that of ``unsure``."""
    pooled: bool = False
    """Whether its memory may have been allocated, and cleared, before the run."""
    derived: bool = False
    """by_allocator follows from gfp flags."""
    roots: set[str] = field(default_factory=set)

    @property
    def cleared(self) -> int:
        """Bytes cleared, each clear counted."""
        return self.by_allocator + self.by_caller + self.on_free

    @property
    def unasked(self) -> int:
        """Bytes of by_allocator that nobody asked for."""
        return self.by_allocator - self.asked - self.unsure

    def add(self, total: RootTotal, derive: bool) -> None:
        """Count one total in; ``derive``: clearing by the allocator is not seen but follows."""
        if total.event == "alloc":
            self.allocated += total.bytes
            if derive and total.zeroed:
                self.derived = True
                self.timed = False
                self._allocated(total, None)
            return
        if total.event not in CLEARING:
            return
        self.pooled = self.pooled or kind_of(total) == HUGETLB
        self._count(total)
        self.timed = self.timed and total.total_ns is not None
        self.time_ns += total.total_ns or 0
        self.placed += 0 if total.remote is None else total.bytes
        if total.remote:
            self.remote += total.bytes
            self.remote_ns += total.total_ns or 0
        if total.root:
            self.roots.add(total.root)

    def _count(self, total: RootTotal) -> None:
        if total.event in CALLER:
            self.by_caller += total.bytes
        elif total.event == FREE:
            self.on_free += total.bytes
        else:
            self._allocated(total, total.total_ns)

    def _allocated(self, total: RootTotal, ns: int | None) -> None:
        """Cleared by the allocator."""
        self.by_allocator += total.bytes
        if total.asked is None:
            self.unsure += total.bytes
            self.unsure_ns += ns or 0
        elif total.asked:
            self.asked += total.bytes
        else:
            self.unasked_ns += ns or 0


Key = tuple[str | int | None, ...]


def cells(totals: Sequence[RootTotal], by: tuple[str, ...], derive: bool) -> dict[Key, Cell]:
    """Cells by ``kind`` and fields of RootTotal, those with memory in them, keys sorted."""
    rooted = any(total.root for total in totals)
    found: dict[Key, Cell] = {}
    for total in totals:
        if total.event != "alloc" and total.event not in CLEARING:
            continue
        key = tuple(kind_of(total, rooted) if name == "kind" else getattr(total, name) for name in by)
        found.setdefault(key, Cell()).add(total, derive)
    order = sorted(found, key=lambda key: tuple((value is None, value) for value in key))
    return {key: found[key] for key in order}


@dataclass(frozen=True)
class Counted:
    """What a run counted, or derived from its allocations: the rest is unknown."""

    allocations: bool = True
    """alloc; beside accept.* a run may have some of them without having recorded it."""
    allocator: bool = True
    user: bool = True
    """zero.user: huge pages and larger folios."""
    shmem: bool = True
    khugepaged: bool = True
    """Its holes; both are zero.page, at sites of their own."""
    free: bool = True
    """zero.free, or that there is none: init_on_free is off."""

    def callers(self, kind: str) -> bool:
        """Whether it counted the clears by callers in memory of this kind."""
        return {SHMEM: self.shmem, KHUGEPAGED: self.khugepaged}.get(kind, self.user)

    def whole(self, totals: Sequence[RootTotal]) -> bool:
        """Whether it counted every clear in what these sums are of."""
        return self.allocator and all(self.callers(kind_of(total)) for total in totals)


ALL = Counted()


def counted(run: Run, totals: Sequence[RootTotal]) -> Counted:
    """By its sites, less those at which known work was not seen; what there are sums of was counted."""
    events = {total.event for total in totals}
    sites = [site for site in run.header.manifest if site.site and site.proven is not False]
    known = {site.event for site in sites if site.count in ("exact", "inferred")}
    paged = {kind_of(total) for total in totals if total.event == "zero.page"}
    asked = run.header.events
    accepts = any(event.startswith("accept.") for event in asked)
    return Counted(
        allocations="alloc" in asked or ("alloc" in events and not accepts),
        allocator=ALLOCATOR in known | events,
        user=counts_callers(run),
        shmem=sees(run.header, SHMEM_PATH) or SHMEM in paged,
        khugepaged=sees(run.header, KHUGEPAGED_PATH) or KHUGEPAGED in paged,
        free=FREE in known | events or fact(run.header, "init_on_free") == "no",
    )


def counts_callers(run: Run) -> bool:
    """Whether clearing by callers was counted in this run: the site of zero.user sees each folio."""
    sites = [site for site in run.header.manifest if site.event == "zero.user" and site.site]
    return any(site.count == "exact" for site in sites)


def derives(run: Run) -> bool:
    """Whether clearing by the allocator was not seen in this run, and follows from its allocations."""
    return any(site.event == ALLOCATOR and site.kind == "inferred" for site in run.header.manifest)
