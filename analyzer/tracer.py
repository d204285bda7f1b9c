# SPDX-License-Identifier: Apache-2.0
"""What recording itself took, and the rows that it caused.

``cpu_share``: CPU time of the recorder between start and end over the window
times the CPUs.  ``probe_ns``: added to one page fault by all that is traced in it,
measured with these probes after the run; times the allocations seen it is an
estimate of the time that tracing added to the system, never subtracted from any
number.  ``loading_bytes``: by how much free memory fell while the recorder loaded;
``loading_accepted_bytes``: by how much unaccepted memory did (analyzer/loading.py).
``bytes_per_occurrence``: of the file, for each event in it, those inferred left out.
``own_count``: events that the recorder caused (flag TRACER), in no table but ``apart``.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from memtrace.analyzer.cells import cells
from memtrace.analyzer.in_file import in_partials
from memtrace.analyzer.loading import fell_by_loading
from memtrace.analyzer.partials import Partials
from memtrace.analyzer.render.units import written
from memtrace.analyzer.tables import Column, Table
from memtrace.traces.schema import Flag

if TYPE_CHECKING:
    from memtrace.traces.reader import Run


def apart(partials: Partials) -> Table:
    """Occurrences that are in no cell: the recorder's own, and failed attempts; by event."""
    own, failed = partials.having(Flag.TRACER), partials.having(Flag.FAILED)
    names = ("event", "why", "count", "bytes", "total_ns")
    rows = [
        {name: (row | {"why": why})[name] for name in names}
        for why, chosen in (("recorder", own), ("failed", failed & ~own))
        for row in cells(partials.where(chosen), ["event"])
    ]
    return Table("apart", "Not in the tables above", names, tuple(rows), _APART, keys=2)


def tracer(run: Run, partials: Partials) -> Table:
    """One row; null where the recorder did not tell (a run cut short has no cost)."""
    cost, status = run.status.cost, run.status
    own = partials.where(partials.having(Flag.TRACER))
    events = in_partials(partials).events
    allocs = sum(
        count
        for event, count in zip(partials.keys["event"], partials.count.tolist(), strict=True)
        if event == "alloc"
    )
    window = (status.ended_ns - status.started_ns) * run.header.cpus
    row: dict[str, Any] = dict.fromkeys(_NAMES)
    row |= {
        "loading_bytes": fell_by_loading(run, "nr_free_pages", "MemFree"),
        "loading_accepted_bytes": fell_by_loading(run, "nr_unaccepted", "Unaccepted"),
    }
    if cost:
        each = cost.file_bytes / events if cost.file_bytes and events else None
        row |= {
            "recorder_cpu_ns": cost.recorder_cpu_ns,
            "cpu_share": cost.recorder_cpu_ns / window if window > 0 else None,
            "recorder_max_rss_bytes": cost.recorder_max_rss_bytes,
            "armed_after_ns": cost.armed_after_ns,
            "probe_ns": cost.probe_ns,
            "added_ns": None if cost.probe_ns is None else cost.probe_ns * allocs,
            "file_bytes": cost.file_bytes,
            "programs_kept": cost.programs_kept,
            "bytes_per_occurrence": each,
        }
    row["own_count"] = in_partials(own).events
    return Table("tracer", "Cost of tracing", _NAMES, (row,), (), keys=0, shown=(), notes=(_sentence(row),))


def _sentence(row: dict[str, Any]) -> str:
    own = f"{row['own_count']} events were its own, kept apart"
    if row["recorder_cpu_ns"] is None:
        return f"what recording took is unknown; {own}"
    parts = [f"recorder: {written(row['recorder_cpu_ns'], 'ns')} of CPU"]
    if row["cpu_share"] is not None:
        parts[0] += f" ({written(row['cpu_share'], 'share')} of all)"
    parts[0] += f", {written(row['recorder_max_rss_bytes'], 'bytes')} of memory at most"
    parts.append(_loading(row))
    if row["file_bytes"] is not None:
        parts.append(f"file {written(row['file_bytes'], 'bytes')}")
        if row["bytes_per_occurrence"] is not None:
            parts[-1] += f", {written(row['bytes_per_occurrence'], 'rate')} bytes an event"
    if row["probe_ns"] is None:
        parts.append("what it adds to a page fault was not measured")
    else:
        added = written(row["added_ns"], "ns")
        parts.append(f"it adds {row['probe_ns']} ns to a page fault, {added} to all allocations")
    return "; ".join([*parts, own])


def _loading(row: dict[str, Any]) -> str:
    """Return what it took until the gate opened."""
    told = []
    if row["loading_bytes"] is not None:
        told.append(f"{written(max(row['loading_bytes'], 0), 'bytes')} allocated")
    if row["loading_accepted_bytes"] is not None:
        told.append(f"{written(max(row['loading_accepted_bytes'], 0), 'bytes')} accepted")
    how = {None: "", True: " with kept programs", False: " with compiling"}[row["programs_kept"]]
    told.append(f"{written(row['armed_after_ns'], 'ns')}{how}")
    return "loading: " + ", ".join(told)


_NAMES = (
    "recorder_cpu_ns",
    "cpu_share",
    "recorder_max_rss_bytes",
    "armed_after_ns",
    "probe_ns",
    "added_ns",
    "file_bytes",
    "programs_kept",
    "loading_bytes",
    "loading_accepted_bytes",
    "bytes_per_occurrence",
    "own_count",
)
_APART = (
    Column("event", "event"),
    Column("why", "why"),
    Column("count", "count", "count"),
    Column("bytes", "memory", "bytes"),
    Column("total_ns", "total", "ns"),
)
