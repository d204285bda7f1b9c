# SPDX-License-Identifier: Apache-2.0
"""The table ``progress``: how fast Unaccepted fell, per node and for the machine (nid null).

start_bytes, end_bytes
    Unaccepted (see platform.py) in the snapshots at start and end.  Exact, in
    blocks of 4 MiB.
fell_bytes
    start less end.  Negative where memory was added meanwhile.
seen_bytes
    Memory of the accepts seen: of ``accept.block``, else what calls were asked
    for, which for a block off the zone's list is the block.  Differs from fell_bytes
    where filters were on, events were lost, or calls were made for other reasons
    (online_pages, page isolation of accepted blocks).
accepted_share
    fell_bytes over start_bytes.
to_50_ns, to_90_ns, to_99_ns
    From the start of recording until so much of start_bytes was accepted, by the
    ends of the accepts seen.  Null: not reached while recording.
last_ns
    From the start of recording to the end of the last accept.
boot_…
    The same since boot (CLOCK_BOOTTIME).

Window: the whole recording, whatever ``--window`` is.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from memtrace.analyzer.accept.platform import at
from memtrace.analyzer.accept.rows import UNKNOWN, Accepts, Spans
from memtrace.analyzer.render.units import written
from memtrace.analyzer.tables import Column, Row, Table

if TYPE_CHECKING:
    from memtrace.traces.reader import Run

MARKS = (50, 90, 99)
"""Per cent of what was unaccepted at the start."""


def progress(run: Run, accepts: Accepts) -> Table:
    """One row for the machine and one for each node that has or had unaccepted memory."""
    start, end = at(run, "start"), at(run, "end")
    spans = accepts.levels[accepts.unit]
    nids = {int(n) for n in set(spans.nid.tolist())} - {UNKNOWN}
    nids |= {n for s in (start, end) if s is not None for n, size in s.nodes.items() if size}
    rows = [
        _row(
            run,
            spans,
            None,
            None if start is None else start.total,
            None if end is None else end.total,
        )
    ]
    for nid in sorted(nids):
        own = spans.where(spans.nid == nid)
        rows.append(_row(run, own, nid, *(None if s is None else s.nodes.get(nid) for s in (start, end))))
    notes = tuple(_sentences(rows[0]))
    return Table("progress", "Progress since recording began", _NAMES, tuple(rows), _COLUMNS, notes=notes)


def _row(run: Run, spans: Spans, nid: int | None, start: int | None, end: int | None) -> dict[str, Any]:
    import numpy as np

    began = run.status.started_ns
    size = np.where(spans.size == UNKNOWN, 0, spans.size)
    order = np.argsort(spans.end, kind="stable")
    ends, done = spans.end[order], np.cumsum(size[order])
    row: dict[str, Any] = {
        "of": "machine" if nid is None else f"node {nid}",
        "nid": nid,
        "start_bytes": start,
        "end_bytes": end,
        "fell_bytes": None if start is None or end is None else start - end,
        "seen_bytes": int(size.sum()) if bool((spans.size != UNKNOWN).all()) else None,
    }
    fell = row["fell_bytes"]
    row["accepted_share"] = fell / start if start and fell is not None and fell >= 0 else None
    for mark in MARKS:
        row[f"to_{mark}_ns"] = row[f"boot_{mark}_ns"] = None
        if start:
            place = int(np.searchsorted(done, start * mark / 100, side="left"))
            if place < len(ends):
                row |= {f"to_{mark}_ns": int(ends[place]) - began, f"boot_{mark}_ns": int(ends[place])}
    last = int(ends[-1]) if len(ends) else None
    return row | {"last_ns": None if last is None else last - began, "boot_last_ns": last}


def _sentences(machine: Row) -> list[str]:
    start, fell = machine["start_bytes"], machine["fell_bytes"]
    said = []
    reached = [mark for mark in MARKS if machine[f"to_{mark}_ns"] is not None]
    if start and len(reached) < len(MARKS):
        share = f"{written(fell / start, 'share')} was" if fell is not None else "an unknown share was"
        said.append(f"{share} accepted while recording; times beyond that were not reached and are unknown")
    if machine["boot_last_ns"] is not None:
        said.append(f"the last accept ended {machine['boot_last_ns'] / 1e9:.3f} s after boot")
    return said


_NAMES = (
    "of",
    "nid",
    "start_bytes",
    "end_bytes",
    "fell_bytes",
    "seen_bytes",
    "accepted_share",
    *(f"to_{mark}_ns" for mark in MARKS),
    "last_ns",
    *(f"boot_{mark}_ns" for mark in MARKS),
    "boot_last_ns",
)
_COLUMNS = (
    Column("of", "of"),
    Column("start_bytes", "start", "bytes"),
    Column("end_bytes", "end", "bytes"),
    Column("seen_bytes", "seen", "bytes"),
    Column("accepted_share", "accepted", "share"),
    *(Column(f"to_{mark}_ns", f"to {mark}%", "ns") for mark in MARKS),
    Column("last_ns", "last", "ns"),
)
