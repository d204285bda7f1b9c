# SPDX-License-Identifier: Apache-2.0
"""The boot's phases, and the acceptance in each.

start, end   CLOCK_BOOTTIME, as the phase's source has them; negative before the
             kernel's clock began.  Off by at most the resolution, where that is known.
length       end - start; unknown where the source has only one of them.
share        length over the time from the first phase's start to the last one's end.
             Shares need not add up to 1: between phases there may be time that no
             source names, deferred init runs on all nodes at once, and a phase that
             two sources tell stands twice.
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
from memtrace.analyzer.tables import Column, Row, Table
from memtrace.traces.phases import PHASES

if TYPE_CHECKING:
    from memtrace.traces.reader import Run
    from memtrace.traces.run import Phase

OUTSIDE = "(no phase)"
_BLIND = ("firmware", "loader", "early", "memory")
"""Over before early_trace_init() (init/main.c)."""
_TRACES = ("tracefs", "trace-cmd", "perf")


def phases(run: Run, accepts: Accepts) -> Table:
    """One row for each phase of the run, in order, and one for accepts in none of them."""
    found = ordered(run.header.phases)
    extent = span(found)
    since = None if traced(run) else _recording(run)
    rows = [_row(phase, accepts, extent, since) for phase in found]
    outside = _outside(found, accepts)
    if outside["calls"]:
        rows.append(outside)
    notes = [] if found else ["no source tells this run's phases; `memtrace boot collect` gathers them"]
    if any(row["time_partial"] for row in rows):
        notes.append("time: of the calls whose length is known.")
    return Table("phases", "Phases", _NAMES, tuple(rows), _COLUMNS, keys=2, notes=tuple(notes))


def ordered(found: Sequence[Phase]) -> tuple[Phase, ...]:
    """In the order in which they happen; of one word, by node and source."""
    words = list(PHASES)

    def rank(phase: Phase) -> tuple[int, int, int, str]:
        word = words.index(phase.name) if phase.name in words else len(words)
        return (word, -1 if phase.nid is None else phase.nid, phase.start_ns or 0, phase.source)

    return tuple(sorted(found, key=rank))


def span(found: Sequence[Phase]) -> tuple[int, int] | None:
    """From the first start to the last end; None where nothing is known."""
    edges = [e for p in found for e in (p.start_ns, p.end_ns) if e is not None]
    return (min(edges), max(edges)) if len(edges) > 1 else None


def traced(run: Run) -> bool:
    """Whether a boot trace went into the run."""
    return any(source.format in _TRACES and source.lines for source in run.header.sources)


def _recording(run: Run) -> int:
    """When the probes began to see."""
    taken = run.snapshots
    return next((s.boottime_ns for s in taken if s.label == "start"), run.status.started_ns)


def _row(phase: Phase, accepts: Accepts, extent: tuple[int, int] | None, since: int | None) -> Row:
    start, end = phase.start_ns, phase.end_ns
    length = None if start is None or end is None else end - start
    whole = extent[1] - extent[0] if extent else 0
    row: dict[str, Any] = {
        "phase": phase.name,
        "nid": phase.nid,
        "start_ns": start,
        "end_ns": end,
        "length_ns": length,
        "share": length / whole if length is not None and whole > 0 else None,
        "source": phase.source,
        "resolution_ns": phase.resolution_ns,
        "detail": phase.detail,
    }
    nids = None if phase.nid is None else [phase.nid]
    blind = phase.name in _BLIND or (since is not None and end is not None and end <= since)
    found = _accepted(accepts, None if length is None or blind else (start, end), nids)
    if since is not None and start is not None and start < since and found["calls"]:
        found |= {"bytes_partial": True, "time_partial": True}
    return row | found


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


def _outside(found: Sequence[Phase], accepts: Accepts) -> Row:
    """The accepts between and after the phases."""
    row: dict[str, Any] = dict.fromkeys(_NAMES) | {"phase": OUTSIDE, "source": "", "detail": ""}
    edges = sorted((p.start_ns, p.end_ns) for p in found if p.start_ns is not None and p.end_ns is not None)
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
    return row | {
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
_NAMES = (
    "phase",
    "nid",
    "start_ns",
    "end_ns",
    "length_ns",
    "share",
    "calls",
    "bytes",
    "bytes_partial",
    "time_ns",
    "time_partial",
    "time_estimated",
    "source",
    "resolution_ns",
    "detail",
)
_COLUMNS = (
    Column("phase", "phase"),
    Column("nid", "node", "number"),
    Column("start_ns", "start", "ns"),
    Column("length_ns", "length", "ns"),
    Column("share", "share", "share"),
    Column("calls", "calls", "count"),
    BYTES,
    TIME,
    Column("source", "source"),
    Column("resolution_ns", "+/-", "ns"),
)
