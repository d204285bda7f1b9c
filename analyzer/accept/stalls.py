# SPDX-License-Identifier: Apache-2.0
"""Stalls as arrays, from the staged tables ``stalls`` and ``waits``, which say what they are."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from memtrace.analyzer.accept.rows import UNKNOWN, Spans, spans

if TYPE_CHECKING:
    from memtrace.analyzer.accept.rows import Bools, Ints
    from memtrace.analyzer.model.staged import Model

_EACH = ("begin", "end", "lost", "accepts", "blocks", "bytes", "order", "gfp", "held", "request")
"""The columns of stalls that say the same of a stall wherever it stands."""


@dataclass(frozen=True)
class Stalls:
    """Columns of equal length (n,), by begin; UNKNOWN (-1) where not known."""

    begin: Ints
    end: Ints
    lost: Ints
    accepts: Ints
    blocks: Ints
    """Of the acceptances, those that may have come off a zone's list."""
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
    """The stretches of acceptance (waits)."""
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


def stalls(model: Model) -> Stalls:
    """All stalls of the run."""
    import pyarrow as pa
    import pyarrow.compute as pc

    model.need("stalls", "waits")
    table = model.arrow(_STALLS)
    columns: dict[str, Any] = {
        name: pc.fill_null(table[name].cast(pa.int64()), UNKNOWN).to_numpy() for name in table.column_names
    }
    flags = {name: columns.pop(name) != 0 for name in ("held", "request")}
    numbers = model.arrow(_NUMBERS)["stall"].to_numpy()
    return Stalls(**columns, **flags, outer=spans(model.arrow(_OUTER)), stall=numbers - 1)


_STALLS = """
SELECT
    s.begin_ns AS begin, s.end_ns AS end, s.lost_ns AS lost, s.accepts, s.blocks, s.bytes, s."order", s.gfp,
    w.place - 1 AS first, s.held, s.request
FROM stalls AS s
JOIN (SELECT id, row_number() OVER (ORDER BY begin_ns, id) AS place FROM waits) AS w ON w.id = s.wait
ORDER BY s.number
"""
_NUMBERS = "SELECT stall FROM waits ORDER BY begin_ns, id"
_OUTER = """
SELECT
    begin_ns AS begin, end_ns AS end, dur_ns AS dur, NULL AS bytes, NULL AS asked, NULL AS pfn,
    nid, cpu, pid, tid, "order", gfp, CASE WHEN own THEN 64 ELSE 0 END AS flags, NULL AS queued,
    NULL AS event, parent, comm, cgroup
FROM waits ORDER BY begin_ns, id
"""
