# SPDX-License-Identifier: Apache-2.0
"""What a recorder would have written of acceptance: stalls, counters of unaccepted memory, probes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from memtrace.tests.analyzer.recorded import START, Case, Row, header, status, streamed
from memtrace.traces.run import Fact, Node, ProbeSite, Snapshot
from memtrace.traces.schema import Flag

MS = 1_000_000
MIB = 1 << 20
BLOCK = 4 * MIB
UNIT = 2 * MIB
PAGES = BLOCK // 4096
LEVELS = ("accept.burst", "accept.block", "accept.call", "accept.arch")
ALL = ("alloc", *LEVELS)
ZEROING = (Fact("init_on_alloc", "yes"), Fact("init_on_free", "no"))
TDX = (Fact("confidential", "TDX"), Fact("accept_memory", "lazy"), Fact("lazy_accept", "yes"), *ZEROING)
SNP = (Fact("confidential", "SEV-SNP"), Fact("accept_memory", "lazy"), Fact("lazy_accept", "yes"), *ZEROING)
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
