# SPDX-License-Identifier: Apache-2.0
"""Turns ring records and aggregate differences into Arrow tables of run-file rows."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from memtrace.probes.recorder.layouts import Kind
from memtrace.probes.recorder.ring import CGROUP_SHIFT, NO_PARENT, UNKNOWN_U64
from memtrace.traces.names import decoded
from memtrace.traces.schema import COLUMN_NAMES, arrow_schema

_SCHEMA = arrow_schema()
_FLAGS = np.uint32((1 << CGROUP_SHIFT) - 1)
_TWO_WORDS = np.dtype([("low", "<u8"), ("high", "<u8")])
_BLOCK = 1 << 16
"""Number of records in a block."""
Mask: TypeAlias = "npt.NDArray[np.bool_] | None"
"""One boolean per record; None means that all are false."""


@dataclass(frozen=True)
class Naming:
    """What the numbers in a record stand for."""

    events: Sequence[str]
    sites: Sequence[str]
    page_size: int
    stack_text: Callable[[int], str | None]
    """Returns the folded text of a stack id, or None if it is not known."""
    cgroup_text: Callable[[int, int], str | None] = lambda cpu, slot: None
    """Returns the path of the cgroup in a slot of a CPU's table, or None if it is not known."""


def blocks(records: npt.NDArray[Any]) -> Iterator[npt.NDArray[Any]]:
    """Yield ``records`` in blocks that stay in the cache while each column is taken out."""
    for start in range(0, len(records), _BLOCK):
        yield records[start : start + _BLOCK]


def from_records(records: npt.NDArray[Any], naming: Naming) -> pa.Table:
    """Return a table with one row for each record."""
    no_time = records["dur"] == UNKNOWN_U64
    dur = _masked(records["dur"], no_time, pa.int64())
    # Columns that are used more than once are taken out of the records once.
    flags, kind = (np.ascontiguousarray(records[name]) for name in ("flags", "kind"))
    sums, failed = _are(kind, Kind.COUNT), _are(kind, Kind.ERROR)
    # A failed event gave no pages, and has its errno in their place.
    pages = records["pages"] if failed is None else np.where(failed, 0, records["pages"])
    count = np.ones(len(records), dtype=np.int64)
    if sums is not None:
        count[sums] = records["count"][sums]
    columns = {
        "ts_ns": pa.array(np.ascontiguousarray(records["ts"])),
        "dur_ns": dur if sums is None else _masked(records["dur"], no_time | (count > 1), pa.int64()),
        "count": pa.array(count),
        "total_ns": dur,
        "self_ns": _masked(records["self"], records["self"] == UNKNOWN_U64, pa.int64()),
        "event": _named(records["event"], naming.events, pa.int8()),
        "site": _named(records["site"].astype(np.int16), naming.sites, pa.int16()),
        "cpu": pa.array(records["cpu"].astype(np.int16)),
        "pid": _masked(records["pid"], records["pid"] < 0, pa.int32()),
        "tid": _masked(records["tid"], records["tid"] < 0, pa.int32()),
        "comm": _comms(records["comm"]),
        "order": _masked(records["order"], records["order"] < 0, pa.int8()),
        "bytes": _only(_are(kind, Kind.PAGES), pages, pa.int64(), naming.page_size),
        "bytes_requested": _only(
            _are(kind, Kind.REQUESTED), records["requested"], pa.int64(), naming.page_size
        ),
        "pfn": _masked(records["pfn"], records["pfn"] == UNKNOWN_U64, pa.int64()),
        "nid": _masked(records["nid"], records["nid"] < 0, pa.int16()),
        "nid_requested": _masked(records["nid_requested"], records["nid_requested"] < 0, pa.int16()),
        "gfp": _only(_are(kind, Kind.GFP), records["gfp"], pa.uint32()),
        "flags": pa.array(flags & _FLAGS),
        "parent": _parents(records["parent"], naming.events),
        "cgroup": _cgroups(flags, records["cpu"], naming.cgroup_text),
        "stack": _texts(records["stack"], naming.stack_text),
        "error": _only(failed, records["error"], pa.int16()),
        **_guests(records, _are(kind, Kind.GUEST)),
    }
    return pa.table([columns[name] for name in COLUMN_NAMES], schema=_SCHEMA)


def _are(kind: npt.NDArray[np.uint8], bit: Kind) -> Mask:
    """Return which records have this bit of ``kind``, or None if none has it."""
    found = (kind & np.uint8(bit)) != 0
    return found if found.any() else None


def _guests(records: npt.NDArray[Any], guest: Mask) -> dict[str, pa.Array]:
    """Return the columns that only events of virtual machines have: vm, vcpu and gfn."""
    if guest is None:
        return {name: pa.nulls(len(records), _SCHEMA.field(name).type) for name in ("vm", "vcpu", "gfn")}
    vm, vcpu, gfn = records["vm"], records["vcpu"], records["gfn"]
    return {
        "vm": _masked(vm, ~guest | (vm == 0), pa.int32()),
        "vcpu": _masked(vcpu, ~guest | (vcpu < 0), pa.int16()),
        "gfn": _masked(gfn, ~guest | (gfn == UNKNOWN_U64), pa.int64()),
    }


def from_columns(rows: Sequence[Mapping[str, object]]) -> pa.Table:
    """Return a table of rows that are given as mappings, with absent columns null.

    It serves aggregates, of which there are a few per second.
    """
    return pa.Table.from_pylist([dict(row) for row in rows], schema=_SCHEMA)


