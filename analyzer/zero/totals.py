# SPDX-License-Identifier: Apache-2.0
"""Sums by root, order and node: the recorder's, or made of the rows where it left none.

A run that was cut short, imported or made by an older recorder has no sums by root.
Then the ledger finds the roots of its streamed rows; aggregates and rows without a
duration have none: where the run has roots at all, theirs is UNPLACED.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from memtrace.analyzer.cells import APART
from memtrace.analyzer.facts import fact
from memtrace.analyzer.ledger import Ledger, settle_run
from memtrace.analyzer.zero.kinds import ALLOCATOR, UNPLACED
from memtrace.traces.schema import Flag
from memtrace.traces.totals import RootTotal

if TYPE_CHECKING:
    import duckdb

    from memtrace.traces.reader import Run
    from memtrace.traces.run import RunHeader

_COLUMNS = ("order", "nid", "cpu", "gfp", "flags", "bytes", "total_ns")


def totals_of(run: Run, connection: duckdb.DuckDBPyConnection) -> tuple[RootTotal, ...]:
    """The sums by root of a run.

    Where init_on_alloc is off the allocator clears what was asked for alone, also where its
    gfp flags were not seen.
    """
    found = run.status.roots or from_rows(run, connection)
    if fact(run.header, "init_on_alloc") != "no":
        return found
    return tuple(dataclasses.replace(t, asked=True) if _asked(t) else t for t in found)


def _asked(total: RootTotal) -> bool:
    cleared = total.event == ALLOCATOR or (total.event == "alloc" and total.zeroed)
    return cleared and total.asked is None


def from_rows(run: Run, connection: duckdb.DuckDBPyConnection) -> tuple[RootTotal, ...]:
    """Sums by root of a run's rows."""
    events = [
        event
        for (event,) in run.relation(connection, ["event"])
        .aggregate("event::VARCHAR AS event", "event")
        .order("event")
        .fetchall()
    ]
    sums = _Sums(run.header, events)
    roots = [i for i, name in enumerate(events) if name.startswith("root.")]
    for settled in settle_run(run, Ledger(roots), events, connection, _COLUMNS) if events else ():
        sums.add_settled(settled)
    rows = run.relation(connection, ["event", "count", "dur_ns", *_COLUMNS])
    rest = rows.filter(f"(dur_ns IS NULL OR dur_ns < 0 OR (flags & {int(Flag.AGGREGATED)}) > 0)")
    rest = rest.filter(f"(flags & {int(APART | Flag.INFERRED)}) = 0 AND count IS NOT NULL")
    question = (
        'event::VARCHAR, "order", nid, cpu, gfp, flags & 1, sum(count)::BIGINT, sum(bytes)::BIGINT, '
        "CASE WHEN count(*) = count(total_ns) THEN sum(total_ns)::BIGINT END"
    )
    for row in rest.aggregate(question, 'event, "order", nid, cpu, gfp, flags & 1').fetchall():
        sums.add_group(*row)
    return sums.totals()


class _Sums:
    """Sums by everything that a RootTotal is told apart by."""

    def __init__(self, header: RunHeader, events: Sequence[str]) -> None:
        self._events = events
        self._asked = header.gfp_names.get("__GFP_ZERO", 0x100)
        self._movable = header.gfp_names.get("__GFP_MOVABLE", 0x8)
        self._node = {cpu: node.nid for node in header.nodes for cpu in node.cpus}
        self._sums: dict[tuple[Any, ...], list[int | None]] = {}

    def add_settled(self, settled: Any) -> None:
        """Streamed rows with their roots."""
        import numpy as np

        columns = settled.columns
        kept = (np.ma.filled(columns["flags"], 0) & int(APART)) == 0
        keys = [settled.event, settled.root, settled.within]
        keys += [_plain(columns[name]) for name in ("order", "nid", "cpu", "gfp")]
        keys += [np.ma.filled(columns["flags"], 0).astype(np.int64) & 1]
        table = np.stack([key[kept].astype(np.int64) for key in keys], axis=1)
        if not len(table):
            return
        unique, where = np.unique(table, axis=0, return_inverse=True)
        where = where.ravel()
        counts = np.bincount(where, minlength=len(unique))
        size, ns = (np.zeros(len(unique), dtype=np.int64) for _ in range(2))
        np.add.at(size, where, np.ma.filled(columns["bytes"], 0)[kept].astype(np.int64))
        np.add.at(ns, where, np.ma.filled(columns["total_ns"], 0)[kept].astype(np.int64))
        for (event, root, within, *rest), n, held, time in zip(
            unique.tolist(), counts.tolist(), size.tolist(), ns.tolist(), strict=True
        ):
            order, nid, cpu, gfp = (None if value == _UNKNOWN else value for value in rest[:4])
            key = (event, root, within, order, nid, self._remote(nid, cpu), *self._gfp(gfp), bool(rest[4]))
            self._add(key, n, held, time)

    def add_group(
        self,
        event: str,
        order: int | None,
        nid: int | None,
        cpu: int | None,
        gfp: int | None,
        zeroed: int,
        count: int,
        size: int | None,
        ns: int | None,
    ) -> None:
        """Rows of which no root is known."""
        key = (
            self._events.index(event),
            _UNSEEN,
            _UNSEEN,
            order,
            nid,
            self._remote(nid, cpu),
            *self._gfp(gfp),
            bool(zeroed),
        )
        self._add(key, count, size or 0, ns)

    def totals(self) -> tuple[RootTotal, ...]:
        """All of it."""
        return tuple(self._total(key, sums) for key, sums in self._sums.items())

    def _total(self, key: tuple[Any, ...], sums: list[int | None]) -> RootTotal:
        event, root, within, order, nid, remote, asked, movable, zeroed = key
        return RootTotal(
            event=self._events[event],
            root=self._root(root),
            within=self._root(within),
            order=order,
            nid=nid,
            remote=remote,
            zeroed=zeroed,
            asked=asked,
            movable=movable,
            count=sums[0] or 0,
            bytes=sums[1] or 0,
            total_ns=sums[2],
        )

    def _root(self, number: int) -> str | None:
        if number == _UNSEEN:
            return UNPLACED if any(name.startswith("root.") for name in self._events) else None
        return self._events[number] if number >= 0 else None

    def _add(self, key: tuple[Any, ...], count: int, size: int, ns: int | None) -> None:
        held = self._sums.setdefault(key, [0, 0, 0])
        held[0] = (held[0] or 0) + count
        held[1] = (held[1] or 0) + size
        held[2] = None if ns is None or held[2] is None else held[2] + ns

    def _remote(self, nid: int | None, cpu: int | None) -> bool | None:
        node = self._node.get(cpu) if cpu is not None else None
        return None if nid is None or node is None else node != nid

    def _gfp(self, gfp: int | None) -> tuple[bool | None, bool | None]:
        return (None, None) if gfp is None else (bool(gfp & self._asked), bool(gfp & self._movable))


_UNKNOWN = -(1 << 40)
_UNSEEN = -2
"""In place of the number of a root."""


def _plain(values: Any) -> Any:
    """int64, with null as _UNKNOWN."""
    import numpy as np

    known = ~np.ma.getmaskarray(values)
    return np.where(known, np.ma.filled(values, 0).astype(np.int64), _UNKNOWN)
