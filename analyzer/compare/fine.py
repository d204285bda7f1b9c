# SPDX-License-Identifier: Apache-2.0
"""A second, finer look at the durations around the quantiles.

A bucket is 1/16 of its octave wide, too coarse to compare kernels by: a change of
2 % would be invisible or, across an edge, look like 6 %.  So the rows whose bucket
holds a quantile are read again, in cells 256 times as fine of which the smallest
and the largest duration are kept.  That takes bounded memory, as a sort of all
durations would not.  There is nothing finer in what the kernel summed.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from memtrace.analyzer import callers, cells
from memtrace.analyzer.compare.durations import timed
from memtrace.analyzer.compare.histogram import Histogram
from memtrace.analyzer.keys import Key
from memtrace.analyzer.partials import Partials
from memtrace.analyzer.scan import MAX_GROUPS, NOT_NEGATIVE, edge
from memtrace.traces.histogram import SUB_BITS, lower_edge
from memtrace.traces.schema import Flag

if TYPE_CHECKING:
    import duckdb
    import numpy as np
    import numpy.typing as npt

    from memtrace.traces.reader import Run

    Ints = npt.NDArray[np.int64]

BITS = SUB_BITS + 8
"""A cell is 2**-BITS of its octave wide: 0.025 % of its durations."""

Group = tuple[Any, ...]
"""Values of the keys, the event first."""


@dataclass(frozen=True)
class Fine:
    """Fine cells: arrays of one length, a cell of a group each."""

    groups: Mapping[Group, int]
    """Their numbers."""
    number: Ints
    """Of the group."""
    bucket: Ints
    """By its lower edge."""
    cell: Ints
    """By its lower edge."""
    histogram: Histogram
    """The smallest and largest duration in each cell, their number and sum."""

    def of(self, event: str, cell: Group | None = None) -> Fine:
        """Those of an event, or of one cell of it; ascending, and those of several groups put together."""
        import numpy as np

        if cell is None:
            numbers = [number for group, number in self.groups.items() if group[0] == event]
        else:
            numbers = [self.groups[(event, *cell)]]
        chosen = np.isin(self.number, numbers)
        edges, first, place = np.unique(self.cell[chosen], return_index=True, return_inverse=True)
        all_ = self.histogram
        low, high = all_.low[chosen][first], all_.high[chosen][first]
        np.minimum.at(low, place, all_.low[chosen])
        np.maximum.at(high, place, all_.high[chosen])
        sums = np.zeros((2, len(edges)), dtype=np.int64)
        np.add.at(sums[0], place, all_.count[chosen])
        np.add.at(sums[1], place, all_.total_ns[chosen])
        together = Histogram(low, high, sums[0], sums[1])
        return Fine(self.groups, np.zeros_like(edges), self.bucket[chosen][first], edges, together)


def around(
    run: Run,
    inside: Partials,
    keys: Sequence[Key],
    shares: Sequence[float],
    connection: duckdb.DuckDBPyConnection,
) -> Fine | None:
    """The streamed durations in the buckets that hold these quantiles of an event or of a cell of it.

    ``inside``: the partial aggregates by ``keys``, the event first.  None where
    there is nothing finer, or too much of it.
    """
    import numpy as np

    groups, number = inside.groups([key.output for key in keys])
    rows = timed(inside)
    number, bucket, count = number[rows], inside.bucket[rows], inside.count[rows]
    summed = inside.having(Flag.AGGREGATED)[rows]
    names = sorted({group[0] for group in groups})
    event = np.array([names.index(group[0]) for group in groups], dtype=np.int64)[number]
    wanted: set[tuple[int, int]] = set(_holding(number, bucket, count, summed, shares))
    of_events = set(_holding(event, bucket, count, summed, shares))
    there = zip(event.tolist(), number.tolist(), bucket.tolist(), strict=True)
    wanted |= {(one, at) for e, one, at in there if (e, at) in of_events}
    if not wanted:
        return None
    chosen = sorted(wanted)
    edges = lower_edge(np.array([at for _, at in chosen]))
    return _read(run, keys, groups, [one for one, _ in chosen], edges, connection)


def _holding(
    label: Ints, bucket: Ints, count: Ints, summed: npt.NDArray[np.bool_], shares: Sequence[float]
) -> Iterator[tuple[int, int]]:
    """Of each label, the buckets that hold these quantiles, if nothing in them was summed in the kernel."""
    import numpy as np

    order = np.argsort(label, kind="stable")
    for rows in np.split(order, np.flatnonzero(np.diff(label[order])) + 1) if len(order) else ():
        found, place = np.unique(bucket[rows], return_inverse=True)
        counts = np.bincount(place, weights=count[rows]).astype(np.int64)
        coarse = np.bincount(place, weights=summed[rows]) > 0
        durations = Histogram.of_buckets(found, counts, counts)
        for at in {durations.place(share) for share in shares}:
            if not coarse[at]:
                yield int(label[rows[0]]), int(found[at])


def _read(
    run: Run,
    keys: Sequence[Key],
    groups: Sequence[Group],
    numbers: Sequence[int],
    edges: Ints,
    connection: duckdb.DuckDBPyConnection,
) -> Fine | None:
    """The fine cells of the groups ``numbers`` in the buckets ``edges``; None for more than MAX_GROUPS."""
    import numpy as np
    import pyarrow as pa

    rows = run.relation(
        connection, sorted({"flags", "dur_ns", "count", "total_ns", *(key.column for key in keys)})
    )
    stacks = None
    if any(key.column == "stack" for key in keys):
        rows, stacks = callers.numbered(rows, connection)
    columns = {"number": pa.array(numbers, pa.int64()), "bucket": pa.array(edges, pa.int64())}
    for i, key in enumerate(keys):
        columns[f"key_{i}"] = _column(key, [groups[n][i] for n in numbers], stacks)
    connection.register("wanted", pa.table(columns))
    same = " AND ".join(f"{key.expression} IS NOT DISTINCT FROM key_{i}" for i, key in enumerate(keys))
    sql = f"""
        SELECT number, bucket, {edge(NOT_NEGATIVE, BITS)} AS cell, min({NOT_NEGATIVE}) AS low,
            max({NOT_NEGATIVE}) AS high, count(*) AS durations, sum({NOT_NEGATIVE})::BIGINT AS took
        FROM rows_ JOIN wanted ON {edge(NOT_NEGATIVE)} = bucket AND {same}
        WHERE flags & {int(cells.APART | Flag.AGGREGATED)} = 0 AND "count" = 1 AND total_ns IS NOT NULL
        GROUP BY 1, 2, 3 LIMIT {MAX_GROUPS + 1}"""
    found = callers.query(rows, sql).fetchnumpy()
    if len(found["cell"]) > MAX_GROUPS:
        return None
    number, bucket, cell, *of_cells = (
        np.asarray(found[name], dtype=np.int64)
        for name in ("number", "bucket", "cell", "low", "high", "durations", "took")
    )
    return Fine({group: i for i, group in enumerate(groups)}, number, bucket, cell, Histogram(*of_cells))


def _column(key: Key, values: list[Any], stacks: callers.Stacks | None) -> Any:
    """The values of a key, to be joined with its expression."""
    import pyarrow as pa

    if stacks is not None and key.column == "stack":
        texts = stacks.caller if key.word == "caller" else stacks.stack
        number = {text: n for n, text in enumerate(texts)}
        values = [None if value is None else number[value] for value in values]
        return pa.array(values, pa.int64())
    if key.number:
        return pa.array(values, pa.int64())
    # Nulls alone have no type: numbers and text would not compare.
    return pa.array(values, None if any(isinstance(value, int) for value in values) else pa.string())
