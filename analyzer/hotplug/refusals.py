# SPDX-License-Identifier: Apache-2.0
"""What did not come about: failed adds and onlinings, refused offlinings and removals.

One row for each outermost occurrence that failed; ``cause`` is the innermost failed one
inside it.  error is what the outermost function returned.  memmap: struct pages allocated
inside a failed add, in bytes; __add_pages() keeps those of the sections it had populated.
Unknown where no hot.memmap was seen inside.
"""

from __future__ import annotations

import errno
from collections.abc import Sequence
from typing import Any

from memtrace.analyzer.hotplug.rows import Occurrence, of
from memtrace.analyzer.model.origin import origin
from memtrace.analyzer.tables import Column, Table

WORDS: dict[str, str] = {
    "hot.request": "failed add",
    "hot.add": "failed add",
    "hot.section": "failed add",
    "hot.memmap": "no struct pages",
    "hot.altmap": "failed onlining",
    "hot.block": "failed onlining",
    "hot.online": "failed onlining",
    "hot.offline": "refused offlining",
    "hot.remove": "refused removal",
}
"""What a failed occurrence is called."""


def refusals(rows: Sequence[Occurrence], start: int) -> Table:
    """``start``: of the run, CLOCK_BOOTTIME ns."""
    failed = [row for row in rows if row.failed]
    outer = [row for row in failed if not any(other.holds(row) for other in failed)]
    out: list[dict[str, Any]] = []
    for row in outer:
        inside = [other for other in failed if row.holds(other)]
        cause = max(inside, key=lambda r: r.start, default=row)
        low, high = row.pfns
        out.append(
            {
                "at_ns": row.start - start,
                "what": WORDS.get(row.event, row.event),
                "event": row.event,
                "cause": cause.event,
                "error": row.error,
                "errno": _named(row.error),
                "pfn": row.pfn,
                "end_pfn": high if high > low else None,
                "bytes": row.size or None,
                "memmap_bytes": _memmap(row, rows),
                "nid": row.nid,
                "total_ns": row.dur,
                "comm": row.comm,
                "origin": origin(row.stack) if row.event == "hot.request" else None,
            }
        )
    columns = (
        Column("at_ns", "at", "ns"),
        Column("what", "what"),
        Column("errno", "error"),
        Column("bytes", "memory", "bytes"),
        Column("pfn", "pfn", "number"),
        Column("cause", "by"),
        Column("memmap_bytes", "memmap", "bytes", if_any=True),
        Column("total_ns", "took", "ns"),
        Column("comm", "task"),
    )
    names = tuple(out[0]) if out else _NAMES
    title = "Refused and failed"
    return Table("refusals", title, names, tuple(out), columns, keys=2, top=20)


_NAMES = (
    "at_ns",
    "what",
    "event",
    "cause",
    "error",
    "errno",
    "pfn",
    "end_pfn",
    "bytes",
    "memmap_bytes",
    "nid",
    "total_ns",
    "comm",
    "origin",
)


def _memmap(failed: Occurrence, rows: Sequence[Occurrence]) -> int | None:
    """Bytes of struct pages allocated inside."""
    if failed.event not in ("hot.request", "hot.add"):
        return None
    inside = [row.bytes or 0 for row in of(rows, "hot.memmap") if failed.holds(row)]
    return sum(inside) if inside else None


def _named(error: int | None) -> str | None:
    return None if error is None else errno.errorcode.get(error, str(error))
