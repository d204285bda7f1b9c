# SPDX-License-Identifier: Apache-2.0
"""Ring records and aggregate differences as Arrow tables of run-file rows."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from memtrace.probes.ring import CGROUP_SHIFT, NO_PARENT, UNKNOWN_U32, UNKNOWN_U64
from memtrace.traces.schema import COLUMN_NAMES, Flag, arrow_schema

_SCHEMA = arrow_schema()


@dataclass(frozen=True)
class Naming:
    """What the numbers in a record stand for."""

    events: Sequence[str]
    sites: Sequence[str]
    page_size: int
    gfp_events: frozenset[int]
    """Events whose records carry gfp flags."""
    hot_events: frozenset[int]
    """Events whose records may carry pages asked for, and an errno."""
    stack_text: Callable[[int], str | None]
    """Folded text of a stack id, None if it is not known."""
    cgroup_text: Callable[[int, int], str | None] = lambda cpu, slot: None
    """Path of a cgroup by its place in a CPU's table, None if it is not known."""
    if_nested_gfp_events: frozenset[int] = frozenset()
    """Events whose records carry the gfp flags of the allocation around them, 0 if there is none."""
    asked_events: frozenset[int] = frozenset()
    """Events whose records carry, instead of gfp flags, the pages asked for."""
    summed_events: frozenset[int] = frozenset()
    """Events whose records carry, instead of gfp flags, how many they stand for."""
    exact_events: frozenset[int] = frozenset()
    """Events of which no pages means none, not that their number is unknown."""
    guest_events: frozenset[int] = frozenset()
    """Events of virtual machines: with vm, vcpu, gfn and pages requested; 0 pages are known to be none."""


def from_records(records: npt.NDArray[Any], naming: Naming) -> pa.Table:
    """A row for each record."""
    count = len(records)
    dur = _masked(records["dur"], records["dur"] == UNKNOWN_U64, pa.int64())
    present = frozenset(np.flatnonzero(np.bincount(records["event"])).tolist())

    def are(events: frozenset[int]) -> npt.NDArray[np.bool_]:
        return np.isin(records["event"], list(events & present))

    hot = are(naming.hot_events)
    failed = hot & ((records["flags"] & np.uint32(Flag.FAILED)) != 0)
    errors = np.where(failed, records["pages"], 0)
    pages = np.where(failed, 0, records["pages"]).astype(np.int64)
    no_gfp = ~(are(naming.gfp_events) | are(naming.if_nested_gfp_events) & (records["gfp"] != 0))
    asked = are(naming.asked_events) | hot & (records["gfp"] != 0)
    summed = are(naming.summed_events)
    counts = np.where(summed, records["gfp"], 1) if summed.any() else np.ones(count)
    guest = are(naming.guest_events)
    no_bytes = (pages == 0) & ~(are(naming.exact_events) | hot & asked | guest)
    no_bytes |= guest & (records["pages"] == UNKNOWN_U32)
    requested = np.where(guest, records["requested"], records["gfp"]).astype(np.int64)
    asked |= guest & (records["requested"] != 0)
    columns = {
        "ts_ns": pa.array(np.ascontiguousarray(records["ts"])),
        "dur_ns": pc.if_else(pa.array(counts > 1), None, dur) if summed.any() else dur,
        "count": pa.array(counts.astype(np.int64)),
        "total_ns": dur,
        "self_ns": _masked(records["self"], records["self"] == UNKNOWN_U64, pa.int64()),
        "event": _named(records["event"], naming.events, pa.int8()),
        "site": _named(records["site"].astype(np.int16), naming.sites, pa.int16()),
        "cpu": pa.array(records["cpu"].astype(np.int16)),
        "pid": pa.array(np.ascontiguousarray(records["pid"])),
        "tid": pa.array(np.ascontiguousarray(records["tid"])),
        "comm": _comms(records["comm"]),
        "order": _masked(records["order"], records["order"] < 0, pa.int8()),
        "bytes": _masked(pages * naming.page_size, no_bytes, pa.int64()),
        "bytes_requested": _masked(requested * naming.page_size, ~asked, pa.int64()),
        "pfn": _masked(records["pfn"], records["pfn"] == UNKNOWN_U64, pa.int64()),
        "nid": _masked(records["nid"], records["nid"] < 0, pa.int16()),
        "nid_requested": _masked(records["nid_requested"], records["nid_requested"] < 0, pa.int16()),
        "gfp": _masked(records["gfp"], no_gfp, pa.uint32()),
        "flags": pa.array(records["flags"] & np.uint32((1 << CGROUP_SHIFT) - 1)),
        "parent": _parents(records["parent"], naming.events),
        "cgroup": _cgroups(records, naming.cgroup_text),
        "stack": _texts(records["stack"], naming.stack_text),
        "error": _masked(errors, errors == 0, pa.int16()),
        "vm": _masked(records["vm"], ~guest | (records["vm"] == 0), pa.int32()),
        "vcpu": _masked(records["vcpu"], ~guest | (records["vcpu"] < 0), pa.int16()),
        "gfn": _masked(records["gfn"], ~guest | (records["gfn"] == UNKNOWN_U64), pa.int64()),
    }
    return pa.table([columns[name] for name in COLUMN_NAMES], schema=_SCHEMA)


