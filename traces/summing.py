# SPDX-License-Identifier: Apache-2.0
"""Making the partial aggregates of a run: its rows by one packed key, in numpy alone.

pyarrow.compute takes longer to import than most runs to sum up.
"""

from __future__ import annotations

import itertools
import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from memtrace.traces.histogram import bucket_of
from memtrace.traces.limits import INT64_MAX
from memtrace.traces.partials import ADDED, KEYS, MAX_ENTRIES, NAMES, SUMS, TEXTS, UNKNOWN, added_up
from memtrace.traces.schema import Flag

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt
    import pyarrow as pa

    Ints = npt.NDArray[np.int64]

INEXACT = -1
_MERGE_AT = 200_000
# The parts of a packed key, lowest first: name and bits.  0 stands for null, but in flags and unknown.
PARTS = (
    ("bucket", 10),
    ("unknown", 5),
    ("flags", 15),
    ("order", 6),
    ("nid", 11),
    ("parent", 8),
    ("event", 8),
)
_SHIFT = dict(
    zip(
        (name for name, _ in PARTS),
        itertools.accumulate((bits for _, bits in PARTS), initial=0),
        strict=False,
    )
)
_EVENT = _SHIFT["event"]
_AGGREGATED = int(Flag.AGGREGATED) << _SHIFT["flags"]
COLUMNS = ("dur_ns", "count", "bytes", "total_ns", "self_ns", "pfn", "flags", "stack", *KEYS)
"""What is read of the rows."""
_BATCH = 1 << 17


def made(fd: int, exact: frozenset[str]) -> str | None:
    """of_file(); None too for a file that cannot be read back."""
    import pyarrow as pa

    try:
        return of_file(fd, exact)
    except (pa.ArrowException, OSError, MemoryError):
        return None


def of_file(fd: int, exact: frozenset[str]) -> str | None:
    """The JSON of the partial aggregates of a finished run's rows.

    ``exact``: the events of which each streamed row keeps its duration.

    None if there are too many, or rows that have no place in it.
    """
    import pyarrow.parquet as pq

    sums = Sums(exact)
    with open(fd, "rb", closefd=False) as raw, pq.ParquetFile(raw, pre_buffer=False) as file:
        for batch in file.iter_batches(_BATCH, columns=list(COLUMNS)):
            if not sums.add(batch):
                return None
    return sums.document()


class Sums:
    """Adds up rows, in numpy alone: pyarrow.compute takes longer to import than most runs to sum up."""

    def __init__(self, exact: frozenset[str] = frozenset()) -> None:
        """``exact``: the events of which each streamed row keeps its duration."""
        self._exact = exact
        self._names: list[str] = []
        """Events by their number in keys, from 1."""
        self._parts: list[Summed] = []
        self._entries = 0
        self._stacks = 0
        self._largest = 0.0
        """What no sum can be more than."""

    def add(self, rows: pa.RecordBatch) -> bool:
        """Take rows of ``COLUMNS``; whether they, and all before, have a place."""
        import numpy as np

        if not len(rows):
            return True
        key = self._packed(rows)
        if key is None:
            return False
        quantities = _quantities(rows)
        self._largest += max(float(abs(quantities[name]).sum(dtype=float)) for name in ADDED)
        if self._largest > INT64_MAX / 2:
            return False
        self._stacks += len(rows) - rows.column("stack").null_count
        took = np.where(self._one_by_one(rows, key), quantities["max_ns"], INEXACT)
        self._parts.append(_summed(key, took, quantities))
        self._entries += len(self._parts[-1].key)
        if self._entries > _MERGE_AT:
            self._merge()
        return self._entries <= _MERGE_AT

    def document(self) -> str | None:
        """The JSON of them; None if there are too many."""
        self._merge()
        if self._entries > MAX_ENTRIES:
            return None
        columns = (
            self._columns(self._parts[0]) if self._parts else {name: [] for name in (*NAMES, *SUMS, "exact")}
        )
        return json.dumps({"stacks": self._stacks, **columns}, separators=(",", ":"))

    def _merge(self) -> None:
        import numpy as np

        if len(self._parts) > 1:
            sums = {name: np.concatenate([part.sums[name] for part in self._parts]) for name in SUMS}
            key = np.concatenate([part.key for part in self._parts])
            took = np.concatenate([part.took for part in self._parts])
            self._parts = [_summed(key, took, sums)]
        self._entries = sum(len(part.key) for part in self._parts)

    def _one_by_one(self, rows: pa.RecordBatch, key: Ints) -> npt.NDArray[np.bool_]:
        """Which rows keep their duration."""
        import numpy as np

        codes = [at + 1 for at, name in enumerate(self._names) if name in self._exact]
        if not codes:
            return np.zeros(len(key), dtype=bool)
        known = np.logical_and(_known(rows.column("dur_ns")), key & _AGGREGATED == 0)
        kept: npt.NDArray[np.bool_] = np.logical_and(known, np.isin(key >> _EVENT, codes))
        return kept

    def _packed(self, rows: pa.RecordBatch) -> Ints | None:
        """The key of each row; None if one does not fit."""
        import numpy as np

        key = _bucket(rows)
        shift = 0
        for name, bits in PARTS:
            if name == "unknown":
                for column, bit in UNKNOWN.items():
                    _add(key, np.logical_not(_known(rows.column(column))), int(bit) << shift)
            elif name in TEXTS:
                self._add_codes(key, rows.column(name), shift)
            elif name != "bucket":
                values = _filled(rows.column(name))
                if values.max() >= (1 << bits) - 1:
                    return None
                key += values << shift
                if name != "flags":
                    _add(key, _known(rows.column(name)), 1 << shift)
            shift += bits
        return key if len(self._names) < 255 else None

    def _add_codes(self, key: Ints, column: pa.DictionaryArray, shift: int) -> None:
        """Add the numbers of the texts of a column to keys, 0 for null."""
        import numpy as np

        if column.null_count == len(column):
            return
        names = column.dictionary.to_pylist()
        self._names += [name for name in dict.fromkeys(names) if name not in self._names]
        codes = np.array([self._names.index(name) + 1 for name in names], dtype=np.int64) << shift
        indices, known = _filled(column.indices), _known(column)
        key += codes[indices] * known if known.ndim else codes[indices]

    def _columns(self, summed: Summed) -> dict[str, list[Any]]:
        out: dict[str, list[Any]] = {}
        shift = 0
        for name, bits in PARTS:
            part = ((summed.key >> shift) & ((1 << bits) - 1)).tolist()
            shift += bits
            if name in TEXTS:
                out[name] = [self._names[at - 1] if at else None for at in part]
            elif name in ("flags", "unknown"):
                out[name] = part
            else:
                out[name] = [at - 1 if at else None for at in part]
        out["exact"] = (summed.took != INEXACT).astype(int).tolist()
        return out | {name: summed.sums[name].tolist() for name in SUMS}


