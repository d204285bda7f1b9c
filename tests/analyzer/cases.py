# SPDX-License-Identifier: Apache-2.0
"""Small runs with known answers, one for each kind of recording that a report must tell apart."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable

from memtrace.tests.analyzer.cleared import clears, clears_summed, zeroing
from memtrace.tests.analyzer.recorded import (
    NOT_ON_FREE,
    PERIOD,
    SECOND,
    START,
    Case,
    Row,
    aggregated,
    counters,
    header,
    status,
    streamed,
    time_only,
)
from memtrace.traces.run import Fact, ProbeSite, Refusal, Snapshot
from memtrace.traces.schema import Flag
from memtrace.traces.totals import Losses, TaskTotal


def _streamed_case() -> Case:
    rows = []
    for i in range(60):
        zeroing = 80 + i
        base: Row = {"ts_ns": START + i * 1000, "nid": i % 2, "cpu": i % 2, "pfn": 4096 + i, "gfp": 0xDC0}
        took = 300 + 10 * i
        rows.append(streamed("alloc", 0, took, self_ns=took - zeroing, flags=1, **base))
        rows.append(streamed("zero.alloc", 0, zeroing, parent="alloc", flags=1, **base))
    for i in range(5):
        base = {"ts_ns": START + i * 10_000, "nid": 1, "comm": "stress", "pid": 200, "pfn": 512 * (i + 40)}
        rows.append(streamed("alloc", 9, 90_000 + i, gfp=0x40, **base))
    rows.append(streamed("alloc", 0, 2_345_678, pfn=77, comm="stress", pid=200, gfp=0xCC0))
    tasks = tuple(
        TaskTotal(event, pid, comm, len(of), sum(r["bytes"] for r in of), sum(r["total_ns"] for r in of))
        for event in ("alloc", "zero.alloc")
        for pid, comm in ((100, "memhog"), (200, "stress"))
        if (of := [r for r in rows if r["event"] == event and r["pid"] == pid])
    )
    nodes = {"0": {"MemTotal": 2 << 20, "MemFree": 1 << 20}, "1": {"MemTotal": 2 << 20, "MemFree": 1 << 20}}
    later = {
        "0": {"MemTotal": 2 << 20, "MemFree": 1_048_000},
        "1": {"MemTotal": 2 << 20, "MemFree": 1_040_000},
    }
    taken: dict[str, int] = {
        "nr_free_pages": 524_288,
        "nr_unaccepted": 0,
        "pgfault": 1000,
        "thp_fault_alloc": 3,
    }
    return Case(
        rows,
        header(
            "alloc",
            "zero.alloc",
            stream_all=True,
            facts=(Fact("confidential", "plain"), Fact("init_on_alloc", "yes", "cmdline"), NOT_ON_FREE),
            snapshots=(
                Snapshot("before_load", START - 3 * SECOND, taken | {"nr_free_pages": 530_000}, nodes),
                Snapshot("after_load", START - SECOND, taken, nodes),
                Snapshot("start", START, taken, nodes),
            ),
        ),
        status(
            counters=counters(rows, "alloc", "zero.alloc"),
            tasks=tasks,
            snapshots=(
                Snapshot(
                    "end",
                    START + 2 * SECOND,
                    taken | {"nr_free_pages": 521_000, "pgfault": 1061, "thp_fault_alloc": 8},
                    later,
                ),
            ),
        ),
    )


def _aggregated_case() -> Case:
    rows = [
        aggregated("alloc", 900_000, 240, nid=0),
        aggregated("alloc", 99_000, 500, nid=0),
        aggregated("alloc", 12_000_000, 260, nid=1),
        aggregated("alloc", 10, 70_000, nid=1),
        streamed("alloc", 0, 1_234_567, nid=0, pfn=9),
        streamed("alloc", 3, 2_000, nid=1, pfn=10),
    ]
    return Case(rows, header("alloc"), status(counters=counters(rows, "alloc"), tasks_dropped=7))


def _tracepoint_case() -> Case:
    rows = [
        aggregated("alloc", 1_000, None, nid=0, site="rawtp:kmem:mm_page_alloc"),
        aggregated("alloc", 600, None, nid=0, flags=int(Flag.AGGREGATED | Flag.ZEROED)),
        aggregated(
            "zero.alloc",
            600,
            None,
            site="inferred:gfp",
            flags=int(Flag.AGGREGATED | Flag.ZEROED | Flag.INFERRED),
            parent="alloc",
        ),
    ]
    refused = (Refusal("fentry:get_page_from_freelist", "refused by policy"),)
    manifest = (
        ProbeSite("alloc", "rawtp:kmem:mm_page_alloc", "rawtp", time="unknown", proven=True, refused=refused),
        ProbeSite("zero.alloc", "inferred:gfp", "inferred", time="unknown", count="inferred"),
        ProbeSite("zero.user", None, refused=(Refusal("fentry:folio_zero_user", "absent"),)),
    )
    made = header("alloc", "zero.alloc", manifest=manifest, workload=(), config={}, facts=())
    return Case(
        rows, made, status(counters=counters(rows, "alloc", "zero.alloc"), stopped_by="SIGINT", cost=None)
    )


def _sampled_case() -> Case:
    inferred = int(Flag.AGGREGATED | Flag.ZEROED | Flag.INFERRED | Flag.ESTIMATED)
    sampled = {"flags": inferred, "total_ns": 16 * PERIOD, "self_ns": 16 * PERIOD}
    rows = [
        aggregated("alloc", 40_000, None, site="rawtp:kmem:mm_page_alloc"),
        time_only("alloc", 25, self_ns=9 * PERIOD),
        streamed("alloc", 2, None, site="rawtp:kmem:mm_page_alloc"),
        aggregated("zero.alloc", 39_000, None, **sampled),
        aggregated("zero.alloc", 12, None, 2, flags=inferred, total_ns=0, self_ns=0),
        time_only("zero.user", 100, None),
    ]
    manifest = (
        ProbeSite("alloc", "rawtp:kmem:mm_page_alloc", "rawtp", time="estimated", proven=True),
        ProbeSite("zero.alloc", "inferred:gfp", "inferred", time="estimated", count="inferred", proven=True),
        ProbeSite("zero.user", "sampled:folio_zero_user", "sampling", time="estimated", count="unknown"),
    )
    return Case(
        rows,
        header("alloc", "zero.alloc", "zero.user", manifest=manifest),
        status(
            counters=counters(rows, "alloc", "zero.alloc", "zero.user"),
            samples={"period_ns": PERIOD, "alloc": 25},
        ),
    )


def _lossy_case() -> Case:
    rows = [streamed("alloc", 0, 200 + i, pfn=i) for i in range(40)]
    (seen,) = counters(rows, "alloc")
    told = dataclasses.replace(seen, seen=50, streamed=40, ring_full=10, sum_order=3, sum_pfn=12345)
    losses = Losses(ring_full=10, kretprobe_missed=5, recursion=None, entry_without_exit=1, no_room=0)
    failed = dataclasses.replace(header("alloc").manifest[0], proven=False)
    return Case(rows, header("alloc", manifest=(failed,)), status(counters=(told,), losses=losses))


def _cut_case() -> Case:
    rows = [streamed("alloc", i % 3, 150 + i, pfn=i) for i in range(35)]
    told = counters(rows, "alloc")
    return Case(
        rows, header("alloc"), status(counters=told, cost=None, complete=False, stopped_by=""), cut_short=True
    )


def _own_case() -> Case:
    rows = [streamed("alloc", 0, 400 + i, pfn=i) for i in range(31)]
    rows += [streamed("alloc", 1, 9_999, flags=int(Flag.TRACER), comm="memtrace", pid=1) for _ in range(4)]
    rows += [streamed("alloc", 9, 5_000, flags=int(Flag.FAILED), bytes=None)]
    return Case(rows, header("alloc"), status(counters=counters(rows, "alloc")))


def _stacks_case() -> Case:
    fault = "entry;asm_exc_page_fault;handle_mm_fault"
    anonymous = f"{fault};do_anonymous_page"
    rows = [
        streamed("alloc", 0, 500, stack=f"{anonymous};alloc_anon_folio;__alloc_pages_noprof"),
        streamed("alloc", 0, 700, stack=f"{anonymous};vma_alloc_folio_noprof;get_page_from_freelist"),
        streamed("alloc", 0, 300, stack=f"{fault};__pmd_alloc;pte_alloc_one;alloc_pages_mpol"),
        streamed("alloc", 2, 900, stack=None, comm="kworker/0:1", pid=7),
        aggregated("alloc", 50, 240),
    ]
    return Case(rows, header("alloc"), status(counters=counters(rows, "alloc")))


def _wrong_case() -> Case:
    rows = [streamed("alloc", 1, 400, pfn=3) for _ in range(30)]
    (told,) = counters(rows, "alloc")
    return Case(rows, header("alloc"), status(counters=(dataclasses.replace(told, seen=32, sum_pfn=91),)))


CASES: dict[str, Callable[[], Case]] = {
    "streamed": _streamed_case,
    "aggregated": _aggregated_case,
    "tracepoint": _tracepoint_case,
    "sampled": _sampled_case,
    "lossy": _lossy_case,
    "cut_short": _cut_case,
    "own_and_failed": _own_case,
    "stacks": _stacks_case,
    "disagreeing": _wrong_case,
    "zeroing": zeroing,
    "clears": clears,
    "clears-summed": clears_summed,
    "empty": lambda: Case((), header("alloc"), status(counters=counters((), "alloc"))),
}
"""Every kind of recording, by name."""
