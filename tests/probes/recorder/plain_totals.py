# SPDX-License-Identifier: Apache-2.0
"""Totals by process, event and detail, item by item: what the recorder's numpy is held against."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Collection, Iterable
from dataclasses import dataclass, field

from memtrace.probes.topics.events import NAMES

Sums = tuple[int, int, int]
"""Events, pages and ns."""
NOTHING: Sums = (0, 0, 0)


@dataclass(frozen=True)
class Item:
    """An element of the kernel side's table; ``shown`` is -1 for a process without a number here."""

    tgid: int
    event: int
    detail: int
    comm: bytes
    sums: Sums
    shown: int


@dataclass
class _Task:
    sums: Sums = NOTHING
    zeroed: Sums = NOTHING
    pages: Counter[int] = field(default_factory=Counter)


def _added(a: Sums, b: Sums) -> Sums:
    return (a[0] + b[0], a[1] + b[1], a[2] + b[2])


TaskRow = tuple[str, int | None, str, int, int, int | None, str, int, int, bool]
"""The fields of a TaskTotal, in their order, with pages for bytes."""


def tasks(items: Iterable[Item], timed: Collection[str], recorder: int) -> list[TaskRow]:
    """One row per process and event; per name and event for those without a number."""
    items = [item for item in items if item.sums[0]]
    comms: dict[tuple[int, int], Counter[bytes]] = defaultdict(Counter)
    shown: dict[int, int] = {}
    for item in items:
        comms[item.tgid, item.event][item.comm] += item.sums[0]
        if item.shown >= 0:
            shown[item.tgid] = item.shown
    found: dict[tuple[int | None, str, int, bool], _Task] = defaultdict(_Task)
    for item in items:
        comm = comms[item.tgid, item.event].most_common(1)[0][0].decode()
        task = found[shown.get(item.tgid), comm, item.event, item.tgid == recorder]
        task.sums = _added(task.sums, item.sums)
        if item.detail >> 24 & 1:
            task.zeroed = _added(task.zeroed, item.sums)
        task.pages[item.detail >> 32 & 0xFF] += item.sums[1]
    rows = []
    for (pid, comm, event, tracer), task in found.items():
        root = max(sorted(task.pages), key=lambda number: task.pages[number])
        rows.append(
            (
                *(NAMES[event], pid, comm, task.sums[0], task.sums[1]),
                task.sums[2] if NAMES[event] in timed else None,
                NAMES[root - 1] if root else "",
                *(task.zeroed[0], task.zeroed[1], tracer),
            )
        )
    return rows


def details(items: Iterable[Item], without: int) -> dict[tuple[int, int], Sums]:
    """Sums by event and detail, of all processes but one."""
    found: dict[tuple[int, int], Sums] = defaultdict(lambda: NOTHING)
    for item in items:
        if item.sums[0] and item.tgid != without:
            found[item.event, item.detail] = _added(found[item.event, item.detail], item.sums)
    return found
