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
from enum import IntFlag
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    Ints = npt.NDArray[np.int64]
    Bools = npt.NDArray[np.bool_]

NO_BUCKET = -1


class Unknown(IntFlag):
    """Quantities that are null in the rows that a partial aggregate stands for."""

    COUNT = 1
    BYTES = 2
    TOTAL = 4
    SELF = 8
    PFN = 16


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


def merged(parts: Sequence[Partials]) -> Partials:
    """The partial aggregates of several parts together (at least one; all with the same keys)."""
    import numpy as np

    keys = {name: [value for part in parts for value in part.keys[name]] for name in parts[0].keys}
    arrays: dict[str, Any] = {}
    for name in (f.name for f in fields(Partials) if f.name != "keys"):
        columns = [getattr(part, name) for part in parts]
        arrays[name] = None if any(c is None for c in columns) else np.concatenate(columns)
    return Partials(keys=keys, **arrays)
