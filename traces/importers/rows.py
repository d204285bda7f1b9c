# SPDX-License-Identifier: Apache-2.0
"""Occurrences made into rows of a run."""

from __future__ import annotations

import bisect
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from memtrace.traces.importers.pairing import Occurrence
from memtrace.traces.importers.topics import PAGE, Fields
from memtrace.traces.run import Node
from memtrace.traces.schema import COLUMN_NAMES, Flag, arrow_schema

if TYPE_CHECKING:
    import pyarrow as pa

# Direct map of a kernel without KASLR, 4 and 5 levels of page tables (arch/x86/include/asm/page_64_types.h).
_NOKASLR_BASES = (0xFFFF888000000000, 0xFF11000000000000)


class Places:
    """Which node a page frame is on, by the boot log's ranges and the memory added since."""

    def __init__(self, nodes: Sequence[Node], added: Sequence[tuple[int, int, int]]) -> None:
        """``added``: (first pfn, the one after the last, nid) of each hot.add."""
        ranges = [(start, end, node.nid) for node in nodes for start, end in node.pfn_ranges]
        self._ranges = sorted({*ranges, *added})
        self._starts = [start for start, _, _ in self._ranges]

    def nid(self, pfn: int | None) -> int | None:
        """The node of a page frame, None where it is not known."""
        if pfn is None:
            return None
        index = bisect.bisect_right(self._starts, pfn) - 1
        if index < 0 or pfn >= self._ranges[index][1]:
            return None
        return self._ranges[index][2]


def fields(args: str) -> dict[str, str]:
    """``name=value`` words of a line, the first of each name."""
    found: dict[str, str] = {}
    for word in args.split():
        name, equals, value = word.partition("=")
        if equals:
            found.setdefault(name, value)
    return found


def values_of(occurrence: Occurrence) -> dict[str, Any]:
    """Columns that an occurrence's fields tell."""
    entry: Fields = fields(occurrence.entry) if occurrence.entry else {}
    back: Fields = fields(occurrence.back) if occurrence.back else {}
    return occurrence.topic.values(entry, back)


def added(occurrences: Sequence[Occurrence]) -> list[tuple[int, int, int]]:
    """Ranges and nodes of the memory that was added."""
    found: list[tuple[int, int, int]] = []
    for occurrence in occurrences:
        if occurrence.topic.event != "hot.add":
            continue
        values = values_of(occurrence)
        if None not in (values["pfn"], values["bytes"], values["nid"]):
            found.append((values["pfn"], values["pfn"] + values["bytes"] // PAGE, values["nid"]))
    return found


def direct_map_base(cmdline: str) -> tuple[int, ...]:
    """Where physical memory is mapped; empty where KASLR hides it."""
    return _NOKASLR_BASES if "nokaslr" in cmdline.split() else ()


def table(
    occurrences: Sequence[Occurrence],
    shift_ns: int,
    places: Places,
    bases: Sequence[int],
    init_on_alloc: bool,
) -> pa.Table:
    """The rows of one file's occurrences, ``shift_ns`` added to their times."""
    import pyarrow as pa

    columns: dict[str, list[Any]] = {name: [] for name in COLUMN_NAMES}
    put = {name: column.append for name, column in columns.items()}
    given = ("order", "bytes", "bytes_requested", "gfp", "nid_requested")
    for occurrence in occurrences:
        values = values_of(occurrence)
        pfn = values.get("pfn")
        if (address := values.get("va")) is not None:
            pfn = _pfn_of(address, bases)
        nid = values.get("nid")
        flags = values["flags"]
        event = occurrence.topic.event
        if init_on_alloc and event == "alloc" and not flags & Flag.FAILED:
            flags |= Flag.ZEROED
        put["ts_ns"](occurrence.ts_ns + shift_ns)
        put["dur_ns"](occurrence.dur_ns)
        put["count"](1)
        put["total_ns"](occurrence.dur_ns)
        put["self_ns"](occurrence.self_ns)
        put["event"](event)
        put["site"](f"{occurrence.how}:{occurrence.site}")
        put["cpu"](occurrence.cpu)
        put["pid"](occurrence.pid)
        put["tid"](occurrence.tid)
        put["comm"](occurrence.comm)
        for name in given:
            put[name](values.get(name))
        put["pfn"](pfn)
        put["nid"](places.nid(pfn) if nid is None else nid)
        put["flags"](int(flags))
        put["parent"](occurrence.parent)
        put["cgroup"](None)
        put["stack"](occurrence.stack)
    schema = arrow_schema()
    arrays = [pa.array(columns[f.name], f.type) for f in schema]
    return pa.Table.from_arrays(arrays, schema=schema)


def _pfn_of(address: int, bases: Sequence[int]) -> int | None:
    """Page frame of an address in the direct map; None outside of it, or if its base is not known."""
    for base in bases:
        if base <= address < base + (1 << 46):
            return (address - base) // PAGE
    return None
