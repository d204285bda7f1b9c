# SPDX-License-Identifier: Apache-2.0
"""Proves that attached sites fire: the kernel side's counters must see a small amount of known work.

A probe can attach and stay silent, because an inlined copy runs instead or a wrapper
has moved.  So a site is proven only by work that must have passed through it.  This is
done before recording starts, and the sums that it leaves are reset.
"""

from __future__ import annotations

import dataclasses
import mmap
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from memtrace.probes.workloads.touch import HUGE_BYTES, fresh, huge_pages, touch
from memtrace.traces.run import LEFT_TO_ALLOCATOR, ProbeSite

if TYPE_CHECKING:
    from memtrace.probes.sites.system import System

_SMALL_PAGES = 128
_HUGE_ORDER = (HUGE_BYTES // mmap.PAGESIZE).bit_length() - 1
_EXERCISED = ("alloc", "zero.alloc", "zero.user", "zero.page", "zero.free", "root.fault", "root.shmem")
"""Events that page faults, and the freeing of their pages, reach.

Acceptance and hotplug can't be provoked, and stay unproven.
"""
_OUT_OF_REACH = "no work of ours reaches it"
_SAMPLED = "sampled: nothing is counted"
_FREED = "init_on_free is on: nothing is cleared as it is allocated"
_NO_HUGE_PAGE = "the kernel granted no huge page to try it with"
_ELSEWHERE = "a huge page of ours did not come here: init_on_alloc may have cleared it, which was not watched"


@dataclass(frozen=True)
class Counted:
    """What the programs have counted for one event, modulo 2**64."""

    seen: int
    sum_order: int


@dataclass(frozen=True)
class Fired:
    """What the known work caused."""

    seen: dict[str, int]
    """Number of times that each event was seen, by its name."""
    huge: int
    """Number of huge pages that the kernel granted."""
    huge_cleared: bool
    """Whether, while they were touched, the orders of zero.alloc added up to that of a huge page at least."""


def prove(
    counted: Callable[[], Mapping[str, Counted]],
    system: System,
    manifest: tuple[ProbeSite, ...],
    gate: Callable[[bool], None],
) -> tuple[ProbeSite, ...]:
    """Return the manifest with ``proven`` set where this work decides it, else ``unproven``.

    ``counted`` reads the kernel side's counters, by event.  ``gate`` starts (True) and stops
    (False) the counting of our own work.
    """
    gate(True)
    try:
        fired = _work(counted)
    finally:
        gate(False)
    return tuple(judge(site, fired, system) if site.site else site for site in manifest)


def _work(counted: Callable[[], Mapping[str, Counted]]) -> Fired:
    before = counted()
    with fresh(_SMALL_PAGES * mmap.PAGESIZE, huge=False) as address:
        touch(address, _SMALL_PAGES * mmap.PAGESIZE)
    orders = counted()["zero.alloc"].sum_order
    with fresh(HUGE_BYTES, huge=True) as address:
        touch(address, 1)
        huge = huge_pages(address, HUGE_BYTES)
        orders = counted()["zero.alloc"].sum_order - orders
    with mmap.mmap(-1, _SMALL_PAGES * mmap.PAGESIZE, flags=mmap.MAP_SHARED | mmap.MAP_ANONYMOUS) as shared:
        for page in range(_SMALL_PAGES):
            shared[page * mmap.PAGESIZE] = 1
    fired = {event: now.seen - before[event].seen for event, now in counted().items()}
    return Fired(fired, huge, orders >= _HUGE_ORDER)


def judge(site: ProbeSite, fired: Fired, system: System) -> ProbeSite:
    """Return the site with what the work says of it in ``proven`` or ``unproven``."""
    why = _undecided(site, fired, system)
    if why:
        return dataclasses.replace(site, unproven=why)
    if site.event == "zero.user":
        return dataclasses.replace(site, proven=fired.seen["zero.user"] > 0)
    event = "alloc" if site.kind == "inferred" else site.event
    return dataclasses.replace(site, proven=fired.seen[event] >= _SMALL_PAGES)


def _undecided(site: ProbeSite, fired: Fired, system: System) -> str:
    """Return why the work says nothing about a site, or "" if it does."""
    if site.event not in _EXERCISED:
        return _OUT_OF_REACH
    if site.kind == "sampling":
        return _SAMPLED
    if site.event == "zero.alloc" and system.init_on_free:
        return _FREED
    if site.event != "zero.user" or fired.seen["zero.user"]:
        return ""
    if not fired.huge:
        return _NO_HUGE_PAGE
    if not system.init_on_alloc:
        return ""
    # From 6.14 on the caller leaves the zeroing to an allocator that does it anyway
    # (5708d96da20b, "mm: avoid zeroing user movable page twice with init_on_alloc=1").
    if fired.huge_cleared:
        return LEFT_TO_ALLOCATOR
    watched = fired.seen["zero.alloc"] >= _SMALL_PAGES
    return "" if watched and not system.init_on_free else _ELSEWHERE
