# SPDX-License-Identifier: Apache-2.0
"""Small runs of clearing with known answers: by root, by task, by cgroup and by stack."""

from __future__ import annotations

from typing import Any

from memtrace.tests.analyzer.recorded import (
    START,
    Case,
    Row,
    aggregated,
    between,
    counters,
    header,
    status,
    streamed,
    total,
)
from memtrace.traces.run import Fact
from memtrace.traces.schema import Flag
from memtrace.traces.totals import TaskTotal

FAULT_STACK = "asm_exc_page_fault;exc_page_fault;handle_mm_fault;__handle_mm_fault"
ANON_STACK = f"{FAULT_STACK};do_anonymous_page;vma_alloc_folio_noprof;get_page_from_freelist"
HUGE_STACK = f"{FAULT_STACK};do_huge_pmd_anonymous_page;folio_zero_user"
_CLEARS_EVENTS = (
    "alloc",
    "zero.alloc",
    "zero.user",
    "root.fault",
    "root.thp_fault",
    "root.populate",
    "root.vmalloc",
)


def zeroing() -> Case:
    """A populate of 512 small pages, and a fault of one huge page with init_on_alloc, all of it streamed."""
    rows = [
        streamed(
            "alloc", 9, 400_000, self_ns=200_000, ts_ns=START + 500_000, flags=1, parent="root.thp_fault"
        ),
        streamed("zero.alloc", 9, 200_000, ts_ns=START + 500_000, flags=1, parent="alloc"),
        streamed("zero.user", 9, 100_000, ts_ns=START + 700_000, flags=1, parent="root.thp_fault"),
        streamed("root.thp_fault", None, 650_000, self_ns=150_000, ts_ns=START + 750_000, pfn=None),
        streamed("root.fault", None, 700_000, self_ns=50_000, ts_ns=START + 760_000, pfn=None),
    ]
    huge = {"order": 9, "within": "root.thp_fault"}
    small: dict[str, Any] = {"root": "root.populate", "within": "root.fault", "asked": True, "nid": 1}
    roots = (
        total("alloc", 512, 400_000, asked=False, movable=True, **huge),
        total("zero.alloc", 512, 200_000, asked=False, movable=True, **huge),
        total("zero.user", 512, 100_000, **huge),
        total("root.fault", 0, 700_000, count=1, order=None, nid=None),
        total("root.thp_fault", 0, 650_000, count=1, order=None, nid=None),
        total("alloc", 512, 300_000, movable=True, remote=True, **small),
        total("zero.alloc", 512, 150_000, movable=True, remote=True, **small),
        total("root.populate", 0, 600_000, root="root.populate", within=None, count=1, order=None, nid=None),
    )
    events = ("alloc", "zero.alloc", "zero.user", "root.fault", "root.thp_fault")
    facts = (Fact("init_on_alloc", "yes", "cmdline"), Fact("init_on_free", "no", "cmdline"))
    made = header(*events, stream_all=True, facts=facts)
    return Case(rows, made, status(counters=counters(rows, *events), roots=roots))


def clears() -> Case:
    """Three tasks in three cgroups (one unknown), every frame streamed with the stacks of its clears."""
    alpha: Row = {"comm": "alpha", "pid": 300, "tid": 301, "cgroup": "/lab/small", "cpu": 0}
    beta: Row = {"comm": "beta", "pid": 400, "tid": 400, "cgroup": "/huge", "cpu": 1}
    kernel: Row = {"comm": "kworker/1:2", "pid": 5, "tid": 5, "cgroup": None, "cpu": 1}
    own: Row = {"comm": "memtrace", "pid": 9, "tid": 9, "cgroup": "/", "flags": 1 | int(Flag.TRACER)}
    rows = [
        between("zero.alloc", 300, 500, 200, order=0, flags=1, stack=ANON_STACK, parent="alloc", **alpha),
        between("alloc", 200, 600, 200, order=0, flags=1, parent="root.fault", **alpha),
        between("root.fault", 100, 900, 400, parent="root.populate", **alpha),
        between("root.populate", 0, 1000, 200, **alpha),
        between("zero.alloc", 2200, 2300, 100, order=0, flags=1, stack=ANON_STACK, parent="alloc", **alpha),
        between("alloc", 2100, 2500, 300, order=0, flags=1, parent="root.fault", **alpha),
        between("root.fault", 2000, 2600, 200, **alpha),
        between("alloc", 200, 800, 600, order=9, parent="root.thp_fault", **beta),
        between("zero.user", 1000, 4000, 3000, order=9, flags=1, stack=HUGE_STACK, **beta),
        between("root.thp_fault", 100, 4900, 1200, parent="root.fault", **beta),
        between("root.fault", 0, 5000, 200, **beta),
        between("zero.alloc", 6010, 6060, 50, order=0, flags=1, parent="root.vmalloc", **kernel),
        between("root.vmalloc", 6000, 6100, 50, **kernel),
        between("zero.alloc", 7000, 9000, 2000, order=0, **own),
    ]
    told = status(counters=counters(rows, *_CLEARS_EVENTS))
    return Case(rows, header(*_CLEARS_EVENTS, stream_all=True), told)


