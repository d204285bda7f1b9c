# SPDX-License-Identifier: Apache-2.0
"""Where the time of a hot-add went, each nanosecond once.

Start: hot.request's entry.  End: the return of its last block's onlining (the request's
own, if none came online).  Exclusive time of every traced occurrence inside, summed by
phase; nested time is in the inner phase alone.  ``not_in_rows`` is what these sums leave
of the measured intervals: order-0 allocations summed in the kernel, which name no thread.
``gap`` is the time in no interval: added, and waiting for somebody to bring it online
(udev, an administrator).  All phases together are the time from start to end, unless two
threads brought blocks online at once: then the gap is what no thread worked in, and the
phases add up to more than passed.

memmap is the allocation of struct pages without their clearing (memmap_zero); where
clearing was not traced, it is inside memmap and memmap_zero is unknown.  other is what of
other traced events lies inside (root.*: the work around their allocations).  Interrupts
are inside whatever they interrupted.

Of an occurrence without a duration only the end is known: it is counted, and its time is
in the phase around it.  A phase of which no occurrence has a time is unknown; one of which
some have is a lower bound (``at_least``).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from memtrace.analyzer.hotplug.adds import HotAdd
from memtrace.analyzer.hotplug.inside import NONE, OF_EVENT, Nested
from memtrace.analyzer.hotplug.rows import Occurrence
from memtrace.analyzer.tables import Column, Row, Table

PHASES: dict[str, str] = {
    "request": "request: resource, block devices",
    "arch": "arch_add_memory(): direct map",
    "sections": "sections, less their struct pages",
    "memmap": "allocation of struct pages",
    "memmap_zero": "clearing of struct pages",
    "altmap": "struct pages inside the block",
    "init": "initialising struct pages",
    "zone": "the zone's span",
    "online": "onlining: pages to the allocator",
    "accept": "acceptance",
    "block": "block device: notifiers, state",
    "other_alloc": "other allocation inside",
    "other_zero": "other clearing inside",
    "other": "other traced work inside",
    "not_in_rows": "not in rows (summed in the kernel)",
    "gap": "gap: added, not yet online",
}
"""Each phase and what it is, in the order of a page."""


def exclusive(add: HotAdd, inner: Nested, seen: frozenset[str]) -> dict[str, int | None]:
    """ns of each phase; None where its event was not traced.  ``seen``: events with timed sites."""
    time: dict[str, int | None] = dict.fromkeys(PHASES, 0)
    for row in add.rows:
        phase = OF_EVENT.get(row.event)
        if phase:
            time[phase] = (time[phase] or 0) + (row.own or 0)
    for phase, own in inner.filled.items():
        time[phase] = max((time[phase] or 0) - own, 0)
    for phase, own in inner.own.items():
        time[phase] = (time[phase] or 0) + own
    spent = sum(window.dur or 0 for window in add.windows)
    time["not_in_rows"] = max(spent - sum(value or 0 for value in time.values()), 0)
    time["gap"] = add.end - add.request.start - covered(add.windows)
    for phase in (*_untraced(seen), *untimed(add, inner)):
        if not time[phase]:
            time[phase] = None
    return time


def untimed(add: HotAdd, inner: Nested) -> frozenset[str]:
    """Phases with occurrences that have no time."""
    own = (OF_EVENT.get(row.event) for row in add.rows if row.own is None)
    return inner.untimed.union(phase for phase in own if phase)


def covered(windows: Sequence[Occurrence]) -> int:
    """ns in at least one of the intervals."""
    total, reached = 0, 0
    for window in sorted(windows, key=lambda w: w.start):
        total += max(window.end - max(window.start, reached), 0)
        reached = max(reached, window.end)
    return total


def _untraced(seen: frozenset[str]) -> list[str]:
    phases = [phase for event, phase in OF_EVENT.items() if event not in seen]
    if "zero.alloc" not in seen:
        phases += ["memmap_zero", "other_zero"]
    if "alloc" not in seen:
        phases += ["other_alloc"]
    if not any(event.startswith("accept") for event in seen):
        phases.append("accept")
    return phases


def table(
    adds: Sequence[HotAdd],
    times: Mapping[int, Mapping[str, int | None]],
    inner: Mapping[int, Nested],
    shown: int,
) -> Table:
    """One row for each hot-add and phase."""
    rows: list[dict[str, Any]] = []
    for add in adds:
        time = times[add.number]
        total = add.end - add.request.start
        vague = untimed(add, inner.get(add.number, NONE))
        for phase, what in PHASES.items():
            value = time[phase]
            rows.append(
                {
                    "add": add.number,
                    "phase": phase,
                    "what": what,
                    "self_ns": value,
                    "share": value / total if value is not None and total else None,
                    "at_least": value is not None and phase in vague,
                }
            )
    drawn = tuple(
        i for i, row in enumerate(rows) if row["add"] <= shown and (row["self_ns"] is None or row["self_ns"])
    )
    columns = (
        Column("add", "add", "number"),
        Column("what", "phase"),
        Column("self_ns", "self", "ns", _part),
        Column("share", "share", "share", _part),
    )
    notes = [] if rows else ["no memory was added"]
    if len(adds) > shown:
        notes.append(f"the first {shown} of {len(adds)} hot-adds; all are in --format json")
    return Table(
        "phases",
        "Where the time went, exclusive, from the request to the last block online",
        ("add", "phase", "what", "self_ns", "share", "at_least"),
        tuple(rows),
        columns,
        keys=2,
        shown=drawn,
        notes=tuple(notes),
    )


def _part(row: Row) -> str:
    return ">" if row["at_least"] else ""