def from_columns(rows: Sequence[Mapping[str, object]]) -> pa.Table:
    """Rows given one by one as mappings, absent columns null: for aggregates, a few per second."""
    return pa.Table.from_pylist([dict(row) for row in rows], schema=_SCHEMA)


def _masked(values: npt.NDArray[Any], unknown: npt.NDArray[np.bool_], kind: pa.DataType) -> pa.Array:
    if unknown.all():
        return pa.nulls(len(values), kind)
    plain = values.astype(kind.to_pandas_dtype())
    return pa.array(plain, mask=unknown) if unknown.any() else pa.array(plain)


def _named(numbers: npt.NDArray[Any], names: Sequence[str], index: pa.DataType) -> pa.DictionaryArray:
    return pa.DictionaryArray.from_arrays(pa.array(np.ascontiguousarray(numbers), index), list(names))


def _parents(numbers: npt.NDArray[Any], names: Sequence[str]) -> pa.Array:
    unknown = numbers == NO_PARENT
    if unknown.all():
        return pa.nulls(len(numbers), pa.dictionary(pa.int8(), pa.string()))
    index = pa.array(numbers.astype(np.int8), mask=unknown)
    return pa.DictionaryArray.from_arrays(index, list(names))


def _comms(raw: npt.NDArray[Any]) -> pa.DictionaryArray:
    # A CPU's records keep their task for a while: encode where the name changes, then repeat.
    words = np.ascontiguousarray(raw).view(np.uint64).reshape(-1, 2)
    starts = np.concatenate(([0], np.flatnonzero((words[1:] != words[:-1]).any(axis=1)) + 1))
    lengths = np.diff(np.concatenate((starts, [len(words)])))
    data = pa.py_buffer(np.ascontiguousarray(raw[starts]))
    spelled = pa.FixedSizeBinaryArray.from_buffers(pa.binary(16), len(starts), [None, data])
    encoded = spelled.dictionary_encode()
    names = [value.split(b"\0", 1)[0].decode(errors="replace") for value in encoded.dictionary.to_pylist()]
    # Different padding can spell one name twice; a dictionary must not.
    unique = list(dict.fromkeys(names))
    place = np.array([unique.index(name) for name in names], dtype=np.int32)
    return pa.DictionaryArray.from_arrays(
        pa.array(np.repeat(place[encoded.indices.to_numpy()], lengths)), unique
    )


def _cgroups(records: npt.NDArray[Any], text_of: Callable[[int, int], str | None]) -> pa.Array:
    slots = (records["flags"] >> np.uint32(CGROUP_SHIFT)).astype(np.int64)
    places = np.where(slots > 0, records["cpu"].astype(np.int64) << 16 | (slots - 1), -1)
    return _texts(places, lambda place: text_of(place >> 16, place & 0xFFFF))


def _texts(ids: npt.NDArray[Any], text_of: Callable[[int], str | None]) -> pa.Array:
    """The text of each number; null where it is negative or has none."""
    kind = pa.dictionary(pa.int32(), pa.string())
    if (ids < 0).all():
        return pa.nulls(len(ids), kind)
    known, where = np.unique(ids, return_inverse=True)
    texts = [text_of(int(i)) if i >= 0 else None for i in known]
    unique = list(dict.fromkeys(t for t in texts if t is not None))
    place = np.array([-1 if t is None else unique.index(t) for t in texts], dtype=np.int32)[where]
    index = pa.array(place, mask=place < 0)
    return pa.DictionaryArray.from_arrays(index, pa.array(unique, pa.string()))
