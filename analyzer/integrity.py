# SPDX-License-Identifier: Apache-2.0
"""The file held against the kernel side's own counters, event by event.

The programs in the kernel count what they see (``seen``), what of it could not
be handed over because the ring was full, and sum order and pfn over all of it.
The file must have ``count = seen - ring_full``; where nothing was lost also the
same sum of order, and, where nothing was aggregated (aggregates have no pfn),
the same sum of pfn modulo 2**64.  All rows count here, the recorder's own too,
but for inferred and imported ones (flags INFERRED, IMPORTED): no program saw them.
Window: from the gate's opening to the last flush.

Of a recording that did not come to its end the last checkpoint's numbers are held
against its rows.  Those are taken between two readings of the counters (``seen_before``,
``seen``), which bound their number; sums are compared where nothing came meanwhile.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from memtrace.analyzer.partials import Partials
from memtrace.analyzer.tables import Column, Table
from memtrace.traces.lost import unseen_losses
from memtrace.traces.partials import Unknown
from memtrace.traces.schema import Flag

if TYPE_CHECKING:
    from memtrace.traces.run import RunStatus
    from memtrace.traces.totals import EventCounters

_MOD = 1 << 64


def needs_pfn(status: RunStatus) -> bool:
    """Whether any event's sum of pfn can be held against the file."""
    return any(_pfn_comparable(c) for c in status.counters)


def integrity(partials: Partials, status: RunStatus, origin: str = "recorded") -> Table:
    """One row for each event that the kernel counted; ``verdict`` is "agree" or what differs.

    ``partials`` are by event and order at least; ``origin`` is that of the header.
    """
    rows = tuple(_row(partials, counters) for counters in status.counters)
    wrong = [f"{row['event']} {row['verdict']}" for row in rows if row["verdict"] != "agree"]
    if not rows and origin == "imported":
        note = "no kernel counters: the run was imported, there is nothing to hold the file against"
    elif not rows:
        note = "the recorder left no counters of its own: nothing to hold the file against"
    elif wrong:
        note = f"file and kernel DIFFER: {'; '.join(wrong)}"
    else:
        lost = sum(c.ring_full for c in status.counters)
        split = f", {lost} of them lost because a ring was full" if lost else ""
        note = f"file and kernel agree: {sum(c.seen for c in status.counters)} events{split}"
        if unseen := unseen_losses(status):
            note += f"; {unseen} more were lost before a program saw them"
        if imported := int(partials.count[partials.having(Flag.IMPORTED)].sum()):
            note += f"; the {imported} that were imported have no counters"
        if meanwhile := sum(map(_meanwhile, status.counters)):
            note += f"; {meanwhile} of them came while the last rows were taken, and may not be among these"
    shown = None if wrong else ()
    return Table("integrity", "File against kernel", _NAMES, rows, _COLUMNS, shown=shown, notes=(note,))


def disagreements(table: Table) -> tuple[str, ...]:
    """What differs, a phrase for each event; empty if all agree."""
    return tuple(f"{row['event']} {row['verdict']}" for row in table.rows if row["verdict"] != "agree")


def _row(partials: Partials, counters: EventCounters) -> dict[str, Any]:
    import numpy as np

    ours = np.array([event == counters.event for event in partials.keys["event"]], dtype=bool)
    part = partials.where(ours & ~partials.having(Flag.INFERRED) & ~partials.having(Flag.IMPORTED))
    count = int(part.count.sum())
    sum_order = sum(
        o * n for o, n in zip(part.keys["order"], part.count.tolist(), strict=True) if o is not None
    )
    sum_pfn: int | None = None
    if _pfn_comparable(counters) and part.sum_pfn is not None and part.known(Unknown.PFN).all():
        sum_pfn = sum(part.sum_pfn.tolist()) % _MOD
    differences = {"count": _outside(count + counters.ring_full, counters)}
    if not counters.ring_full and not _meanwhile(counters):
        differences["sum of order"] = _apart(sum_order, counters.sum_order)
    if sum_pfn is not None:
        differences["sum of pfn"] = _apart(sum_pfn, counters.sum_pfn)
    return {
        "event": counters.event,
        "kernel_count": counters.seen,
        "file_count": count,
        "ring_full": counters.ring_full,
        "kernel_sum_order": counters.sum_order,
        "file_sum_order": sum_order,
        "kernel_sum_pfn": counters.sum_pfn,
        "file_sum_pfn": sum_pfn,
        "checked": ", ".join(differences),
        "verdict": "; ".join(f"{what} differs by {n:+d}" for what, n in differences.items() if n) or "agree",
    }


def _meanwhile(counters: EventCounters) -> int:
    """How many occurrences came while the rows of a checkpoint were taken; they may be among these or not."""
    return 0 if counters.seen_before is None else counters.seen - counters.seen_before


def _outside(ours: int, counters: EventCounters) -> int:
    """By how much the file has more than the kernel saw, or (negative) less than it saw before."""
    return max(ours - counters.seen, 0) + min(ours - counters.seen + _meanwhile(counters), 0)


def _apart(ours: int, theirs: int) -> int:
    """ours - theirs modulo 2**64, as the smaller of the two ways round."""
    distance = (ours - theirs) % _MOD
    return distance if distance < _MOD // 2 else distance - _MOD


def _pfn_comparable(counters: EventCounters) -> bool:
    lost = counters.ring_full or _meanwhile(counters)
    return counters.aggregated == 0 and not lost and counters.seen > 0


_NAMES = (
    "event",
    "kernel_count",
    "file_count",
    "ring_full",
    "kernel_sum_order",
    "file_sum_order",
    "kernel_sum_pfn",
    "file_sum_pfn",
    "checked",
    "verdict",
)
_COLUMNS = (
    Column("event", "event"),
    Column("kernel_count", "kernel", "number"),
    Column("file_count", "file", "number"),
    Column("ring_full", "lost", "number"),
    Column("verdict", "verdict"),
)
