# SPDX-License-Identifier: Apache-2.0
"""What the kernel's own counters did meanwhile.

``change`` is end less start, both read once, while recording was on.
``loading`` is what the counter did before the window, while the recorder loaded
(analyzer/loading.py).  Units: vmstat as the kernel prints it (pages, or occurrences),
node counters in kB (HugePages_* in huge pages).  nr_unaccepted counts queued blocks
only, and MemFree includes unaccepted memory.  A counter that a kernel does not have is
absent, not 0.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from memtrace.analyzer.loading import by_loading
from memtrace.analyzer.tables import Column, Table

if TYPE_CHECKING:
    from memtrace.traces.reader import Run
    from memtrace.traces.run import Snapshot

_ALWAYS = ("nr_free_pages", "nr_unaccepted", "pgfault", "MemFree", "Unaccepted")
_IF_CHANGED = (
    "pgmajfault",
    "pgalloc_dma",
    "pgalloc_dma32",
    "pgalloc_normal",
    "pgalloc_movable",
    "thp_fault_alloc",
    "thp_fault_fallback",
    "thp_zero_page_alloc",
    "thp_split_page",
    "htlb_buddy_alloc_success",
    "allocstall_normal",
    "allocstall_movable",
    "compact_stall",
    "numa_miss",
    "numa_foreign",
    "nr_memmap_pages",
    "nr_memmap_boot_pages",
    "MemTotal",
    "AnonHugePages",
)


def snapshots(run: Run) -> Table:
    """One row for each counter and node that start and end both have; none if either is missing."""
    taken = {s.label: s for s in sorted(run.snapshots, key=lambda s: s.boottime_ns)}
    rows = _rows(run, taken) if "start" in taken and "end" in taken else []
    shown = tuple(
        i
        for i, row in enumerate(rows)
        if row["counter"] in _ALWAYS or (row["counter"] in _IF_CHANGED and row["change"])
    )
    notes = () if rows else ("no snapshots at both start and end",)
    title = "Kernel counters, start to end"
    return Table("snapshots", title, _NAMES, tuple(rows), _COLUMNS, keys=3, shown=shown, notes=notes)


def _rows(run: Run, taken: dict[str, Snapshot]) -> list[dict[str, Any]]:
    start, end = taken["start"], taken["end"]
    rows: list[dict[str, Any]] = []
    for nid in (None, *sorted(start.nodes, key=int)):
        old, new = _values(start, nid), _values(end, nid)
        rows += [
            {
                "where": "machine" if nid is None else f"node {nid}",
                "nid": None if nid is None else int(nid),
                "counter": name,
                "unit": _unit(name, nid),
                "start": old[name],
                "end": new[name],
                "change": new[name] - old[name],
                "loading": by_loading(run, name, nid),
            }
            for name in sorted(n for n in old if n in new)
        ]
    rank = {name: i for i, name in enumerate((*_ALWAYS, *_IF_CHANGED))}
    rows.sort(key=lambda row: (row["nid"] is not None, row["nid"] or 0, rank.get(row["counter"], len(rank))))
    return rows


def _values(snapshot: Snapshot, nid: str | None) -> dict[str, int]:
    return snapshot.vmstat if nid is None else snapshot.nodes.get(nid, {})


def _unit(name: str, nid: str | None) -> str:
    if name.startswith(("nr_", "pgalloc_")):
        return "pages"
    if nid is None:
        return "events"
    return "huge pages" if name.startswith("HugePages_") else "kB"


_NAMES = ("where", "nid", "counter", "unit", "start", "end", "change", "loading")
_COLUMNS = (
    Column("counter", "counter"),
    Column("where", "of"),
    Column("unit", "unit"),
    Column("start", "start", "number"),
    Column("end", "end", "number"),
    Column("change", "change", "signed"),
    Column("loading", "by loading", "signed"),
)
