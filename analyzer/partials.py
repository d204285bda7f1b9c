# SPDX-License-Identifier: Apache-2.0
"""Partial aggregates: what one scan of a run leaves, and all that reports are sums over.

One row stands for all rows of the file with the same keys, ``flags``, histogram
bucket and unknown quantities.  Partial aggregates of parts (row groups, files,
machines) put together are those of the whole.
"""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from typing import TYPE_CHECKING, Any

from memtrace.traces.histogram import lower_edge
from memtrace.traces.partials import Kept, Unknown, added_up
from memtrace.traces.schema import Flag

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    Ints = npt.NDArray[np.int64]
    Bools = npt.NDArray[np.bool_]

NO_BUCKET = -1


@dataclass(frozen=True)
class Partials:
    """Arrays of one length, a row each; sums take unknown as 0 (``unknown`` tells them apart)."""

    keys: Mapping[str, list[Any]]
    """The values grouped by, None for unknown."""
    flags: Ints
    unknown: Ints
    """Bits of Unknown."""
    bucket: Ints
    """Of ``dur_ns`` (traces.histogram), NO_BUCKET if null."""
    rows: Ints
    count: Ints
    """Occurrences."""
    bytes: Ints
    total_ns: Ints
    self_ns: Ints
    max_ns: Ints
    """The longest ``dur_ns``; of aggregates the lower edge of its bucket."""
    alike: Bools
    """Whether every occurrence took max_ns, to the nanosecond."""
    sum_pfn: npt.NDArray[np.uint64] | None = None
    """Modulo 2**64; None if it was not asked for."""

    def __len__(self) -> int:
        return len(self.flags)

    def where(self, chosen: Bools) -> Partials:
        """The rows chosen."""
        keys = {name: list(itertools.compress(column, chosen.tolist())) for name, column in self.keys.items()}
        arrays: dict[str, Any] = {f.name: getattr(self, f.name) for f in fields(self) if f.name != "keys"}
        cut: dict[str, Any] = {
            name: None if array is None else array[chosen] for name, array in arrays.items()
        }
        return Partials(keys=keys, **cut)

    def having(self, flag: int) -> Bools:
        """Which rows have any of these bits in their flags."""
        chosen: Bools = (self.flags & int(flag)) != 0
        return chosen

    def known(self, quantity: Unknown) -> Bools:
        """Which rows know this quantity."""
        chosen: Bools = (self.unknown & int(quantity)) == 0
        return chosen

    def groups(self, keys: Sequence[str]) -> tuple[list[tuple[Any, ...]], Ints]:
        """The distinct values of ``keys``, sorted with unknown last, and each row's place among them."""
        import numpy as np

        rows = list(zip(*(self.keys[name] for name in keys), strict=True))
        distinct = sorted(set(rows), key=lambda row: [(value is None, value) for value in row])
        place = {row: i for i, row in enumerate(distinct)}
        return distinct, np.fromiter((place[row] for row in rows), dtype=np.int64, count=len(rows))


def of_kept(kept: Kept, keys: Mapping[str, str], *, with_pfn: bool, with_durations: bool) -> Partials:
    """Those that a run carries, by ``keys``: their names, and the columns of the file that they are."""
    import numpy as np

    unknown = kept.unknown if with_pfn else kept.unknown & ~int(Unknown.PFN)
    bucket = kept.bucket if with_durations else np.full(len(kept.bucket), NO_BUCKET, dtype=np.int64)
    took = np.where(kept.exact & (bucket != NO_BUCKET), kept.sums["max_ns"], -1)
    columns = [_codes(kept.keys[column]) for column in keys.values()]
    order, first = _together([*columns, kept.flags, unknown, bucket, took])
    at = order[first]
    sums = added_up(kept.sums, order, first)
    pfn, longest = sums.pop("sum_pfn"), sums.pop("max_ns")
    longest = longest if with_durations else np.zeros(len(at), dtype=np.int64)
    edge = np.where(bucket[at] == NO_BUCKET, 0, lower_edge(bucket[at]))
    plain = kept.flags[at] & int(Flag.AGGREGATED) == 0
    return Partials(
        {name: [kept.keys[column][i] for i in at] for name, column in keys.items()},
        kept.flags[at],
        unknown[at],
        bucket[at],
        max_ns=longest,
        alike=((took[at] >= 0) | (edge == longest)) & plain,
        sum_pfn=pfn if with_pfn else None,
        **sums,
    )


def _codes(values: Sequence[Any]) -> Ints:
    """Equal numbers for equal values."""
    import numpy as np

    known = {value: code for code, value in enumerate(dict.fromkeys(values))}
    return np.fromiter((known[value] for value in values), dtype=np.int64, count=len(values))


def _together(columns: Sequence[Ints]) -> tuple[Ints, Ints]:
    """An order in which rows that are equal in all columns stand together, and where each group begins."""
    import numpy as np

    order: Ints = np.lexsort(columns)
    changes = np.zeros(len(order), dtype=bool)
    changes[:1] = True
    for column in columns:
        changes[1:] |= column[order][1:] != column[order][:-1]
    return order, np.flatnonzero(changes)


def merged(parts: Sequence[Partials]) -> Partials:
    """The partial aggregates of several parts together (at least one; all with the same keys)."""
    import numpy as np

    keys = {name: [value for part in parts for value in part.keys[name]] for name in parts[0].keys}
    arrays: dict[str, Any] = {}
    for name in (f.name for f in fields(Partials) if f.name != "keys"):
        columns = [getattr(part, name) for part in parts]
        arrays[name] = None if any(c is None for c in columns) else np.concatenate(columns)
    return Partials(keys=keys, **arrays)
