# SPDX-License-Identifier: Apache-2.0
"""The exclusive-time ledger: every nanosecond of the traced work, in one account only.

Allocation contains acceptance and zeroing, a huge page fault contains both, a
populate call contains the faults: inclusive times of different events must never
be added.  The ledger nests the streamed intervals of a run and gives each its
exclusive time, so that they can.

context
    A thread; on an idle CPU (tid 0, which all CPUs share) the CPU.  What an
    interrupt did lies inside what it interrupted: it ran in that thread's name,
    on that thread's stack of calls.  A thread that is preempted stays in its
    interval: the time is wall time, as ``total_ns`` is.
interval
    A streamed row whose duration is known: from ``ts_ns - dur_ns`` to ``ts_ns``.
    Aggregates have no place in time; their ``self_ns`` is the recorder's.  But the
    sums of accept.step lie in one accept.arch, at the end of which they are written:
    where ``steps`` are asked for, each is an interval of its length, one after the
    other up to there.  An entry whose exit was missed is no row, and what lay inside it belongs to the
    next interval around it.
self_ns, parent
    As in nesting.py.  The sum of self_ns over the intervals of a context is the
    length of their union: nothing twice, nothing left out.
root
    The outermost ``root.*`` interval around a row (or the row itself): why the
    kernel did it (probes/topics/root.py).

Memory is bounded: the run is read by stretches of time, the last one first, and
between two stretches only the intervals that span the boundary are kept, at most
a stack of calls for each context.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from memtrace.analyzer.nesting import Nesting, nest
from memtrace.traces.schema import Flag

if TYPE_CHECKING:
    import duckdb
    import numpy as np
    import numpy.typing as npt

    from memtrace.analyzer.paths import Paths
    from memtrace.traces.reader import Run

    Ints = npt.NDArray[np.int64]

STEP = "accept.step"
CHUNK = 1 << 18
"""Rows that are nested at a time, about."""
_MAX_TID = 1 << 22
"""PID_MAX_LIMIT, include/linux/threads.h."""


@dataclass(frozen=True)
class Intervals:
    """Intervals in the order of the file; arrays of shape (n,)."""

    start: Ints
    end: Ints
    context: Ints
    event: Ints
    """Numbers of the caller's choice."""
    columns: dict[str, Any]
    """What else is known of each, arrays of shape (n,): handed on with it."""

    def __len__(self) -> int:
        return len(self.start)


@dataclass(frozen=True)
class Settled:
    """Intervals with their exclusive time, each once; arrays of shape (n,)."""

    event: Ints
    self_ns: Ints
    parent: Ints
    """``event`` of the interval directly around it, -1 for none."""
    root: Ints
    """``event`` of the outermost root around it, or of itself if it is one; -1 for none."""
    within: Ints
    """``event`` of the innermost root around it, -1 for none."""
    path: Ints | None
    """Number of its path (paths.py); None if the ledger was given none."""
    columns: dict[str, Any]


def contexts(tid: Ints, cpu: Ints) -> Ints:
    """The context of each row, shape (n,): the thread, or the CPU where that is idle."""
    import numpy as np

    return np.where(tid > 0, tid, _MAX_TID + cpu)


class Ledger:
    """Settles intervals that come in stretches of time, the latest stretch first."""

    def __init__(self, roots: Sequence[int] = (), paths: Paths | None = None) -> None:
        """``roots``: the events that are roots; ``paths``: what numbers the paths, where they are wanted."""
        self._roots = list(roots)
        self._paths = paths
        self._open: Intervals | None = None
        self._inside: Ints | None = None
        self.crossing = 0
        """Intervals that were cut (nesting.py): 0 in a sound trace."""
        self.union_ns = 0
        """Union of the intervals settled so far, summed over contexts."""

    def settle(self, stretch: Intervals, since: int | None) -> Settled:
        """Take the intervals that end after ``since`` (ns; None: all that are left) and not later.

        Returns those of which all is known now: that begin after ``since``.
        """
        import numpy as np

        given = stretch if self._open is None else _joined(stretch, self._open)
        nested = nest(given.start, given.end, given.context)
        inside, parent = nested.inside, nested.parent
        if self._inside is not None:
            inside[len(stretch) :] += self._inside
        done = np.ones(len(given), dtype=bool) if since is None else given.start > since
        # What is still open is added to what is around it when it is settled.
        later = np.flatnonzero(~done & (parent >= 0))
        np.subtract.at(inside, parent[later], nested.length[later])
        self.crossing += nested.crossing
        self.union_ns += int(nested.length[done & (parent < 0)].sum())
        root, within = self._root(given, nested)
        settled = Settled(
            event=given.event[done],
            self_ns=(nested.length - inside)[done],
            parent=np.where(parent >= 0, given.event[parent], -1)[done] if len(given) else parent,
            root=root[done],
            within=within[done],
            path=self._paths.of(given.event, nested)[done] if self._paths is not None else None,
            columns={name: values[done] for name, values in given.columns.items()},
        )
        self._open, self._inside = _chosen(given, ~done), inside[~done]
        return settled

    def _root(self, given: Intervals, nested: Nesting) -> tuple[Ints, Ints]:
        """Outermost root (itself included) and innermost root around each."""
        import numpy as np

        own = np.where(np.isin(given.event, self._roots), given.event, -1)
        root, within = own.copy(), np.full(len(own), -1)
        for level in nested.levels[1:]:
            around = nested.parent[level]
            root[level] = np.where(root[around] >= 0, root[around], own[level])
            within[level] = np.where(own[around] >= 0, own[around], within[around])
        return root, within


