# SPDX-License-Identifier: Apache-2.0
"""Runs with acceptance whose every number is known, one for each kind that the view tells apart."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from memtrace.tests.analyzer.cases import START, Case, Row, aggregated, header, status, streamed
from memtrace.traces.run import Fact, Node, ProbeSite, Snapshot
from memtrace.traces.schema import Flag

MS = 1_000_000
MIB = 1 << 20
BLOCK = 4 * MIB
UNIT = 2 * MIB
PAGES = BLOCK // 4096
LEVELS = ("accept.burst", "accept.block", "accept.call", "accept.arch")
ALL = ("alloc", *LEVELS)
TDX = (Fact("confidential", "TDX"), Fact("accept_memory", "lazy"), Fact("lazy_accept", "yes"))
SNP = (Fact("confidential", "SEV-SNP"), Fact("accept_memory", "lazy"), Fact("lazy_accept", "yes"))
PLAIN = (Fact("confidential", "plain"), Fact("accept_memory", "lazy"), Fact("lazy_accept", "no"))
STACK = "entry;asm_exc_page_fault;handle_mm_fault;do_anonymous_page;alloc_anon_folio;get_page_from_freelist"
NODES = (Node(0, (0, 1), ((0, 1 << 19),), 2 << 30), Node(1, (2, 3), ((1 << 19, 1 << 20),), 2 << 30))


@dataclass(frozen=True)
class Who:
    """The task that waits, and what it asked for."""

    comm: str = "redis"
    pid: int = 100
    order: int = 0
    gfp: int = 0xCC0
    cpu: int = 0
    cgroup: str | None = "/db.slice"


REDIS = Who()


def stall(
    at: int,
    units: Sequence[int] = (2,),
    *,
    nid: int = 0,
    pfn: int = 1 << 16,
    who: Who = REDIS,
    fixed: int = 0,
    per_unit: int = MS,
    wait: int = 0,
    levels: Sequence[str] = ALL,
    flags: int = 0,
    **columns: Any,
) -> list[Row]:
    """One allocation that accepts a block for each of ``units``: of 2 MiB, so many really accepted.

    A call takes ``fixed`` + units * ``per_unit`` ns in the platform and ``wait`` before;
    around each level lie 1000 ns of its own.
    """
    task = {"comm": who.comm, "pid": who.pid, "tid": who.pid, "cpu": who.cpu, "cgroup": who.cgroup}
    common = task | {"nid": nid, "stack": None}
    rows: list[Row] = []
    now = at + 1000 * ("alloc" in levels) + 1000 * ("accept.burst" in levels)
    first = now
    for number, n in enumerate(units):
        inner = fixed + n * per_unit
        here = common | {"pfn": pfn + number * PAGES}
        call = inner + wait + 1000
        block = call + 1000
        spans = {
            "accept.arch": (now + 500 + wait + 500, inner, inner, n * UNIT, int(Flag.IRQ_OFF)),
            "accept.call": (now + 500, call, call - inner * ("accept.arch" in levels), n * UNIT, 0),
            "accept.block": (now, block, block - call * ("accept.call" in levels), BLOCK, 0),
        }
        for event in ("accept.arch", "accept.call", "accept.block"):
            if event not in levels:
                continue
            begin, took, alone, size, bits = spans[event]
            asked = BLOCK if event == "accept.call" else None
            rows.append(
                streamed(event, None, took, ts_ns=begin + took, self_ns=alone, bytes=size)
                | {"bytes_requested": asked, "flags": bits | flags, "parent": _above(event, levels)}
                | here
            )
        now += block
    spent = sum(r["total_ns"] for r in rows if _above(r["event"], levels) in ("accept.burst", "alloc", None))
    if "accept.burst" in levels:
        took = now - first + 2000
        rows.append(
            streamed("accept.burst", None, took, ts_ns=first - 1000 + took, self_ns=took - spent)
            | {"bytes": len(units) * BLOCK, "flags": flags, "parent": _above("accept.burst", levels)}
            | common
            | {"pfn": None}
        )
        spent = took
    if "alloc" in levels:
        took = spent + 10_000
        rows.append(
            streamed("alloc", who.order, took, ts_ns=at + took, self_ns=took - spent)
            | {"gfp": who.gfp, "flags": int(Flag.VICTIM) | flags}
            | common
            | {"stack": STACK, "pfn": pfn}
            | columns
        )
    return rows


def _above(event: str, levels: Sequence[str]) -> str | None:
    above = ("alloc", *LEVELS)
    outer = [name for name in above[: above.index(event)] if name in levels]
    return outer[-1] if outer else None


def snapshots(label: str, at: int, *mib: int) -> Snapshot:
    """Unaccepted of each node in MiB."""
    nodes = {
        str(n): {"MemTotal": 2 << 20, "MemFree": 1 << 20, "Unaccepted": size << 10}
        for n, size in enumerate(mib)
    }
    return Snapshot(label, at, {"nr_unaccepted": sum(mib) * 256, "nr_free_pages": 1 << 19}, nodes)


def accepting(
    rows: Sequence[Row],
    before: Sequence[int] = (1024, 1024),
    after: Sequence[int] | None = None,
    *,
    seconds: float = 10.0,
    levels: Sequence[str] = ALL,
    **fields: Any,
) -> Case:
    """A case whose counters fall from ``before`` to ``after`` MiB, by default by the blocks in the rows."""
    if after is None:
        unit = next((e for e in ("accept.block", "accept.call") if e in levels), None)
        done = [sum(r["nid"] == n and r["event"] == unit for r in rows) * 4 for n in range(len(before))]
        after = [b - d for b, d in zip(before, done, strict=True)]
    told = {
        "cpus": 4,
        "nodes": NODES,
        "facts": TDX,
        "manifest": sites(levels),
        "snapshots": (snapshots("start", START, *before),),
    }
    end = (snapshots("end", START + round(seconds * 1e9), *after),)
    changes = {name: fields.pop(name) for name in ("losses", "stopped_by") if name in fields}
    return Case(rows, header(*levels, **(told | fields)), status(seconds, snapshots=end, **changes))


def sites(levels: Sequence[str]) -> tuple[ProbeSite, ...]:
    return tuple(
        ProbeSite(event, f"fentry:{event}" if event in levels else None, "fentry", event, proven=True)
        for event in ALL
    )


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
        where = {"pfn": (1 << 16) + i * PAGES, "fixed": fixed, "per_unit": per_unit}
        rows += stall(START + (1 + 20 * i) * MS, (1 + i % 3,), **where)
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
