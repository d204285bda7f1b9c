# SPDX-License-Identifier: Apache-2.0
"""Stalls: each time that a task was kept by acceptance, what it had asked for, and what it paid.

A stall is all the acceptance inside one allocation (get_page_from_freelist()):
cond_accept_memory() accepts block after block until the zone is above its
watermark, and one unlucky request, of order 0 most often, pays for all of them.
Outermost rows of acceptance (a burst; where that has no site a block, a call)
that lie in one row of the same thread with flag VICTIM (``alloc``, or
``hot.online``: memory coming online) are one stall; those in none (page isolation,
kexec, conversions, a run without ``alloc``) are one stall each, with the ``order``
and ``gfp`` of their own row, if it knows them.

lost
    Sum of those outermost rows' times, ns: waiting for the zone's lock and for
    others' accepts included, the rest of the allocation (zeroing, the free lists)
    not.  Unknown where one of them has no duration.
accepts
    Blocks accepted in it (accept.block; without that site, calls).
bytes
    Memory accepted in it, as in calls.py: also where no block was (a conversion).

The recorder's own stalls (flag TRACER) are real acceptance, counted wherever
memory is, but nobody's loss: ``own`` marks them.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from memtrace.analyzer.accept.intervals import holders
from memtrace.analyzer.accept.rows import BURST, LEVELS, UNKNOWN, Accepts, Spans, spans
from memtrace.traces.schema import Flag

if TYPE_CHECKING:
    import duckdb

    from memtrace.analyzer.accept.rows import Bools, Ints
    from memtrace.traces.reader import Run

_EACH = ("begin", "end", "lost", "accepts", "bytes", "order", "gfp", "held", "request")
"""The columns of stalls that say the same of a stall wherever it stands."""


@dataclass(frozen=True)
class Stalls:
    """Columns of equal length (n,), by begin; UNKNOWN (-1) where not known."""

    begin: Ints
    end: Ints
    lost: Ints
    accepts: Ints
    bytes: Ints
    order: Ints
    gfp: Ints
    first: Ints
    """The row of ``outer`` that tells task, node and CPU."""
    held: Bools
    """Whether it lies in an allocation (or hot.online) that was seen."""
    request: Bools
    """Whether it is all that one allocation accepted: such an allocation, or a burst, was seen."""
    outer: Spans
    """The outermost rows of acceptance."""
    stall: Ints
    """Which stall each row of ``outer`` is in, shape (len(outer),)."""

    def __len__(self) -> int:
        return len(self.begin)

    def touching(self, window: tuple[int, int] | None) -> Stalls:
        """Those that acceptance took some time of in the window, each as a whole."""
        import numpy as np

        if window is None:
            return self
        inside = (self.outer.end >= window[0]) & (self.outer.begin <= window[1])
        kept = np.bincount(self.stall[inside], minlength=len(self)) > 0
        rows = kept[self.stall]
        return Stalls(
            **{name: getattr(self, name)[kept] for name in _EACH},
            first=(np.cumsum(rows) - 1)[self.first[kept]],
            outer=self.outer.where(rows),
            stall=(np.cumsum(kept) - 1)[self.stall[rows]],
        )

    @property
    def own(self) -> Bools:
        return self.outer.own[self.first]

    @property
    def nid(self) -> Ints:
        return self.outer.nid[self.first]

    @property
    def timed(self) -> Bools:
        import numpy as np

        known: Bools = np.not_equal(self.lost, UNKNOWN)
        return known


def stalls(run: Run, accepts: Accepts, connection: duckdb.DuckDBPyConnection) -> Stalls:
    """All stalls of the spans given."""
    import numpy as np

    outer = _outermost(accepts)
    allocs = _victims(run, outer, connection)
    inside = holders(outer, allocs)
    # Those in no allocation get numbers of their own.
    group = np.where(inside >= 0, inside, len(allocs) + np.arange(len(outer)))
    _, first, number = np.unique(group, return_index=True, return_inverse=True)
    n = len(first)
    end = np.zeros(n, dtype=np.int64)
    np.maximum.at(end, number, outer.end)
    lost = np.bincount(number, weights=np.maximum(outer.dur, 0), minlength=n).astype(np.int64)
    untimed = np.bincount(number, weights=~outer.timed, minlength=n) > 0
    count, size = _contents(accepts, outer, number, n)
    held = inside[first] >= 0
    bursts, _ = _summed(accepts.burst, outer, number, n)
    made = Stalls(
        begin=outer.begin[first],
        end=end,
        lost=np.where(untimed, UNKNOWN, lost),
        accepts=count,
        bytes=size,
        order=np.where(held, _of(allocs.order, inside[first]), outer.order[first]),
        gfp=np.where(held, _of(allocs.gfp, inside[first]), outer.gfp[first]),
        first=first,
        held=held,
        request=held | (bursts > 0),
        outer=outer,
        stall=number,
    )
    rank = np.argsort(made.begin, kind="stable")
    ranked = {name: getattr(made, name)[rank] for name in (*_EACH, "first")}
    return Stalls(**ranked, outer=outer, stall=np.argsort(rank)[number])


def _of(column: Ints, place: Ints) -> Ints:
    """The values at the places; UNKNOWN for place -1."""
    import numpy as np

    if not len(column):
        return np.full(len(place), UNKNOWN, dtype=np.int64)
    values: Ints = np.where(place >= 0, column[place], UNKNOWN)
    return values


def _outermost(accepts: Accepts) -> Spans:
    """Rows of acceptance that are in no other row of acceptance, by begin."""
    import numpy as np

    parts = []
    for name in LEVELS:
        found = accepts.levels[name]
        within = np.array([text in LEVELS for text in found.parent.texts] + [False], dtype=bool)
        parts.append(found.where(~within[found.parent.code]))
    parts = [part for part in parts if len(part)] or [accepts.call]
    return parts[0] if len(parts) == 1 else joined(parts)


def joined(parts: list[Spans]) -> Spans:
    """Several spans as one, by begin."""
    import numpy as np

    from memtrace.analyzer.accept.rows import Names

    def texts(name: str) -> Names:
        columns = [getattr(part, name) for part in parts]
        number = {text: i for i, text in enumerate(dict.fromkeys(t for c in columns for t in c.texts))}
        codes = [np.array([*(number[t] for t in c.texts), UNKNOWN])[c.code] for c in columns]
        return Names(np.concatenate(codes), tuple(number))

    columns: dict[str, Any] = {
        name: texts(name) if isinstance(column, Names) else np.concatenate([vars(p)[name] for p in parts])
        for name, column in vars(parts[0]).items()
    }
    made = Spans(**columns)
    return made.where(np.argsort(made.begin, kind="stable"))


def _victims(run: Run, outer: Spans, connection: duckdb.DuckDBPyConnection) -> Spans:
    """What may hold acceptance: rows flagged VICTIM; in older runs, allocations as long as an accept."""
    known = outer.dur[outer.timed]
    if not len(known):
        return outer.where(outer.begin < 0)
    # An allocation that failed has waited too.
    flagged = spans(
        run,
        connection,
        f"event NOT LIKE 'accept.%' AND flags & {int(Flag.VICTIM)} <> 0",
        apart=Flag.AGGREGATED,
    )
    if len(flagged):
        return flagged.where(flagged.timed)
    nested = "(self_ns IS NULL OR self_ns < total_ns)"
    return spans(run, connection, f"event = 'alloc' AND dur_ns >= {int(known.min())} AND {nested}")


def _contents(accepts: Accepts, outer: Spans, number: Ints, n: int) -> tuple[Ints, Ints]:
    """Accepts and bytes in each stall."""
    import numpy as np

    unit = accepts.levels[accepts.unit]
    count, _ = _summed(unit, outer, number, n)
    work = accepts.levels[accepts.work] if accepts.work != BURST else unit
    sized, size = _summed(work, outer, number, n)
    return count, np.where((count > 0) | (sized > 0), size, UNKNOWN)


def _summed(inner: Spans, outer: Spans, number: Ints, n: int) -> tuple[Ints, Ints]:
    """Number and bytes of the inner spans in each stall; bytes UNKNOWN where those of one are."""
    import numpy as np

    held = holders(inner, outer)
    stall = number[held[held >= 0]]
    size = inner.size[held >= 0]
    count = np.bincount(stall, minlength=n).astype(np.int64)
    total = np.bincount(stall, weights=np.maximum(size, 0), minlength=n).astype(np.int64)
    unsized = np.bincount(stall, weights=size == UNKNOWN, minlength=n) > 0
    return count, np.where(unsized, UNKNOWN, total)