@dataclass(frozen=True)
class Summed:
    """Rows by key, in its order: SUMS of each."""

    key: Ints
    took: Ints
    """The duration of all of them; INEXACT where they have only the bucket in common."""
    sums: Mapping[str, npt.NDArray[Any]]


def _summed(key: Ints, took: Ints, columns: Mapping[str, npt.NDArray[Any]]) -> Summed:
    """Sums (of max_ns the largest) of rows with the same key and duration."""
    import numpy as np

    order = np.argsort(key) if (took == INEXACT).all() else np.lexsort((took, key))
    key, took = key[order], took[order]
    first = np.flatnonzero(np.concatenate([[True], (key[1:] != key[:-1]) | (took[1:] != took[:-1])]))
    return Summed(key[first], took[first], added_up(columns, order, first))


def _quantities(rows: pa.RecordBatch) -> dict[str, npt.NDArray[Any]]:
    """What is summed of each row."""
    import numpy as np

    found = {name: _filled(rows.column(name)) for name in ADDED}
    return {
        "rows": np.ones(len(rows), dtype=np.int64),
        **found,
        "max_ns": np.maximum(_filled(rows.column("dur_ns")), 0),
        # Modulo 2**64, as the kernel side has it.
        "sum_pfn": _filled(rows.column("pfn")).astype(np.uint64),
    }


def _known(column: pa.Array) -> npt.NDArray[np.bool_] | np.bool_:
    """Where a column is known, or whether it is everywhere or nowhere."""
    import numpy as np

    if column.null_count in (0, len(column)):
        return np.bool_(not column.null_count)
    bits = np.unpackbits(np.frombuffer(column.buffers()[0], dtype=np.uint8), bitorder="little")
    return bits[column.offset : column.offset + len(column)].astype(bool)


def _filled(column: pa.Array) -> Ints:
    """The values of a column, 0 where it is null."""
    import numpy as np

    if column.null_count == len(column):
        return np.zeros(len(column), dtype=np.int64)
    if not column.null_count:
        return column.to_numpy().astype(np.int64)  # type: ignore[no-any-return]
    values = np.frombuffer(column.buffers()[1], dtype=column.type.to_pandas_dtype())
    return values[column.offset : column.offset + len(column)].astype(np.int64) * _known(column)


def _add(key: Ints, where: npt.NDArray[np.bool_] | np.bool_, value: int) -> None:
    """Add a number to the keys where it is due."""
    if where.ndim:
        key += where * value
    elif where:
        key += value


def _bucket(rows: pa.RecordBatch) -> Ints:
    """The lowest part of keys: the bucket of dur_ns from 1, 0 where it is null."""
    import numpy as np

    took = rows.column("dur_ns")
    return (bucket_of(np.maximum(_filled(took), 0)) + 1) * _known(took)
