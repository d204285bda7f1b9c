# SPDX-License-Identifier: Apache-2.0
"""The acceptances of a run as arrays, from the staged tables ``accepts`` and ``accept_rows``.

Each acceptance is one row, whatever saw it, in three ways: ``each`` is the acceptance as a
whole (its memory is the range that left the zone's list), ``call`` the time inside
accept_memory(), ``work`` the accepting itself (its memory is what was really accepted, where
that is known).  Row n of all three is the same acceptance.

Numbers that are not known are UNKNOWN (-1) in these arrays, and None in tables.  Failed
attempts and sums made in the kernel are no acceptances here; ``summed`` counts the occurrences
that the latter stand for.  accept.step is none either: there may be a thousand to a block
(steps.py sums them in the file).
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

from memtrace.analyzer.accept.readings import Unaccepted, readings
from memtrace.traces.schema import Flag

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt
    import pyarrow as pa

    from memtrace.analyzer.model.staged import Model
    from memtrace.traces.reader import Run

    Ints = npt.NDArray[np.int64]
    Floats = npt.NDArray[np.float64]
    Bools = npt.NDArray[np.bool_]

UNKNOWN = -1
MIB = 1 << 20
BLOCK_BYTES = 4 * MIB
"""What the zones' lists hold unaccepted memory in: blocks of MAX_PAGE_ORDER."""
BURST, BLOCK, CALL, ARCH = "accept.burst", "accept.block", "accept.call", "accept.arch"
LEVELS = (BURST, BLOCK, CALL, ARCH)
"""The events that an acceptance is seen by, outermost first."""
STEP = "accept.step"
EVENTS = (*LEVELS, STEP)

_TEXTS = ("event", "parent", "comm", "cgroup")


@dataclass(frozen=True)
class Names:
    """A column of texts: a number into ``texts`` for each row, UNKNOWN where there is none."""

    code: Ints
    texts: tuple[str, ...]

    def take(self, chosen: Ints | Bools) -> Names:
        return Names(self.code[chosen], self.texts)

    def equal(self, text: str) -> Bools:
        """Which rows have this text."""
        import numpy as np

        code = self.texts.index(text) if text in self.texts else len(self.texts)
        same: Bools = np.equal(self.code, code)
        return same

    def text(self, row: int) -> str | None:
        code = int(self.code[row])
        return None if code == UNKNOWN else self.texts[code]


@dataclass(frozen=True)
class Spans:
    """Intervals as columns of equal length (n,).

    Times are CLOCK_BOOTTIME in ns; ``dur`` is UNKNOWN where the length was not seen.
    """

    begin: Ints
    end: Ints
    dur: Ints
    bytes: Ints
    """Memory that was accepted; UNKNOWN where no site tells."""
    asked: Ints
    """Memory that was to be accepted."""
    pfn: Ints
    nid: Ints
    cpu: Ints
    pid: Ints
    tid: Ints
    order: Ints
    gfp: Ints
    flags: Ints
    queued: Ints
    """1: off a zone's list; 0: not; UNKNOWN where that is not known."""
    event: Names
    parent: Names
    comm: Names
    cgroup: Names

    def __len__(self) -> int:
        return len(self.begin)

    @property
    def timed(self) -> Bools:
        import numpy as np

        known: Bools = np.not_equal(self.dur, UNKNOWN)
        return known

    @property
    def own(self) -> Bools:
        """Those that the recorder caused."""
        import numpy as np

        chosen: Bools = np.not_equal(self.flags & int(Flag.TRACER), 0)
        return chosen

    @property
    def size(self) -> Ints:
        """Memory accepted, or asked for where that is all that is known."""
        import numpy as np

        sizes: Ints = np.where(self.bytes != UNKNOWN, self.bytes, self.asked)
        return sizes

    @property
    def task(self) -> Ints:
        """What tells tasks apart: the thread, or the CPU where it is unknown or idle (each CPU's is 0)."""
        import numpy as np

        keys: Ints = np.where(self.tid > 0, self.tid, -2 - self.cpu)
        return keys

    def where(self, chosen: Ints | Bools) -> Spans:
        return Spans(**{name: _take(value, chosen) for name, value in vars(self).items()})


def _take(column: Any, chosen: Ints | Bools) -> Any:
    return column.take(chosen) if isinstance(column, Names) else column[chosen]


