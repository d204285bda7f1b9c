# SPDX-License-Identifier: Apache-2.0
"""What a recorder would have written of hot-adds: their rows, and the counters around them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from memtrace.tests.analyzer.recorded import START, Case, Row, header, status, streamed
from memtrace.traces.run import Snapshot

MS = 1_000_000
MIB = 1 << 20
BLOCK = 128 * MIB
FIRST = 0x100000
OTHER = FIRST + 4 * BLOCK // 4096
EVENTS = (
    "hot.request", "hot.add", "hot.section", "hot.memmap", "hot.altmap", "hot.init", "hot.zone",
    "hot.online", "hot.block", "hot.offline", "hot.remove", "alloc", "zero.alloc",
)  # fmt: skip
ACPI = "kthread;acpi_device_hotplug;acpi_memory_device_add;__add_memory;add_memory_resource"


def hot(event: str, begin: float, end: float, size: int | None = None, **columns: Any) -> Row:
    """An occurrence from ``begin`` to ``end``, ms since the run's start."""
    row = streamed(f"hot.{event}", None, round((end - begin) * MS), ts_ns=START + round(end * MS), bytes=size)
    plain = {"pfn": FIRST, "nid": 1, "self_ns": None, "tid": 7, "comm": "kworker"}
    return row | plain | columns


def added(at: float, pfn: int = FIRST, blocks: int = 2, **columns: Any) -> list[Row]:
    """A hot-add of blocks: 10 ms, in it 8 of arch_add_memory(), 2 for the struct pages of each block."""
    size = blocks * BLOCK
    rows = [
        hot("request", at, at + 10, size, pfn=pfn, nid=None, stack=ACPI, **columns),
        hot("add", at + 1, at + 9, size, pfn=pfn, **columns),
    ]
    for i in range(blocks):
        begin = at + 1 + 3 * i
        rows.append(hot("section", begin, begin + 2.5, BLOCK, pfn=pfn + i * BLOCK // 4096, **columns))
        rows.append(hot("memmap", begin, begin + 2, 2 * MIB, nid=0, nid_requested=1, pfn=99, **columns))
    return rows


def onlined(at: float, pfn: int, size: int = BLOCK, **columns: Any) -> list[Row]:
    """A block that comes online in 4 ms, in it online_pages() 3 of them."""
    return [
        hot("block", at, at + 4, BLOCK, pfn=pfn, tid=9, **columns),
        hot("online", at + 1, at + 4, size, bytes_requested=BLOCK, pfn=pfn, tid=9, **columns),
    ]


def accepted(end: float, took: float, self_ns: int | None, event: str = "call", **columns: Any) -> Row:
    row = streamed(f"accept.{event}", None, round(took * MS), ts_ns=START + round(end * MS), bytes=4 * MIB)
    return row | {"pfn": FIRST, "nid": 1, "tid": 9, "comm": "kworker", "self_ns": self_ns} | columns


def gone(at: float, first: int, blocks: int = 1) -> Row:
    return hot("remove", at, at + 1, blocks * BLOCK, pfn=FIRST + first * BLOCK // 4096, tid=9)


def taken(at: float, *free_kb: int, total_kb: Sequence[int] = (), memmap: int = 0) -> Snapshot:
    totals = total_kb or [4 << 20] * len(free_kb)
    nodes = {
        str(nid): {"MemFree": free, "MemTotal": total, "WatermarkLow": 1000}
        for nid, (free, total) in enumerate(zip(free_kb, totals, strict=True))
    }
    return Snapshot("change", START + round(at * MS), {"nr_memmap_pages": memmap}, nodes, 0)


def case(rows: Sequence[Row], *snapshots: Snapshot, events: Sequence[str] = EVENTS) -> Case:
    return Case(rows, header(*events), status(snapshots=tuple(snapshots)))