def clears_summed() -> Case:
    """The kernel's sums of 1000 faults in a populate, a huge fault, a vmalloc, and slabs without a root."""
    flat: Row = {"order": None, "nid": None}
    zeroed = int(Flag.AGGREGATED | Flag.ZEROED)
    rows = [
        aggregated("alloc", 1010, 400, flags=zeroed, total_ns=404_000, self_ns=200_000),
        aggregated("zero.alloc", 1110, 200, flags=zeroed, total_ns=214_000, self_ns=214_000, parent="alloc"),
        aggregated("root.fault", 1001, total_ns=610_000, self_ns=201_000, **flat),
        aggregated("root.populate", 1, total_ns=650_000, self_ns=50_000, **flat),
        aggregated("root.thp_fault", 1, total_ns=9_000, self_ns=3_000, **flat),
        aggregated("root.vmalloc", 1, total_ns=15_000, self_ns=5_000, **flat),
        streamed("zero.user", 9, 6_000, flags=1, cgroup="/huge", comm="beta", pid=400, tid=400),
    ]
    populate: Row = {"root": "root.populate", "asked": True, "movable": True}
    plain: Row = {"order": None, "nid": None, "remote": None}
    slab: Row = {"root": None, "within": None, "asked": True, "movable": False}
    vmalloc: Row = {"root": "root.vmalloc", "within": "root.vmalloc", "asked": False, "movable": False}
    roots = (
        total("alloc", 1000, 400_000, **populate),
        total("zero.alloc", 1000, 200_000, **populate),
        total("root.fault", 0, 600_000, count=1000, within="root.populate", root="root.populate", **plain),
        total("root.populate", 0, 650_000, count=1, root="root.populate", within=None, **plain),
        total("root.fault", 0, 10_000, count=1, within=None, **plain),
        total("root.thp_fault", 0, 9_000, count=1, **plain),
        total("zero.user", 512, 6_000, within="root.thp_fault", order=9),
        total("root.vmalloc", 0, 15_000, count=1, **vmalloc | plain | {"within": None}),
        total("zero.alloc", 100, 10_000, **vmalloc),
        total("alloc", 10, 4_000, **slab),
        total("zero.alloc", 10, 4_000, **slab),
    )
    fault, none = "root.fault", ""
    tasks = (
        TaskTotal("zero.alloc", 300, "alpha", 1000, 1000 * 4096, 200_000, "root.populate", 1000, 4096_000),
        TaskTotal("alloc", 300, "alpha", 1000, 1000 * 4096, 400_000, "root.populate", 1000, 4096_000),
        TaskTotal("zero.user", 400, "beta", 1, 2 << 20, 6_000, fault, 1, 2 << 20),
        TaskTotal("zero.alloc", 400, "sh", 110, 110 * 4096, 14_000, none, 110, 110 * 4096),
        TaskTotal("zero.alloc", 9, "memtrace", 7, 7 * 4096, 700, fault, 7, 7 * 4096, tracer=True),
    )
    told = status(counters=counters(rows, *_CLEARS_EVENTS), roots=roots, tasks=tasks)
    return Case(rows, header(*_CLEARS_EVENTS), told)