@dataclass(frozen=True)
class Accepts:
    """All acceptances of a run, by their start."""

    each: Spans
    call: Spans
    work: Spans
    seen: frozenset[str]
    """The events of LEVELS that have rows in the run."""
    summed: int
    """Occurrences of these events that the kernel summed."""
    readings: tuple[Unaccepted, ...]
    """What the counters of unaccepted memory said, by time."""

    def __len__(self) -> int:
        return len(self.each)

    @cached_property
    def events(self) -> tuple[str, ...]:
        """The events that the work was seen by, innermost first."""
        import numpy as np

        there = {self.work.event.texts[code] for code in np.unique(self.work.event.code).tolist()}
        return tuple(name for name in reversed(LEVELS) if name in there)

    @cached_property
    def best(self) -> Spans:
        """The work that was seen by the innermost event that has durations: what accepting itself takes."""
        work = self.work
        for name in self.events:
            if (chosen := work.timed & work.event.equal(name)).any():
                return work.where(chosen)
        return work

    @cached_property
    def queued(self) -> Spans:
        """Those that may have come off a zone's list, so that nr_unaccepted fell by them."""
        return self.each.where(self.each.queued != 0)

    @cached_property
    def any(self) -> bool:
        return self.summed > 0 or len(self) > 0

    @cached_property
    def none(self) -> str:
        """What a table says that finds none of them."""
        if self.summed:
            return f"unknown: {self.summed} accepts of this run were summed in the kernel, at unknown times"
        return "no accept in this window"

    def at(self, label: str) -> Unaccepted | None:
        """The last reading that was taken for this."""
        return next((one for one in reversed(self.readings) if one.label == label), None)

    def began(self, run: Run) -> int:
        """CLOCK_BOOTTIME from which the reading at the start holds: a merged run begins long before."""
        start = self.at("start")
        return run.status.started_ns if start is None else max(run.status.started_ns, start.at_ns)

    def touching(self, window: tuple[int, int] | None) -> Accepts:
        """Those of which some part lies in [begin, end] of the window, each as a whole."""
        if window is None:
            return self
        inside = (self.each.end >= window[0]) & (self.each.begin <= window[1])
        parts = (self.each.where(inside), self.call.where(inside), self.work.where(inside))
        return Accepts(*parts, self.seen, self.summed, self.readings)


def load(model: Model) -> Accepts:
    """The acceptances of a run: about 300 bytes of memory for each."""
    model.need("accepts")
    ((summed,),) = model.tuples(_SUMMED)
    seen = frozenset(event for (event,) in model.tuples(_SEEN))
    columns = _columns(model.arrow(_ACCEPTS))
    times = {
        kind: {name: columns.pop(f"{kind}_{name}") for name in ("begin", "end", "dur", "event", "bytes")}
        for kind in ("each", "call", "work")
    }
    each, call, work = (Spans(**columns, **times[kind]) for kind in ("each", "call", "work"))
    return Accepts(each, call, work, seen, int(summed), readings(model))


def pieces(model: Model) -> Spans:
    """The rows that the work was seen by: several where the platform accepted a range in parts."""
    model.need("accepts")
    return spans(model.arrow(_PIECES))


def spans(table: pa.Table) -> Spans:
    """A table that has the columns of Spans by their names."""
    return Spans(**_columns(table))


def _columns(table: pa.Table) -> dict[str, Any]:
    return {
        name: (_names if name.split("_")[-1] in _TEXTS else _numbers)(table[name])
        for name in table.column_names
    }


_SUMMED = """
SELECT coalesce(sum(e."count"), 0)::BIGINT
FROM events AS e JOIN accept_levels AS l ON e.event::VARCHAR = l.event
WHERE e.flags & 32 <> 0
"""
_SEEN = "SELECT DISTINCT l.event FROM accept_rows JOIN accept_levels AS l USING (level)"
_ACCEPTS = """
SELECT
    begin_ns AS each_begin, end_ns AS each_end, dur_ns AS each_dur, event AS each_event,
    range_bytes AS each_bytes,
    coalesce(call_begin_ns, work_begin_ns) AS call_begin, coalesce(call_end_ns, work_end_ns) AS call_end,
    coalesce(call_end_ns - call_begin_ns, work_ns) AS call_dur, bytes AS call_bytes,
    CASE WHEN call_begin_ns IS NULL THEN work_event ELSE 'accept.call' END AS call_event,
    work_begin_ns AS work_begin, work_end_ns AS work_end, work_ns AS work_dur, work_event,
    bytes AS work_bytes,
    asked_bytes AS asked, pfn, nid, cpu, pid, tid, "order", gfp,
    work_flags | CASE WHEN own THEN 64 ELSE 0 END AS flags, queued, parent, comm, cgroup
FROM accepts ORDER BY number
"""
_PIECES = """
SELECT
    r.begin_ns AS begin, r.end_ns AS end, r.dur_ns AS dur, r.bytes,
    coalesce(r.asked_bytes, a.asked_bytes) AS asked, coalesce(r.pfn, a.pfn) AS pfn, r.nid, r.cpu, r.pid,
    r.tid, r."order", r.gfp, r.flags, a.queued, l.event, r.parent, r.comm, r.cgroup
FROM accept_rows AS r JOIN accept_nesting AS n USING (id)
JOIN accept_levels AS l USING (level)
JOIN accepts AS a ON a.id = n.head AND a.work_event = l.event
ORDER BY r.begin_ns, r.id
"""


def _numbers(column: pa.ChunkedArray) -> Ints:
    import pyarrow as pa
    import pyarrow.compute as pc

    values: Ints = pc.fill_null(column.cast(pa.int64()), UNKNOWN).to_numpy()
    return values


def _names(column: pa.ChunkedArray) -> Names:
    import pyarrow as pa
    import pyarrow.compute as pc

    coded = column.cast(pa.string()).combine_chunks().dictionary_encode()
    if isinstance(coded, pa.ChunkedArray):
        coded = coded.combine_chunks()
    code: Ints = pc.fill_null(coded.indices.cast(pa.int64()), UNKNOWN).to_numpy(zero_copy_only=False)
    return Names(code, tuple(coded.dictionary.to_pylist()))
