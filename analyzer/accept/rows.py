# SPDX-License-Identifier: Apache-2.0
"""The acceptance rows of a run as arrays: one *span* for each occurrence of an event.

Levels nest: ``accept.burst`` (what one allocation accepts) holds ``accept.block``
(one block off the zone's list), that holds ``accept.call`` (accept_memory()),
that ``accept.arch`` (the platform's own accept).  A kernel may offer any of
them; each analysis says which one it rests on.  ``accept.step`` is no span: there
may be a thousand to a block (steps.py sums them in the file).

Numbers that are not known are UNKNOWN (-1) in these arrays, and None in tables.
Failed attempts and sums made in the kernel are not spans; ``summed`` counts the
occurrences that the latter stand for.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

from memtrace.analyzer.callers import query
from memtrace.traces.schema import Flag

if TYPE_CHECKING:
    import duckdb
    import numpy as np
    import numpy.typing as npt
    import pyarrow as pa

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
"""The events that have spans, outermost first."""
STEP = "accept.step"
EVENTS = (*LEVELS, STEP)

_NUMBERS = ("ts_ns", "dur_ns", "bytes", "bytes_requested", "pfn", "nid", "cpu", "pid", "tid", "order", "gfp")
_TEXTS = ("parent", "comm", "cgroup", "site")


@dataclass(frozen=True)
class Names:
    """A column of texts: a number into ``texts`` for each row, UNKNOWN where there is none."""

    code: Ints
    texts: tuple[str, ...]

    def take(self, chosen: Ints | Bools) -> Names:
        return Names(self.code[chosen], self.texts)

    def text(self, row: int) -> str | None:
        code = int(self.code[row])
        return None if code == UNKNOWN else self.texts[code]


@dataclass(frozen=True)
class Spans:
    """Occurrences as columns of equal length (n,), by ``begin``.

    Times are CLOCK_BOOTTIME in ns; ``dur`` is UNKNOWN where only the end was seen,
    and ``begin`` is then the end.
    """

    begin: Ints
    end: Ints
    dur: Ints
    bytes: Ints
    """Memory really accepted; UNKNOWN where the site does not tell."""
    asked: Ints
    """Memory that the function was asked to accept."""
    pfn: Ints
    nid: Ints
    cpu: Ints
    pid: Ints
    tid: Ints
    order: Ints
    gfp: Ints
    flags: Ints
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

    def touching(self, window: tuple[int, int] | None) -> Spans:
        """Those of which some part lies in [begin, end] of the window."""
        if window is None:
            return self
        return self.where((self.end >= window[0]) & (self.begin <= window[1]))


def _take(column: Any, chosen: Ints | Bools) -> Any:
    return column.take(chosen) if isinstance(column, Names) else column[chosen]


@dataclass(frozen=True)
class Accepts:
    """All spans of a run."""

    burst: Spans
    block: Spans
    call: Spans
    arch: Spans
    summed: int
    """Occurrences of these events that the kernel summed, and that are no spans."""

    @cached_property
    def levels(self) -> dict[str, Spans]:
        return {BURST: self.burst, BLOCK: self.block, CALL: self.call, ARCH: self.arch}

    @cached_property
    def work(self) -> str:
        """The innermost level with durations (without any, with rows): what accepting itself took."""
        inward = (ARCH, CALL, BLOCK, BURST)
        timed = [name for name in inward if self.levels[name].timed.any()]
        seen = [name for name in inward if len(self.levels[name])]
        return next(iter((*timed, *seen)), CALL)

    @cached_property
    def unit(self) -> str:
        """The level that stands for one accept: the block, or a call where blocks were not seen."""
        return next((name for name in (BLOCK, CALL, ARCH, BURST) if len(self.levels[name])), CALL)

    @cached_property
    def any(self) -> bool:
        return self.summed > 0 or any(len(spans) for spans in self.levels.values())

    @cached_property
    def none(self) -> str:
        """What a table says that finds none of them."""
        if self.summed:
            return f"unknown: {self.summed} accepts of this run were summed in the kernel, at unknown times"
        return "no accept in this window"

    def touching(self, window: tuple[int, int] | None) -> Accepts:
        if window is None:
            return self
        return _accepts({name: spans.touching(window) for name, spans in self.levels.items()}, self.summed)


def load(run: Run, connection: duckdb.DuckDBPyConnection) -> Accepts:
    """The spans of a run: about 130 bytes of memory for each."""
    found = {name: spans(run, connection, f"event = '{name}'") for name in LEVELS}
    rows = run.relation(connection, ["event", "count", "flags"])
    names = ", ".join(f"'{name}'" for name in LEVELS)
    summed = query(
        rows,
        f'SELECT coalesce(sum("count"), 0)::BIGINT FROM rows_'
        f" WHERE event IN ({names}) AND flags & {int(Flag.AGGREGATED)} <> 0",
    ).fetchall()
    return _accepts({name: _asked(found[name], name) for name in LEVELS}, int(summed[0][0]))


def _accepts(levels: dict[str, Spans], summed: int) -> Accepts:
    return Accepts(levels[BURST], levels[BLOCK], levels[CALL], levels[ARCH], summed)


def spans(
    run: Run,
    connection: duckdb.DuckDBPyConnection,
    condition: str,
    apart: int = Flag.FAILED | Flag.AGGREGATED,
) -> Spans:
    """The rows that meet an SQL condition and have none of the flags ``apart``, by their begin."""
    import numpy as np

    rows = run.relation(connection, [*_NUMBERS, *_TEXTS, "event", "flags", "total_ns", "self_ns"])
    columns = ", ".join(f'"{name}"' for name in (*_NUMBERS, *_TEXTS[:3], "flags"))
    chosen: Any = query(rows, f"SELECT {columns} FROM rows_ WHERE ({condition}) AND flags & {int(apart)} = 0")
    table: pa.Table = chosen.to_arrow_table()
    numbers = {name: _numbers(table[name]) for name in (*_NUMBERS, "flags")}
    dur = np.where(numbers["dur_ns"] < 0, UNKNOWN, numbers["dur_ns"])
    begin = numbers["ts_ns"] - np.maximum(dur, 0)
    order = np.lexsort((numbers["ts_ns"], begin))
    made = Spans(
        begin=begin,
        end=numbers["ts_ns"],
        dur=dur,
        bytes=numbers["bytes"],
        asked=numbers["bytes_requested"],
        pfn=numbers["pfn"],
        nid=numbers["nid"],
        cpu=numbers["cpu"],
        pid=numbers["pid"],
        tid=numbers["tid"],
        order=numbers["order"],
        gfp=numbers["gfp"],
        flags=numbers["flags"],
        parent=_names(table["parent"]),
        comm=_names(table["comm"]),
        cgroup=_names(table["cgroup"]),
    )
    return made.where(order)


def _asked(spans: Spans, level: str) -> Spans:
    """Of runs before ``bytes_requested``, ``bytes`` of a call is the range that it was asked for."""
    import dataclasses

    import numpy as np

    if level != CALL or (spans.asked != UNKNOWN).any():
        return spans
    return dataclasses.replace(spans, bytes=np.full_like(spans.bytes, UNKNOWN), asked=spans.bytes)


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
