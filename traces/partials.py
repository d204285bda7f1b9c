# SPDX-License-Identifier: Apache-2.0
"""The partial aggregates that a run carries: its rows summed up when it was closed.

One entry stands for all rows with the same event, order, node, parent, flags, unknown
quantities and bucket of dur_ns; of events with few rows, of each duration.  Sums of entries
are sums of rows, so what reports show by any of these is read from here, in kilobytes;
SCHEMA.md has the document.  A run that was cut short has none, nor has one with more than
MAX_ENTRIES different ones.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from enum import IntFlag
from typing import TYPE_CHECKING, Any

from memtrace.traces.gate import MAX_BYTES, Refused
from memtrace.traces.histogram import BUCKETS
from memtrace.traces.limits import INT64_MAX

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    from memtrace.traces.run import RunStatus

    Ints = npt.NDArray[np.int64]

MAX_ENTRIES = 30_000
"""More take longer to read than they save; about 2 MB."""
EXACT_ROWS = 1 << 13
"""Streamed durations that are kept one by one, of the rarest events.  A run with no more rows
keeps all of them, in its rows: they are read as fast as entries are."""
_LONGEST = 255


class Unknown(IntFlag):
    """Quantities that are null in the rows that an entry stands for."""

    COUNT = 1
    BYTES = 2
    TOTAL = 4
    SELF = 8
    PFN = 16


UNKNOWN = {
    "count": Unknown.COUNT,
    "bytes": Unknown.BYTES,
    "total_ns": Unknown.TOTAL,
    "self_ns": Unknown.SELF,
    "pfn": Unknown.PFN,
}
KEYS = ("event", "order", "nid", "parent")
TEXTS = ("event", "parent")
NAMES = ("bucket", "unknown", "flags", "order", "nid", "parent", "event")
ADDED = ("count", "bytes", "total_ns", "self_ns")
SUMS = ("rows", "count", "bytes", "total_ns", "self_ns", "max_ns", "sum_pfn")


def added_up(
    columns: Mapping[str, npt.NDArray[Any]], order: Ints, first: Ints
) -> dict[str, npt.NDArray[Any]]:
    """SUMS of groups of rows (of max_ns the largest); in this order a group begins at each ``first``."""
    import numpy as np

    return {
        name: (np.maximum if name == "max_ns" else np.add).reduceat(values[order], first)
        for name, values in columns.items()
    }


def rare(rows: int, status: RunStatus) -> frozenset[str] | None:
    """The events of which each streamed row keeps its duration; None for all."""
    if rows <= EXACT_ROWS:
        return None
    found, kept = [], 0
    for each in sorted(status.counters, key=lambda each: each.streamed):
        kept += each.streamed
        if kept <= EXACT_ROWS and each.streamed:
            found.append(each.event)
    return frozenset(found)


@dataclass(frozen=True)
class Kept:
    """The partial aggregates of a run, as columns of one length."""

    keys: Mapping[str, list[Any]]
    """By KEYS, None for unknown."""
    flags: Ints
    unknown: Ints
    """Bits of Unknown."""
    bucket: Ints
    """Of ``dur_ns`` (histogram.py), -1 if null."""
    exact: npt.NDArray[np.bool_]
    """Whether all of these rows took max_ns, to the nanosecond."""
    sums: Mapping[str, npt.NDArray[Any]]
    """By SUMS; sum_pfn modulo 2**64."""
    stacks: int
    """Rows with a stack."""


def read(text: str) -> Kept:
    """The partial aggregates in a JSON text; raises Refused for what Sums does not write."""
    import numpy as np

    if len(text) > MAX_BYTES:
        raise Refused(f"has partial aggregates of more than {MAX_BYTES >> 20} MiB")
    try:
        found = json.loads(text)
    except (ValueError, RecursionError):
        raise Refused("has partial aggregates that are no JSON") from None
    names = (*NAMES, *SUMS, "exact")
    if not isinstance(found, dict) or any(not isinstance(found.get(name), list) for name in names):
        raise Refused(f"has partial aggregates without {', '.join(names)}")
    if len({len(found[name]) for name in names}) != 1 or len(found["rows"]) > MAX_ENTRIES:
        raise Refused("has partial aggregates whose columns differ in length, or are too long")
    (stacks,) = _numbers("stacks", [found.get("stacks")])
    columns = {name: _numbers(name, found[name]) for name in names if name not in TEXTS}
    for name in TEXTS:
        _check_texts(name, found[name])
    bucket = np.where([at is None for at in found["bucket"]], -1, columns["bucket"]).astype(np.int64)
    return Kept(
        {name: found[name] for name in KEYS},
        columns["flags"],
        columns["unknown"],
        bucket,
        columns["exact"] == 1,
        {name: columns[name] for name in SUMS},
        int(stacks),
    )


_NULLABLE = ("bucket", "order", "nid")
_MOST = {
    "bucket": BUCKETS - 1, "order": 52, "nid": 1023, "flags": (1 << 15) - 1, "unknown": 31, "exact": 1,
    "sum_pfn": (1 << 64) - 1,
}  # fmt: skip


def _numbers(name: str, values: list[Any]) -> npt.NDArray[Any]:
    import numpy as np

    allowed = {int, type(None)} if name in _NULLABLE else {int}
    least, most = -(1 << 61) if name == "self_ns" else 0, _MOST.get(name, INT64_MAX)
    if not set(map(type, values)) <= allowed:
        raise Refused(f"has partial aggregates with a {name} that is no whole number")
    plain = [value or 0 for value in values]
    if plain and not least <= min(plain) <= max(plain) <= most:
        raise Refused(f"has partial aggregates with a {name} out of its range")
    return np.array(plain, dtype=np.uint64 if name == "sum_pfn" else np.int64)


def _check_texts(name: str, values: list[Any]) -> None:
    allowed = {str} if name == "event" else {str, type(None)}
    if not set(map(type, values)) <= allowed or max((len(v) for v in values if v), default=0) > _LONGEST:
        raise Refused(f"has partial aggregates with a {name} that is no name")
