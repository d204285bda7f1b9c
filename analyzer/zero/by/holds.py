# SPDX-License-Identifier: Apache-2.0
"""What a run holds of what its clears can be grouped by."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from memtrace.analyzer.callers import query
from memtrace.analyzer.zero.by.clears import condition
from memtrace.analyzer.zero.kinds import counts_callers, derives
from memtrace.analyzer.zero.unseen import no_clear
from memtrace.traces.schema import Flag

if TYPE_CHECKING:
    import duckdb

    from memtrace.traces.reader import Run


@dataclass(frozen=True)
class Holds:
    """What there is in a run."""

    derive: bool
    """The allocator's clears follow from its allocations; none was seen."""
    summed: bool
    """The kernel summed some occurrences: they have no place and no task."""
    untimed: bool
    """Some streamed occurrences have no time, so that they cannot be nested."""
    stacks: bool
    """Some clears have their kernel stack."""
    roots: bool
    """root.* events were recorded."""
    callers: bool
    """Clears by callers were counted."""
    nothing: str
    """What to say where there is no clear."""

    @property
    def streamed(self) -> bool:
        """Whether the rows alone tell what lay in what."""
        return not self.summed and not self.untimed

    @property
    def notes(self) -> tuple[str, ...]:
        """What to say under any table of clears."""
        derived = (
            "~ cleared: derived from gfp flags and init_on_alloc; no clear was seen, so none has a time."
        )
        callers = "clears by callers (huge pages, shared memory): unknown, not counted in this run."
        return (*((derived,) if self.derive else ()), *(() if self.callers else (callers,)))


def holds(run: Run, connection: duckdb.DuckDBPyConnection) -> Holds:
    """One scan of the run."""
    derive = derives(run)
    rows = run.relation(connection, ["event", "count", "dur_ns", "flags", "stack"])
    aggregated, apart = int(Flag.AGGREGATED), int(Flag.TRACER | Flag.INFERRED)
    ours = f"(flags & {apart}) = 0"
    # accept.step is a sum that keeps its place.
    question = f"""SELECT
        count(*) FILTER ({ours} AND "count" > 0 AND (flags & {aggregated}) > 0 AND event NOT LIKE 'accept.%'),
        count(*) FILTER ({ours} AND (flags & {aggregated}) = 0 AND dur_ns IS NULL),
        count(*) FILTER ({condition(derive)} AND stack IS NOT NULL),
        count(*) FILTER (event LIKE 'root.%') FROM rows_"""
    (counts,) = query(rows, question).fetchall()
    summed, untimed, stacks, roots = (bool(n) for n in counts)
    rooted = roots or any(total.root for total in run.status.roots)
    return Holds(derive, summed, untimed, stacks, rooted, counts_callers(run), no_clear(run.header))