def _joined(first: Intervals, second: Intervals) -> Intervals:
    import numpy as np

    def both(a: Any, b: Any) -> Any:
        join: Any = np.ma.concatenate if np.ma.isMA(a) or np.ma.isMA(b) else np.concatenate
        return join([a, b])

    return Intervals(
        both(first.start, second.start),
        both(first.end, second.end),
        both(first.context, second.context),
        both(first.event, second.event),
        {name: both(values, second.columns[name]) for name, values in first.columns.items()},
    )


def _chosen(given: Intervals, which: npt.NDArray[np.bool_]) -> Intervals:
    columns = {name: values[which] for name, values in given.columns.items()}
    return Intervals(given.start[which], given.end[which], given.context[which], given.event[which], columns)


def settle_run(
    run: Run,
    ledger: Ledger,
    events: Sequence[str],
    connection: duckdb.DuckDBPyConnection,
    columns: Sequence[str] = (),
    chunk: int = CHUNK,
    *,
    group: Sequence[str] = (),
    apart: int = Flag.AGGREGATED,
    steps: bool = False,
) -> Iterator[Settled]:
    """The ledger of a run's streamed rows with known durations, those of ``events`` (numbered in that order).

    ``columns`` of the run come along with the rows, masked where null; so does DuckDB's
    hash() of the columns ``group``, as ``group``.  Rows with a flag of ``apart`` are left out.
    ``steps``: with the sums of accept.step.
    """
    needed = {"ts_ns", "dur_ns", "tid", "cpu", "event", "flags", *columns, *group}
    if steps:
        needed |= {"order", "total_ns"}
    every = run.relation(connection, sorted(needed))
    rows = every.filter(f"dur_ns >= 0 AND (flags & {int(apart | Flag.AGGREGATED)}) = 0")
    if steps and STEP in events:
        rows = _steps(every, apart).union(rows)
    rows = _with_numbers(rows, events)
    bounds = _bounds(rows, chunk)
    for since, until in zip(reversed([None, *bounds]), reversed([*bounds, None]), strict=True):
        stretch = rows
        if since is not None:
            stretch = stretch.filter(f"ts_ns > {since}")
        if until is not None:
            stretch = stretch.filter(f"ts_ns <= {until}")
        selected = ", ".join(
            [
                "ts_ns - dur_ns AS begin_ns, ts_ns",
                "coalesce(tid, 0)::BIGINT AS tid, coalesce(cpu, 0)::BIGINT AS cpu_number",
                "number::BIGINT AS number",
                *(f'"{name}"' for name in columns if name != "ts_ns"),
                *([f"{hash_of(group)} AS hashed"] if group else []),
            ]
        )
        found = stretch.project(selected).fetchnumpy()
        yield ledger.settle(
            Intervals(
                found["begin_ns"],
                found["ts_ns"],
                contexts(found["tid"], found["cpu_number"]),
                found["number"],
                {name: found[name] for name in columns} | ({"group": found["hashed"]} if group else {}),
            ),
            since,
        )


def _with_numbers(rows: duckdb.DuckDBPyRelation, events: Sequence[str]) -> duckdb.DuckDBPyRelation:
    """The rows of ``events`` with their ``number`` in that order.

    Names are the file's: they are given as constants, never written into SQL.
    """
    from duckdb import CaseExpression, ColumnExpression, ConstantExpression, StarExpression

    event = ColumnExpression("event")
    first, *rest = (event == ConstantExpression(name) for name in events)
    number = CaseExpression(first, ConstantExpression(0))
    for i, same in enumerate(rest, 1):
        number = number.when(same, ConstantExpression(i))
    wanted = rows.filter(event.isin(*map(ConstantExpression, events)))
    return wanted.select(StarExpression(), number.alias("number"))


def _steps(rows: duckdb.DuckDBPyRelation, apart: int) -> duckdb.DuckDBPyRelation:
    """The sums of accept.step, each with a length and an end of its own inside its accept.arch."""
    found = rows.query(
        "rows_",
        f"""
        SELECT * REPLACE (
            (ts_ns - (sum(total_ns) OVER arch - total_ns))::BIGINT AS ts_ns, total_ns AS dur_ns)
        FROM rows_
        WHERE event = '{STEP}' AND total_ns >= 0 AND (flags & {int(Flag.AGGREGATED)}) > 0
            AND (flags & {int(apart & ~Flag.AGGREGATED)}) = 0
        WINDOW arch AS (
            PARTITION BY tid, cpu, ts_ns ORDER BY flags, "order", total_ns
            ROWS UNBOUNDED PRECEDING)""",
    )
    assert found is not None
    return found


def hash_of(columns: Sequence[str]) -> str:
    """One number, in SQL, for a combination of columns."""
    quoted = ", ".join(f'"{name}"' for name in columns)
    return f"hash({quoted})"


def _bounds(rows: duckdb.DuckDBPyRelation, chunk: int) -> list[int]:
    """Times that cut the rows into stretches of about ``chunk``."""
    ((count, low, high),) = rows.aggregate("count(*), min(ts_ns), max(ts_ns)").fetchall()
    pieces = -(-count // chunk) if count else 1
    if pieces == 1:
        return []
    # Rows come in bursts: count them in stretches much shorter than needed, then join those.
    step = max((high - low) // (pieces * 64), 1)
    slots = (
        rows.aggregate(f"(ts_ns - {low}) // {step} AS slot, count(*) AS n", "slot").order("slot").fetchall()
    )
    bounds, held = [], 0
    for slot, n in slots:
        held += n
        if held >= chunk:
            bounds.append(low + (slot + 1) * step - 1)
            held = 0
    return [bound for bound in bounds if bound < high]
