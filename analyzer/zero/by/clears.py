# SPDX-License-Identifier: Apache-2.0
"""The clears in a run's rows, summed by some of their columns, and the root around most of each sum."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from memtrace.analyzer.callers import query
from memtrace.analyzer.cells import APART, PAGE
from memtrace.analyzer.ledger import Ledger, hash_of, settle_run
from memtrace.analyzer.zero.accounts import timed_events
from memtrace.analyzer.zero.kinds import CLEARING
from memtrace.traces.schema import Flag

if TYPE_CHECKING:
    import duckdb

    from memtrace.traces.reader import Run


@dataclass
class Clears:
    """Clears of one group."""

    key: tuple[Any, ...]
    """The values grouped by, None for unknown."""
    clears: int = 0
    bytes: int = 0
    derived: int = 0
    """Of bytes, those that follow from gfp flags."""
    ns: int = 0
    """Of those with a known time."""
    timed: int = 0
    """Bytes of those."""
    summed: int = 0
    """Bytes of those that the kernel summed: they have no task, cgroup or stack."""
    root: str | None = None
    """The outermost root around most of its bytes, "" for none; None: unknown."""

    def measured(self, whole: int) -> dict[str, Any]:
        """The measured columns of a table; ``whole``: bytes of all clears."""
        return {
            "clears": self.clears,
            "bytes": self.bytes,
            "derived_bytes": self.derived,
            "share": self.bytes / whole if whole else None,
            "total_ns": self.ns if self.timed else None,
            "untimed_bytes": self.bytes - self.timed,
            "ns_per_4kib": self.ns * PAGE / self.timed if self.timed else None,
        }


def condition(derive: bool) -> str:
    """The rows that are clears, in SQL; ``derive``: those of the allocator follow from allocations."""
    names = ", ".join(f"'{name}'" for name in CLEARING)
    derived = f" OR event = 'alloc' AND (flags & {int(Flag.ZEROED)}) > 0" if derive else ""
    apart = int(APART | Flag.INFERRED)
    return f'(event IN ({names}){derived}) AND (flags & {apart}) = 0 AND "count" IS NOT NULL'


SUMS = f"""sum("count")::BIGINT, coalesce(sum(bytes), 0)::BIGINT,
    coalesce(sum(bytes) FILTER (event = 'alloc'), 0)::BIGINT, coalesce(sum(total_ns), 0)::BIGINT,
    coalesce(sum(bytes) FILTER (total_ns IS NOT NULL), 0)::BIGINT,
    coalesce(sum(bytes) FILTER ((flags & {int(Flag.AGGREGATED)}) > 0), 0)::BIGINT"""
"""The sums of Clears, in its order."""
SUMMED = ("event", "count", "bytes", "total_ns", "flags")
"""The columns that they and condition() need."""


def clears_by(
    run: Run, connection: duckdb.DuckDBPyConnection, keys: Sequence[str], derive: bool, nested: bool
) -> list[Clears]:
    """One for each combination of ``keys`` (columns of the run), those with the most bytes first.

    ``nested``: the rows tell what lay in what; else no root is known.
    """
    rows = run.relation(connection, [*SUMMED, *keys]).filter(condition(derive))
    named = ", ".join(f'"{name}"' for name in keys)
    question = f"SELECT {hash_of(keys)} AS h, {named}, {SUMS} FROM rows_ GROUP BY ALL"
    around = roots_by(run, connection, keys) if nested else {}
    found = []
    for hashed, *row in query(rows, question).fetchall():
        key, sums = tuple(row[: len(keys)]), row[len(keys) :]
        found.append(Clears(key, *sums))
        found[-1].root = around.get(hashed)
    return largest_first(found)


def largest_first(found: Sequence[Clears]) -> list[Clears]:
    """Those with the most bytes first; the order of equals is that of their keys."""
    return sorted(found, key=lambda c: (-c.bytes, -c.clears, *map(_orderly, c.key)))


def _orderly(value: Any) -> tuple[bool, int, str]:
    return value is None, value if isinstance(value, int) else 0, str(value)


def roots_by(run: Run, connection: duckdb.DuckDBPyConnection, keys: Sequence[str]) -> dict[int, str]:
    """The outermost root around most of the bytes, by hash_of(keys); empty where no root was streamed."""
    import numpy as np

    events = timed_events(run, connection)
    roots = [i for i, name in enumerate(events) if name.startswith("root.")]
    if not roots:
        return {}
    clearing = [i for i, name in enumerate(events) if name in CLEARING]
    held: Counter[tuple[int, int]] = Counter()
    for settled in settle_run(run, Ledger(roots), events, connection, ("bytes",), group=keys, apart=APART):
        chosen = np.isin(settled.event, clearing)
        groups, place = np.unique(settled.columns["group"][chosen], return_inverse=True)
        width = len(events) + 1
        cell = place.ravel() * width + settled.root[chosen] + 1
        sums = np.zeros(len(groups) * width, dtype=np.int64)
        np.add.at(sums, cell, np.ma.filled(settled.columns["bytes"], 0)[chosen].astype(np.int64))
        for at in np.flatnonzero(sums).tolist():
            held[int(groups[at // width]), at % width - 1] += int(sums[at])
    best: dict[int, tuple[int, str]] = {}
    for (group, root), size in held.items():
        best[group] = max(best.get(group, (0, "")), (size, events[root] if root >= 0 else ""))
    return {group: root for group, (_, root) in best.items()}
