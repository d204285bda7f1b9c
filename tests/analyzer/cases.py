# SPDX-License-Identifier: Apache-2.0
"""Small runs with known answers, one for each kind of recording that a report must tell apart."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa

from memtrace.traces.histogram import bucket_of, lower_edge
from memtrace.traces.run import (
    EventCounters,
    Fact,
    Losses,
    Node,
    ProbeSite,
    Refusal,
    RootTotal,
    RunHeader,
    RunStatus,
    Snapshot,
    TaskTotal,
    TracerCost,
)
from memtrace.traces.schema import COLUMN_NAMES, Flag, arrow_schema
from memtrace.traces.writer import RunWriter

Row = dict[str, Any]
START = 10**12
SECOND = 10**9
PERIOD = 1_003_009


@dataclass(frozen=True)
class Case:
    """What a recorder would have written."""

    rows: Sequence[Row]
    header: RunHeader
    status: RunStatus
    cut_short: bool = False


def streamed(event: str = "alloc", order: int | None = 0, dur: int | None = None, **columns: Any) -> Row:
    """One occurrence, its time all its own unless ``self_ns`` is given."""
    row: Row = {
        "ts_ns": START,
        "dur_ns": dur,
        "count": 1,
        "total_ns": dur,
        "self_ns": dur,
        "event": event,
        "site": f"fentry:{event}",
        "cpu": 0,
        "pid": 100,
        "tid": 101,
        "comm": "memhog",
        "order": order,
        "bytes": None if order is None else 4096 << order,
        "pfn": 4096,
        "nid": 0,
        "flags": 0,
    }
    return row | columns


def aggregated(event: str, count: int, dur: int | None = None, order: int | None = 0, **columns: Any) -> Row:
    """``count`` occurrences of (about) ``dur`` each, as the kernel sums them."""
    total = None if dur is None else count * dur
    row: Row = {
        "ts_ns": START + SECOND,
        "dur_ns": None if dur is None else int(lower_edge(bucket_of(dur))),
        "count": count,
        "total_ns": total,
        "self_ns": total,
        "event": event,
        "site": f"fentry:{event}",
        "order": order,
        "bytes": None if order is None else count * (4096 << order),
        "nid": 0,
        "flags": int(Flag.AGGREGATED),
    }
    return row | columns


def time_only(event: str, samples: int, order: int | None = 0, **columns: Any) -> Row:
    """Sampled time of all occurrences of a cell: no count, no bytes."""
    row: Row = {
        "ts_ns": START + SECOND,
        "total_ns": samples * PERIOD,
        "self_ns": samples * PERIOD,
        "event": event,
        "site": f"rawtp:{event}",
        "order": order,
        "nid": 0,
        "flags": int(Flag.AGGREGATED | Flag.ESTIMATED),
    }
    return row | columns


def header(*events: str, **fields: Any) -> RunHeader:
    """A header whose events all have proven sites with exact times."""
    plain = RunHeader(
        tool_version="0.1.0",
        command=("memtrace", "record", "--", "memhog", "1g"),
        workload=("memhog", "1g"),
        events=events,
        hostname="box",
        kernel_release="6.12.0-test",
        kernel_version="#1 SMP PREEMPT_DYNAMIC",
        machine="x86_64",
        page_size=4096,
        config={"CONFIG_INIT_ON_ALLOC_DEFAULT_ON": "n"},
        facts=(Fact("confidential", "plain"), Fact("init_on_alloc", "no", "no sign of it")),
        cpus=2,
        nodes=(Node(0, (0,), ((0, 1 << 19),), 2 << 30), Node(1, (1,), ((1 << 19, 1 << 20),), 2 << 30)),
        gfp_names={"GFP_KERNEL": 0xCC0, "__GFP_IO": 0x40, "__GFP_FS": 0x80, "__GFP_ZERO": 0x100},
        manifest=tuple(ProbeSite(event, f"fentry:{event}", "fentry", event, proven=True) for event in events),
    )
    return dataclasses.replace(plain, **fields)


def status(seconds: float = 2.0, **fields: Any) -> RunStatus:
    """The status of a finished run of a command."""
    plain = RunStatus(
        complete=True,
        started_ns=START,
        ended_ns=START + round(seconds * SECOND),
        cost=TracerCost(12_000_000, 90 << 20, 900_000_000, probe_ns=20, file_bytes=12_345),
        exit_status=0,
        stopped_by="command",
    )
    return dataclasses.replace(plain, **fields)


def counters(rows: Sequence[Row], *events: str, **changes: Any) -> tuple[EventCounters, ...]:
    """What the kernel side would have counted for these rows, nothing lost."""
    out = []
    for event in events:
        of = [r for r in rows if r["event"] == event and not r["flags"] & int(Flag.INFERRED)]
        summed = sum(r.get("count") or 0 for r in of if r["flags"] & int(Flag.AGGREGATED))
        seen = sum(r.get("count") or 0 for r in of)
        sums = (
            sum((r["order"] or 0) * (r.get("count") or 0) for r in of),
            sum(r.get("pfn") or 0 for r in of),
        )
        out.append(EventCounters(event, seen, seen - summed, summed, 0, sums[0], sums[1] % (1 << 64)))
    return tuple(dataclasses.replace(c, **changes) for c in out)


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
            facts=(Fact("confidential", "plain"), Fact("init_on_alloc", "yes", "cmdline")),
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
    losses = Losses(ring_full=10, kretprobe_missed=5, recursion=None, entry_without_exit=1)
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


def total(event: str, pages: int, ns: int | None, **fields: Any) -> RootTotal:
    """A sum by root: ``pages`` of 4 KiB in occurrences of its order."""
    order = fields.get("order", 0)
    plain: dict[str, Any] = {
        "root": "root.fault",
        # As the recorder has it: around an outermost root there is none.
        "within": None if event == fields.get("root", "root.fault") else "root.fault",
        "order": 0,
        "nid": 0,
        "remote": False,
        "zeroed": event != "root",
        "asked": None,
        "movable": None,
        "count": pages >> (order or 0),
        "bytes": pages * 4096,
    }
    return RootTotal(event=event, total_ns=ns, **plain | fields)


def _zero_case() -> Case:
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


def between(event: str, begin: int, end: int, own: int, **columns: Any) -> Row:
    """A streamed interval, in ns since START, with its time outside of others."""
    order = columns.pop("order", None)
    row = streamed(event, order, end - begin, ts_ns=START + end, self_ns=own, **columns)
    return row | {"nid": 0 if row["order"] is not None else None, "pfn": None}


def _clears_case() -> Case:
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


def _summed_case() -> Case:
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
    "zeroing": _zero_case,
    "clears": _clears_case,
    "clears-summed": _summed_case,
    "empty": lambda: Case((), header("alloc"), status(counters=counters((), "alloc"))),
}
"""Every kind of recording, by name."""


def write(case: Case, path: Path) -> None:
    """Writes a case as the recorder would."""
    table = pa.Table.from_pylist([{n: row.get(n) for n in COLUMN_NAMES} for row in case.rows], arrow_schema())
    with RunWriter(path, case.header) as writer:
        writer.write(table)
        if case.cut_short:
            writer.checkpoint(case.status)
        else:
            writer.close(case.status)
