# SPDX-License-Identifier: Apache-2.0
"""The tables ``tasks`` and ``cgroups``: who cleared, how much, at what price.

tasks
    Of streamed rows one row for each thread and name (exec changes the name).  Where the
    kernel summed occurrences, one for each process, from its own sums by process,
    which are exact; ``comm`` is then the name that most of its clears had.
cgroups
    One row for each cgroup (v2), by the path that it had when the row was written.
    What the kernel summed has none.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from memtrace.analyzer.render.units import written
from memtrace.analyzer.tables import Column, Row, Table
from memtrace.analyzer.zero.by.clears import Clears, clears_by, largest_first
from memtrace.analyzer.zero.by.holds import Holds
from memtrace.analyzer.zero.kinds import CLEARING

if TYPE_CHECKING:
    import duckdb

    from memtrace.traces.reader import Run
    from memtrace.traces.totals import TaskTotal

TOP = 20
MEASURED = ("clears", "bytes", "derived_bytes", "share", "total_ns", "untimed_bytes", "ns_per_4kib", "root")
NO_ROOT = "largest root: unknown; `record -e alloc,zero,root` has it where functions can be hooked."
SUMMED_ROOT = "largest root: unknown where the kernel summed; `record --stream all` keeps it."


def tasks(run: Run, connection: duckdb.DuckDBPyConnection, holds: Holds) -> Table:
    """One row for each task, the most bytes first."""
    notes: list[str] = []
    kept = run.status.tasks
    # Older runs tell apart neither what the allocator zeroes nor the recorder itself.
    older = any(task.zeroed_bytes is None for task in kept)
    if holds.summed and kept and not (older and holds.derive):
        found = _kept(kept, holds)
        notes.append("processes, of the kernel's sums; threads: unknown (`record --stream all` has them).")
        if not run.status.complete:
            notes.append("the recorder was cut short: only its last checkpoint's largest sums are here.")
        if older:
            notes.append("the recorder's own clears may be among them: this run does not tell.")
        own = sum(task.bytes for task in kept if task.tracer and task.event in CLEARING)
        if own:
            notes.append(f"left out: {written(own, 'bytes')} that the recorder itself had cleared")
    else:
        found = clears_by(run, connection, ("comm", "pid", "tid"), holds.derive, holds.streamed)
        notes += _summed(found, "task")
    names = ("comm", "pid", "tid")
    columns = (Column("comm", "comm"), Column("pid", "pid", "number"), Column("tid", "tid", "number"))
    return _table("tasks", "Clearing by task", names, columns, 2, found, holds, notes)


def cgroups(run: Run, connection: duckdb.DuckDBPyConnection, holds: Holds) -> Table:
    """One row for each cgroup, the most bytes first."""
    found = clears_by(run, connection, ("cgroup",), holds.derive, holds.streamed)
    notes = _summed(found, "cgroup")
    if not notes and any(one.key == (None,) for one in found):
        why = (
            "some cgroups found no room in the programs' table"
            if any(one.key != (None,) for one in found)
            else "the machine had no cgroup v2 hierarchy mounted, or an older memtrace recorded it"
        )
        notes = [f"cgroup: unknown; {why}."]
    return _table(
        "cgroups",
        "Clearing by cgroup",
        ("cgroup",),
        (Column("cgroup", "cgroup", "stack"),),
        1,
        found,
        holds,
        notes,
    )


def _summed(found: Sequence[Clears], what: str) -> list[str]:
    """What to say of clears that the kernel summed."""
    size = sum(one.summed for one in found)
    if not size:
        return []
    return [
        f"{what}: unknown of {written(size, 'bytes')} that the kernel summed (order 0);"
        f" `memtrace record --stream all` keeps it."
    ]


def _kept(totals: Sequence[TaskTotal], holds: Holds) -> list[Clears]:
    """From the kernel's sums by process and event."""
    found: dict[int | str, Clears] = {}
    largest: dict[int | str, int] = {}
    for task in totals:
        derived = holds.derive and task.event == "alloc"
        if task.tracer or not (derived or task.event in CLEARING):
            continue
        count, size = (task.zeroed_count, task.zeroed_bytes) if derived else (task.count, task.bytes)
        if not count or size is None:
            continue
        # Of processes without a number only the name is known.
        who = task.comm if task.pid is None else task.pid
        held = found.setdefault(who, Clears((task.comm, task.pid, None)))
        held.clears += count
        held.bytes += size
        held.derived += size if derived else 0
        if task.total_ns is not None and not derived:
            held.ns += task.total_ns
            held.timed += size
        if size > largest.get(who, -1):
            largest[who] = size
            held.key, held.root = (task.comm, task.pid, None), task.root
    return largest_first(list(found.values()))


def _table(
    name: str,
    title: str,
    names: tuple[str, ...],
    columns: tuple[Column, ...],
    keys: int,
    found: Sequence[Clears],
    holds: Holds,
    notes: Sequence[str],
) -> Table:
    whole = sum(one.bytes for one in found)
    rows = tuple(
        dict(zip(names, one.key, strict=True)) | one.measured(whole) | {"root": _root(one, holds)}
        for one in found
    )
    said = [*notes, *holds.notes] if found else [holds.nothing]
    if found and not holds.roots:
        said.append(NO_ROOT)
    elif any(one.root is None for one in found):
        said.append(SUMMED_ROOT)
    return Table(
        name,
        title,
        (*names, *MEASURED),
        rows,
        (*columns, *SHOWN, Column("root", "largest root")),
        keys=keys,
        top=TOP,
        notes=tuple(said),
    )


def _root(one: Clears, holds: Holds) -> str | None:
    if one.root is None or not holds.roots:
        return None
    return one.root.removeprefix("root.") or "none"


def derived(row: Row) -> str:
    return "~" if row["derived_bytes"] else ""


def untimed(row: Row) -> str:
    return ">" if row["untimed_bytes"] else ""


SHOWN = (
    Column("clears", "clears", "count", derived),
    Column("bytes", "cleared", "bytes", derived),
    Column("share", "of all", "share"),
    Column("total_ns", "time", "ns", untimed),
    Column("ns_per_4kib", "ns/4K", "rate"),
)
"""How a page shows the measured columns."""