def _masked(values: npt.NDArray[Any], unknown: npt.NDArray[np.bool_], kind: pa.DataType) -> pa.Array:
    if unknown.all():
        return pa.nulls(len(values), kind)
    plain = values.astype(kind.to_pandas_dtype())
    return pa.array(plain, mask=unknown) if unknown.any() else pa.array(plain)


def _only(known: Mask, values: npt.NDArray[Any], kind: pa.DataType, unit: int = 1) -> pa.Array:
    """Return ``values`` times ``unit`` where they are ``known``, and null elsewhere."""
    if known is None:
        return pa.nulls(len(values), kind)
    return _masked(values if unit == 1 else values.astype(np.int64) * unit, ~known, kind)


def _named(numbers: npt.NDArray[Any], names: Sequence[str], index: pa.DataType) -> pa.DictionaryArray:
    return pa.DictionaryArray.from_arrays(pa.array(np.ascontiguousarray(numbers), index), list(names))


def _parents(numbers: npt.NDArray[Any], names: Sequence[str]) -> pa.Array:
    unknown = numbers == NO_PARENT
    if unknown.all():
        return pa.nulls(len(numbers), pa.dictionary(pa.int8(), pa.string()))
    index = pa.array(numbers.astype(np.int8), mask=unknown)
    return pa.DictionaryArray.from_arrays(index, list(names))


def _comms(raw: npt.NDArray[Any]) -> pa.DictionaryArray:
    # A CPU's records keep their task for a while, so names are encoded where they change, then repeated.
    low, high = (raw.view(_TWO_WORDS)[name] for name in ("low", "high"))
    starts, lengths = _stretches((low[1:] != low[:-1]) | (high[1:] != high[:-1]))
    firsts, where = _distinct(low[starts], high[starts])
    names = [decoded(bytes(raw[at]).split(b"\0", 1)[0]) for at in starts[firsts]]
    # Values that differ only in padding give one name, which a dictionary must not hold twice.
    unique = list(dict.fromkeys(names))
    place = np.array([unique.index(name) for name in names], dtype=np.int32)
    return pa.DictionaryArray.from_arrays(pa.array(np.repeat(place[where], lengths)), unique)


def _distinct(
    low: npt.NDArray[Any], high: npt.NDArray[Any]
) -> tuple[npt.NDArray[np.intp], npt.NDArray[np.intp]]:
    """Return where each distinct pair of words stands first in their order, and of each pair which it is.

    As dictionary_encode(), which would import pyarrow.compute before recording begins: 0.06 s, 7 MB.
    """
    order = np.lexsort((high, low))
    low, high = low[order], high[order]
    new = np.concatenate(([True], (low[1:] != low[:-1]) | (high[1:] != high[:-1])))
    where = np.empty(len(order), dtype=np.intp)
    where[order] = np.cumsum(new) - 1
    return order[new], where


def _stretches(changes: npt.NDArray[np.bool_]) -> tuple[npt.NDArray[np.intp], npt.NDArray[np.intp]]:
    """Return the first index and the length of each stretch of equal rows.

    ``changes`` says of each row but the last whether the next one differs from it.
    """
    starts = np.concatenate(([0], np.flatnonzero(changes) + 1))
    return starts, np.diff(np.concatenate((starts, [len(changes) + 1])))


def _cgroups(
    flags: npt.NDArray[Any], cpus: npt.NDArray[Any], text_of: Callable[[int, int], str | None]
) -> pa.Array:
    slots = flags >> np.uint32(CGROUP_SHIFT)
    if not slots.any():
        return pa.nulls(len(flags), pa.dictionary(pa.int32(), pa.string()))
    # As in _comms(), paths are looked up where the cgroup or CPU changes, then repeated.
    cpus = np.ascontiguousarray(cpus)
    starts, lengths = _stretches((slots[1:] != slots[:-1]) | (cpus[1:] != cpus[:-1]))
    slot, cpu = slots[starts].astype(np.int64), cpus[starts].astype(np.int64)
    keys = np.where(slot > 0, cpu << 16 | (slot - 1), -1)
    places, texts = _placed(keys, lambda place: text_of(place >> 16, place & 0xFFFF))
    return _of_places(np.repeat(places, lengths), texts)


def _texts(ids: npt.NDArray[Any], text_of: Callable[[int], str | None]) -> pa.Array:
    """Return the text of each id as a dictionary array; null where the id is negative or has no text."""
    if (ids < 0).all():
        return pa.nulls(len(ids), pa.dictionary(pa.int32(), pa.string()))
    return _of_places(*_placed(ids, text_of))


def _placed(
    ids: npt.NDArray[Any], text_of: Callable[[int], str | None]
) -> tuple[npt.NDArray[np.int32], list[str]]:
    """Return of each id the place of its text in the list of texts, -1 for none; and that list."""
    known, where = np.unique(ids, return_inverse=True)
    texts = [text_of(int(i)) if i >= 0 else None for i in known]
    unique = list(dict.fromkeys(t for t in texts if t is not None))
    return np.array([-1 if t is None else unique.index(t) for t in texts], dtype=np.int32)[where], unique


def _of_places(places: npt.NDArray[np.int32], texts: list[str]) -> pa.Array:
    """Return the texts at these places as a dictionary array; null at -1."""
    unknown = places < 0
    if unknown.all():
        return pa.nulls(len(places), pa.dictionary(pa.int32(), pa.string()))
    index = pa.array(places, mask=unknown) if unknown.any() else pa.array(places)
    return pa.DictionaryArray.from_arrays(index, pa.array(texts, pa.string()))
