# SPDX-License-Identifier: Apache-2.0
"""The boot's phases, and the acceptance in each.

start, end, length, share, source
             of the best source of each phase, as the staged tables phases and
             phase_sources choose it (analyzer/model); the other sources have a
             table of their own, and no accepts are counted by them.
calls, bytes, time   of the accepts that began in it (accepts.py).  time is summed over
             CPUs, and may exceed the length.  For a phase of one node (deferred),
             of that node's accepts alone.  Unknown where nothing could see: before
             early_trace_init() no tracer can, without a boot trace only the probes.
             Bounds from below where a part could not be seen.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from memtrace.analyzer.boot.accepts import Accepts, Seen, Window
from memtrace.analyzer.model.staged import table as declared
from memtrace.analyzer.tables import Column, Row, Table

if TYPE_CHECKING:
    from memtrace.analyzer.model.staged import Model
    from memtrace.traces.reader import Run

OUTSIDE = "(no phase)"
_BLIND = ("firmware", "loader", "early", "memory")
"""Over before early_trace_init() (init/main.c)."""
_TRACES = ("tracefs", "trace-cmd", "perf")


def phases(model: Model, accepts: Accepts) -> Table:
    """One row for each phase of the run, in order, and one for accepts in none of them."""
    model.need("phases")
    found = model.query("SELECT * FROM phases ORDER BY place, phase, nid NULLS FIRST")
    since = None if traced(model.run) else _recording(model.run)
    names = tuple(name for name in declared("phases").names if name != "place")
    rows: list[Row] = [
        {**{name: phase[name] for name in names}, **_seen(phase, accepts, since)} for phase in found
    ]
    names = (*names, *_SEEN)
    outside = _outside(found, accepts)
    if outside["calls"]:
        rows.append(dict.fromkeys(names) | {"phase": OUTSIDE, "source": "", "detail": ""} | outside)
    notes = [] if found else ["no source tells this run's phases; `memtrace boot collect` gathers them"]
    if any(row["time_partial"] for row in rows):
        notes.append("time: of the calls whose length is known.")
    return Table("phases", "Phases", names, tuple(rows), _columns(), keys=2, notes=tuple(notes))


def other_sources(model: Model) -> Table | None:
    """What every source told of each phase; None if none is told twice.

    A page shows those that the table of phases does not go by.
    """
    model.need("phase_sources")
    rows = tuple(
        model.query(
            "SELECT * EXCLUDE place FROM phase_sources ORDER BY place, phase, nid NULLS FIRST, choice"
        )
    )
    names = tuple(name for name in declared("phase_sources").names if name != "place")
    shown = tuple(at for at, row in enumerate(rows) if row["choice"] > 1)
    columns = declared("phase_sources").shown
    if not shown:
        return None
    return Table("phase_sources", "Phases by other sources", names, rows, columns, keys=2, shown=shown)


def traced(run: Run) -> bool:
    """Whether a boot trace went into the run."""
    return any(source.format in _TRACES and source.lines for source in run.header.sources)


def _recording(run: Run) -> int:
    """When the probes began to see."""
    taken = run.snapshots
    return next((s.boottime_ns for s in taken if s.label == "start"), run.status.started_ns)


def _seen(phase: Row, accepts: Accepts, since: int | None) -> dict[str, Any]:
    """The acceptance in a phase; ``since``: when the probes began to see, None with a boot trace."""
    start, end = phase["start_ns"], phase["end_ns"]
    blind = phase["phase"] in _BLIND or (since is not None and end is not None and end <= since)
    window = None if phase["length_ns"] is None or blind else (start, end)
    nids = None if phase["nid"] is None else [phase["nid"]]
    found = _accepted(accepts, window, nids)
    if since is not None and start is not None and start < since and found["calls"]:
        found |= {"bytes_partial": True, "time_partial": True}
    return found


def _accepted(accepts: Accepts, window: Window | None, nids: Sequence[int] | None) -> dict[str, Any]:
    """Calls, bytes and time in a window; unknown (None) without one, and where nothing can be seen."""
    if window is None or accepts.counted is None:
        unknown = {"calls": None, "bytes": None, "bytes_partial": False}
        return unknown | {"time_ns": None, "time_partial": False, "time_estimated": False}
    return shown(accepts.seen(window, nids))


def shown(seen: Seen) -> dict[str, Any]:
    """The columns of what was seen."""
    return {
        "calls": seen.calls,
        "bytes": seen.bytes,
        "bytes_partial": seen.bytes_partial,
        "time_ns": seen.total_ns,
        "time_partial": seen.time_partial,
        "time_estimated": seen.time_estimated,
    }


def _outside(found: Sequence[Row], accepts: Accepts) -> dict[str, Any]:
    """The accepts between and after the phases."""
    edges = sorted((row["start_ns"], row["end_ns"]) for row in found if row["length_ns"] is not None)
    gaps: list[Window] = []
    reached: int | None = None
    for start, end in edges:
        if reached is None or start > reached:
            gaps.append((reached, start))
        reached = end if reached is None else max(reached, end)
    gaps.append((reached, None))
    parts = [accepts.seen(gap) for gap in gaps]
    kept = [part for part in parts if part.calls]
    sizes = [part.bytes for part in kept if part.bytes is not None]
    times = [part.total_ns for part in kept if part.total_ns is not None]
    return {
        "calls": sum(part.calls for part in kept),
        "bytes": sum(sizes) if sizes else None,
        "bytes_partial": len(sizes) < len(kept) or any(part.bytes_partial for part in kept),
        "time_ns": sum(times) if times else None,
        "time_partial": len(times) < len(kept) or any(part.time_partial for part in kept),
        "time_estimated": any(part.time_estimated for part in kept),
    }


def _bound(row: Row) -> str:
    return ">" if row["bytes_partial"] and row["bytes"] is not None else ""


def _timed(row: Row) -> str:
    if row["time_ns"] is None:
        return ""
    return ">" if row["time_partial"] else "~" if row["time_estimated"] else ""


BYTES = Column("bytes", "accepted", "bytes", _bound)
TIME = Column("time_ns", "time", "ns", _timed)
_SEEN = ("calls", "bytes", "bytes_partial", "time_ns", "time_partial", "time_estimated")


def _columns() -> tuple[Column, ...]:
    """What the phases are measured by, then the acceptance in them, then who says so."""
    own = {column.name: column for column in declared("phases").shown}
    last = ("source", "resolution_ns")
    first = tuple(column for name, column in own.items() if name not in last)
    return (*first, Column("calls", "calls", "count"), BYTES, TIME, *(own[name] for name in last))
