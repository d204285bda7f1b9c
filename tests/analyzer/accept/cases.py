# SPDX-License-Identifier: Apache-2.0
"""Runs with acceptance whose every number is known, one for each kind that the view tells apart."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any

from memtrace.tests.analyzer.accept.recorded import (
    BLOCK,
    LEVELS,
    MS,
    PAGES,
    SNP,
    TDX,
    Who,
    accepting,
    sites,
    stall,
)
from memtrace.tests.analyzer.recorded import START, Case, Row, aggregated, header, status, streamed
from memtrace.traces.run import Fact, Snapshot
from memtrace.traces.schema import Flag


def lazy() -> Case:
    """Three tasks, two nodes: 20 single stalls, 10 of two blocks, 1 of five; guard units; refused steps."""
    rows: list[Row] = []
    batch = Who("stress", 200, 9, 0x40, cpu=2, cgroup="/user.slice/very/long/path/of/a/container.scope")
    for i in range(20):
        rows += stall(START + (10 + 100 * i) * MS, (3 if i == 0 else 2,), pfn=(1 << 16) + i * PAGES)
    for i in range(10):
        pfn = (1 << 19) + 2 * i * PAGES
        rows += stall(START + (40 + 200 * i) * MS, (2, 2), nid=1, pfn=pfn, who=batch)
    rows += stall(START + 5000 * MS, (2, 2, 1, 1, 1), pfn=(1 << 16) + 20 * PAGES, who=Who("kworker/0:1", 7))
    own = Who("memtrace", 1, cpu=3)
    rows += stall(START + 6000 * MS, (1,), nid=1, pfn=(1 << 19) + 99 * PAGES, who=own, flags=int(Flag.TRACER))
    step = {"parent": "accept.arch", "nid": 0, "pfn": 1 << 16}
    rows += [
        streamed("accept.step", 9, 3000, flags=int(Flag.FAILED), **(step | {"bytes": None})) for _ in range(2)
    ]
    rows += [aggregated("accept.step", 1024, 2500, 0, parent="accept.arch")]
    rows += zeroed(rows)
    rows.sort(key=lambda row: row["ts_ns"])
    return accepting(rows, (400, 300), workload=("redis-benchmark", "-q"))


def zeroed(rows: Sequence[Row]) -> Iterator[Row]:
    """Of each accepted block on node 0, 64 pages zeroed by the allocator and 64 not, in 4 ms after it."""
    blocks = [r for r in rows if r["event"] == "accept.block" and r["nid"] == 0]
    for block in blocks:
        for page in range(128):
            at: Row = {"ts_ns": block["ts_ns"] + 20_000 * page + 50_000, "pfn": block["pfn"] + 512 + page}
            who: Row = {"comm": "redis", "pid": 100, "tid": 100, "gfp": 0xCC0, "nid": 0}
            flag = int(Flag.ZEROED) if page % 2 else 0
            yield streamed("alloc", 0, 900, flags=flag, **at, **who)
            if flag:
                # 250 ns for each page of 4096 bytes.
                zeroing = {"self_ns": 250, "parent": "alloc", "flags": flag}
                yield streamed("zero.alloc", 0, 250, **zeroing, **at, **who)


def snp() -> Case:
    """SEV-SNP up to 6.14: accept.call alone, and what it really accepts is unknown."""
    rows: list[Row] = []
    for i in range(12):
        levels = ("alloc", "accept.call")
        rows += stall(START + (10 + 500 * i) * MS, pfn=(1 << 16) + i * PAGES, levels=levels, per_unit=3 * MS)
    for row in rows:
        if row["event"] == "accept.call":
            row["bytes"] = None
    return accepting(rows, (1024, 0), facts=SNP, levels=("alloc", "accept.call"))


def stamps() -> Case:
    """An imported boot trace: entries of accept_memory(), no durations, no allocations."""
    rows = [
        streamed("accept.call", None, None, ts_ns=START + i * MS, bytes=None, tid=None, pid=None)
        | {"bytes_requested": BLOCK, "cpu": i % 2, "comm": None, "nid": None, "pfn": None}
        for i in range(50)
    ]
    made = header("accept.call", facts=TDX, origin="imported", manifest=sites(("accept.call",)), nodes=())
    return Case(rows, made, status(1.0, cost=None))


def eager_seen() -> Case:
    """An eager boot whose accepts are in an imported trace: 256 blocks of 2 ms, half the memory in use."""
    rows: list[Row] = []
    for i in range(256):
        rows += stall(START + 3 * i * MS, pfn=(1 << 16) + i * PAGES, levels=("accept.call", "accept.arch"))
    facts = (Fact("confidential", "TDX"), Fact("accept_memory", "eager"))
    nodes = {"0": {"MemTotal": 1 << 20, "MemFree": 1 << 19, "Unaccepted": 0}}
    after = Snapshot("end", START + 10**10, {"nr_unaccepted": 0}, nodes)
    made = header(
        "accept.call", "accept.arch", facts=facts, origin="imported", manifest=sites(LEVELS[2:]), cpus=4
    )
    return Case(rows, made, status(10.0, snapshots=(after,)))


def saturated() -> Case:
    """Throughput of node 0 doubles with the second CPU and stays so with four; node 1 never sees two."""
    rows: list[Row] = []
    now = START + MS
    for cpus, each in ((1, 2 * MS), (2, 2 * MS), (4, 4 * MS)):
        for i in range(60):
            for cpu in range(cpus):
                pfn = (1 << 16) + len(rows) * PAGES
                rows += stall(now, pfn=pfn, who=Who(f"cpu{cpu}", 50 + cpu, cpu=cpu), per_unit=each // 2)
            now += each + (20_000 + i % 3 * 1000)
    for i in range(40):
        rows += stall(now + 5 * i * MS, nid=1, pfn=(1 << 19) + i * PAGES, who=Who(cpu=3, pid=70))
    return accepting(rows, (1900, 1024))


def regular(fixed: int, per_unit: int) -> Case:
    """Calls of 1, 2 and 3 units at a known cost, alone, one every 20 ms."""
    rows: list[Row] = []
    for i in range(120):
        at, pfn = START + (1 + 20 * i) * MS, (1 << 16) + i * PAGES
        rows += stall(at, (1 + i % 3,), pfn=pfn, fixed=fixed, per_unit=per_unit)
    return accepting(rows, (2000, 0))


def clean() -> Case:
    """Unaccepted memory, probes on, and no accept."""
    rows = [streamed("alloc", 0, 800, ts_ns=START + i * MS) for i in range(50)]
    return accepting(rows, (512, 512), workload=("make",))


def silent() -> Case:
    """Unaccepted fell, and no probe saw it."""
    return accepting([streamed("alloc", 0, 800)], (512, 512), (512, 100))


def grown() -> Case:
    """Memory was added while recording."""
    return accepting(stall(START + MS), (512, 512), (508, 1024))


def nothing(facts: Sequence[Fact], **fields: Any) -> Callable[[], Case]:
    """No accept, and nothing unaccepted at the start."""
    rows = [streamed("alloc", 0, 800)]
    return lambda: accepting(rows, (0, 0), (0, 0), facts=tuple(facts), **fields)


def unrecorded() -> Case:
    """Neither events of acceptance nor counters."""
    return Case([streamed("alloc", 0, 800)], header("alloc", facts=TDX), status())


PLAIN = (Fact("confidential", "plain"), Fact("accept_memory", "lazy"), Fact("lazy_accept", "no"))
EAGER = (Fact("confidential", "TDX"), Fact("accept_memory", "eager"), Fact("lazy_accept", "no"))
PARAVISOR = (Fact("confidential", "SEV-SNP"), Fact("hyperv_paravisor", "yes"), Fact("accept_memory", "lazy"))
OLD = (Fact("confidential", "plain"), Fact("accept_memory", "not built in"))

CASES: dict[str, Callable[[], Case]] = {
    "lazy": lazy,
    "snp": snp,
    "stamps": stamps,
    "eager_seen": eager_seen,
    "saturated": saturated,
    "two_sizes": lambda: regular(500_000, MS),
    "clean": clean,
    "silent": silent,
    "grown": grown,
    "plain": nothing(PLAIN),
    "eager": nothing(EAGER),
    "paravisor": nothing(PARAVISOR),
    "old_kernel": nothing(OLD),
    "all_accepted": nothing(TDX),
    "unrecorded": unrecorded,
}
"""Every kind of run with or without acceptance, by name."""
