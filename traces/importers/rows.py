# SPDX-License-Identifier: Apache-2.0
"""Occurrences made into rows of a run."""

from __future__ import annotations

import bisect
from collections.abc import Container, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from memtrace.traces.derived import allocator_zeroes, interrupts_off
from memtrace.traces.importers.fields import LARGEST_ORDER, PAGE, Values, words
from memtrace.traces.importers.guests import Guests, told
from memtrace.traces.importers.occurrence import Occurrence
from memtrace.traces.importers.topics import SITES
from memtrace.traces.run import Node
from memtrace.traces.schema import Flag, arrow_schema

if TYPE_CHECKING:
    import pyarrow as pa

# Direct map of a kernel without KASLR, 4 and 5 levels of page tables (arch/x86/include/asm/page_64_types.h).
_NOKASLR_BASES = (0xFFFF888000000000, 0xFF11000000000000)


_BY_FIELDS = ("order", "bytes", "bytes_requested", "gfp", "nid_requested", "error", "gfn", "vcpu")
_FILLED = (
    *("ts_ns", "dur_ns", "count", "total_ns", "self_ns", "event", "site", "cpu", "pid", "tid", "comm"),
    *("pfn", "nid", "flags", "parent", "stack", *_BY_FIELDS),
)
"""Columns that saved text can fill; the others are null."""
_AGES_NS = 2**60 - 1
"""36 years: no kernel has been up for longer, and sums of many such times still fit."""
_PHYSICAL = 2**52
"""Bytes that a page table can address."""
_LIMITS = (
    *((name, 0, _AGES_NS) for name in ("dur_ns", "self_ns")),
    *((name, 0, _PHYSICAL) for name in ("bytes", "bytes_requested")),
    *((name, 0, _PHYSICAL // PAGE - 1) for name in ("pfn", "gfn")),
    *((name, 0, 2**22) for name in ("tid", "pid")),
    ("nid", 0, 2**10 - 1),
    *((name, 0, 2**15 - 1) for name in ("cpu", "error", "vcpu")),
    ("nid_requested", -1, 2**10 - 1),
    ("ts_ns", -_AGES_NS, _AGES_NS),
    ("gfp", 0, 2**32 - 1),
    ("order", 0, LARGEST_ORDER),
)
"""What can be: PID_MAX_LIMIT, MAX_NUMNODES, and NUMA_NO_NODE, which is -1."""


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


def values_of(occurrence: Occurrence, seen: Container[str] = ()) -> Values:
    """Columns that an occurrence's fields tell, and what was seen inside of it.

    ``seen``: functions and events that the files have at all.
    """
    _, site, _ = SITES[occurrence.site]
    entry = words(occurrence.entry) if occurrence.entry else {}
    back = words(occurrence.back) if occurrence.back else {}
    values = site.values(entry, back)
    if occurrence.asked:
        _as_asked(occurrence, values)
    if occurrence.topic.collects:
        _collect(occurrence, values, seen)
    return values


def _as_asked(occurrence: Occurrence, values: Values) -> None:
    """Order and gfp of an acceptance are those of the alloc around it."""
    asked = SITES["get_page_from_freelist"][1].values(words(occurrence.asked), {})
    values["order"] = asked["order"]
    if occurrence.topic.event != "accept.call":
        values["gfp"] = asked["gfp"]


def _collect(occurrence: Occurrence, values: Values, seen: Container[str]) -> None:
    inside = occurrence.inside or []
    match occurrence.topic.event:
        case "accept.call" if "accept.arch" in seen and occurrence.inside is not None:
            values["bytes"] = _sum(inside, seen)
        case "accept.block":
            values["pfn"] = next((values_of(o, seen).get("pfn") for o in inside), None)
        case "accept.burst":
            blocks = [o for o in inside if o.topic.event == "accept.block"]
            values["bytes"] = _sum(blocks, seen) if blocks else None
        case "hot.online" if "generic_online_page" in seen and occurrence.inside is not None:
            values["bytes"] = _sum(inside, seen)


def _sum(inside: Sequence[Occurrence], seen: Container[str]) -> int | None:
    sizes = [values_of(o, seen).get("bytes") for o in inside]
    return None if None in sizes else sum(size for size in sizes if size is not None)


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


@dataclass(frozen=True)
class Surroundings:
    """What is known of machine and files beside an occurrence's own fields."""

    places: Places
    bases: Sequence[int] = ()
    """Where the direct map of physical memory may begin."""
    init_on_alloc: bool | None = None
    init_on_free: bool | None = None
    preempt_rt: bool | None = None
    seen: frozenset[str] = frozenset()
    """Events and functions that the files have."""
    guests: Guests | None = None
    """What is known of the VMs that the files have faults of."""


def table(
    occurrences: Sequence[Occurrence], shift_ns: int, around: Surroundings
) -> tuple[pa.Table, list[Occurrence]]:
    """The rows of one file's occurrences, ``shift_ns`` added to their times.

    Also those that make none, because a number in them cannot be: their lines were garbled.
    """
    import pyarrow as pa

    columns: dict[str, list[Any]] = {name: [] for name in _FILLED}
    put = {name: column.append for name, column in columns.items()}
    garbled: list[Occurrence] = []
    for occurrence in occurrences:
        row = _row(occurrence, shift_ns, around)
        if all(row[name] is None or low <= row[name] <= high for name, low, high in _LIMITS):
            for name, append in put.items():
                append(row[name])
        else:
            garbled.append(occurrence)
    made = len(occurrences) - len(garbled)
    schema = arrow_schema()
    arrays = [
        pa.array(columns[f.name], f.type) if f.name in columns else pa.nulls(made, f.type) for f in schema
    ]
    return pa.Table.from_arrays(arrays, schema=schema), garbled


def _row(occurrence: Occurrence, shift_ns: int, around: Surroundings) -> dict[str, Any]:
    values = values_of(occurrence, around.seen)
    pfn, nid = values.get("pfn"), values.get("nid")
    if (address := values.get("address")) is not None:
        pfn = _pfn_of(address, around.bases)
    event = occurrence.topic.event
    if event == "gmem.fault":
        values |= told(occurrence, around.guests)
    flags = values.get("flags", 0) | occurrence.flags | Flag.IMPORTED
    flags |= _derived(occurrence, values, around)
    row = {
        "ts_ns": occurrence.ts_ns + shift_ns,
        "dur_ns": occurrence.dur_ns,
        "count": 1,
        "total_ns": occurrence.dur_ns,
        "self_ns": occurrence.self_ns,
        "event": event,
        "site": f"{occurrence.how}:{occurrence.site}",
        "cpu": occurrence.cpu,
        "pid": occurrence.pid,
        "tid": occurrence.tid,
        "comm": occurrence.comm,
        "pfn": pfn,
        "nid": around.places.nid(pfn) if nid is None else nid,
        "flags": int(flags),
        "parent": occurrence.parent,
        "stack": occurrence.stack,
    }
    for name in _BY_FIELDS:
        row[name] = values.get(name)
    return row


def _derived(occurrence: Occurrence, values: Values, around: Surroundings) -> int:
    """The flags that follow from what the occurrence is, as traces/derived.py defines them."""
    match occurrence.topic.event:
        case "alloc" if not values["flags"] & Flag.FAILED:
            zeroes = allocator_zeroes(values["asked"], around.init_on_alloc, around.init_on_free)
            return Flag.ZEROED * (zeroes is True)
        case "accept.arch":
            off = interrupts_off(occurrence.parent == "accept.call", around.preempt_rt)
            return Flag.IRQ_OFF * (off is True)
    return 0


def _pfn_of(address: int, bases: Sequence[int]) -> int | None:
    """Page frame of an address in the direct map; None outside of it, or if its base is not known."""
    for base in bases:
        if base <= address < base + (1 << 46):
            return (address - base) // PAGE
    return None
