# SPDX-License-Identifier: Apache-2.0
"""Ring records and aggregate differences as Arrow tables of run-file rows."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from memtrace.probes.ring import NO_PARENT, UNKNOWN_U32, UNKNOWN_U64
from memtrace.traces.schema import COLUMN_NAMES, arrow_schema

_SCHEMA = arrow_schema()


@dataclass(frozen=True)
class Naming:
    """What the numbers in a record stand for."""

    events: Sequence[str]
    sites: Sequence[str]
    page_size: int
    gfp_events: frozenset[int]
    """Events whose records carry gfp flags."""
    stack_text: Callable[[int], str | None]
    """Folded text of a stack id, None if it is not known."""
    guest_events: frozenset[int] = frozenset()
    """Events of virtual machines: with vm, vcpu, gfn and pages requested; 0 pages are known to be none."""


def from_records(records: npt.NDArray[Any], naming: Naming) -> pa.Table:
    """A row for each record."""
    count = len(records)
    dur = _masked(records["dur"], records["dur"] == UNKNOWN_U64, pa.int64())
    pages = records["pages"].astype(np.int64)
    has_gfp = np.isin(records["event"], list(naming.gfp_events))
    guest = np.isin(records["event"], list(naming.guest_events))
    unknown_pages = np.where(guest, records["pages"] == UNKNOWN_U32, pages == 0)
    requested = records["requested"].astype(np.int64)
    columns = {
        "ts_ns": pa.array(np.ascontiguousarray(records["ts"])),
        "dur_ns": dur,
        "count": pa.array(np.ones(count, dtype=np.int64)),
        "total_ns": dur,
        "self_ns": _masked(records["self"], records["self"] == UNKNOWN_U64, pa.int64()),
        "event": _named(records["event"], naming.events, pa.int8()),
        "site": _named(records["site"].astype(np.int16), naming.sites, pa.int16()),
        "cpu": pa.array(records["cpu"].astype(np.int16)),
        "pid": pa.array(np.ascontiguousarray(records["pid"])),
        "tid": pa.array(np.ascontiguousarray(records["tid"])),
        "comm": _comms(records["comm"]),
        "order": _masked(records["order"], records["order"] < 0, pa.int8()),
        "bytes": _masked(pages * naming.page_size, unknown_pages, pa.int64()),
        "bytes_requested": _masked(requested * naming.page_size, requested == 0, pa.int64()),
        "pfn": _masked(records["pfn"], records["pfn"] == UNKNOWN_U64, pa.int64()),
        "nid": _masked(records["nid"], records["nid"] < 0, pa.int16()),
        "nid_requested": _masked(records["nid_requested"], records["nid_requested"] < 0, pa.int16()),
        "gfp": _masked(records["gfp"], ~has_gfp, pa.uint32()),
        "flags": pa.array(np.ascontiguousarray(records["flags"])),
        "parent": _parents(records["parent"], naming.events),
        "cgroup": pa.nulls(count, pa.dictionary(pa.int32(), pa.string())),
        "stack": _stacks(records["stack"], naming.stack_text),
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


def _stacks(ids: npt.NDArray[Any], text_of: Callable[[int], str | None]) -> pa.Array:
    kind = pa.dictionary(pa.int32(), pa.string())
    if (ids < 0).all():
        return pa.nulls(len(ids), kind)
    known, where = np.unique(ids, return_inverse=True)
    texts = [text_of(int(i)) if i >= 0 else None for i in known]
    unique = list(dict.fromkeys(t for t in texts if t is not None))
    place = np.array([-1 if t is None else unique.index(t) for t in texts], dtype=np.int32)[where]
    index = pa.array(place, mask=place < 0)
    return pa.DictionaryArray.from_arrays(index, pa.array(unique, pa.string()))
