# SPDX-License-Identifier: Apache-2.0
"""The table ``progress``: how fast Unaccepted fell, per node and for the machine (nid null).

start_bytes, end_bytes
    Unaccepted (see readings.py) in the snapshots at start and end.  Exact, in
    blocks of 4 MiB.
fell_bytes
    start less end.  Negative where memory was added meanwhile.
seen_bytes
    Memory that left the zones' lists with the acceptances seen between these snapshots
    (range_bytes of ``accepts``).  A run may hold more of them: of a collected boot those
    before the recorder began.  Differs from fell_bytes where filters were on or events were
    lost, and where blocks were not traced, so that calls for other reasons are among them.
    Null where it is unknown of one of them: some do not tell it, were summed in the kernel,
    or (of a node) tell no node.
accepted_share
    fell_bytes over start_bytes.  Null where Unaccepted grew on the node, or on
    any: what was accepted is then not what it fell by.
to_50_ns, to_90_ns, to_99_ns
    From the start of recording (from the snapshot at the start, where the run holds what came
    before it) until so much of start_bytes was accepted, by the ends of the accepts seen: an
    upper bound where it fell by more than was seen.  Null: not reached while recording, or
    seen_bytes or accepted_share are unknown.
last_ns
    From the start of recording to the end of the last accept.  Null where some were summed, or
    (of a node) tell no node.
boot_…
    The same since boot (CLOCK_BOOTTIME).

Window: the whole recording, whatever ``--window`` is.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from memtrace.analyzer.accept.readings import Unaccepted
from memtrace.analyzer.accept.rows import UNKNOWN, Accepts, Spans
from memtrace.analyzer.render.units import written
from memtrace.analyzer.tables import Column, Row, Table
from memtrace.analyzer.unknown import less

if TYPE_CHECKING:
    from memtrace.traces.reader import Run

MARKS = (50, 90, 99)
"""Per cent of what was unaccepted at the start."""


def progress(run: Run, accepts: Accepts) -> Table:
    """One row for the machine and one for each node that has or had unaccepted memory."""
    start, end = accepts.at("start"), accepts.at("end")
    spans = between(accepts.queued, start, end)
    began = accepts.began(run)
    nids = {int(n) for n in set(spans.nid.tolist())} - {UNKNOWN}
    nids |= {n for s in (start, end) if s is not None for n, size in s.nodes.items() if size}
    grew = {nid for nid in nids if _grew(start, end, nid)}
    placed = not accepts.summed and not bool((spans.nid == UNKNOWN).any())
    first, last = (None if s is None else s.total for s in (start, end))
    machine = Course(None, first, last, bool(grew), not accepts.summed)
    rows = [_row(began, spans, machine)]
    for nid in sorted(nids):
        first, last = (None if s is None else s.nodes.get(nid) for s in (start, end))
        course = Course(nid, first, last, nid in grew, placed)
        rows.append(_row(began, spans.where(spans.nid == nid), course))
    notes = tuple(_sentences(rows[0], machine, spans))
    return Table("progress", "Progress since recording began", _NAMES, tuple(rows), _COLUMNS, notes=notes)


@dataclass(frozen=True)
class Course:
    """What is known of a node, or (nid None) of the machine, beside its accepts."""

    nid: int | None
    start: int | None
    end: int | None
    grew: bool
    """Memory was added on it, or on any node of the machine."""
    all_seen: bool
    """Each of its accepts that was recorded is a span, and known to be its own."""

    @property
    def fell(self) -> int | None:
        return less(self.start, self.end)


def _grew(start: Unaccepted | None, end: Unaccepted | None, nid: int) -> bool:
    if start is None or end is None or nid not in end.nodes:
        return False
    return end.nodes[nid] > start.nodes.get(nid, 0)


def between(spans: Spans, start: Unaccepted | None, end: Unaccepted | None) -> Spans:
    """Acceptances that began between two readings; where one of them is missing, on that side all."""
    if start is not None:
        spans = spans.where(spans.begin > start.at_ns)
    return spans if end is None else spans.where(spans.begin <= end.read_ns)


def _row(began: int, spans: Spans, course: Course) -> dict[str, Any]:
    import numpy as np

    order = np.argsort(spans.end, kind="stable")
    ends, done = spans.end[order], np.cumsum(spans.size[order])
    sized = course.all_seen and bool((spans.size != UNKNOWN).all())
    start, fell = course.start, course.fell
    grew = course.grew or (fell is not None and fell < 0)
    row: dict[str, Any] = {
        "of": "machine" if course.nid is None else f"node {course.nid}",
        "nid": course.nid,
        "start_bytes": start,
        "end_bytes": course.end,
        "fell_bytes": fell,
        "seen_bytes": int(spans.size.sum()) if sized else None,
        "accepted_share": fell / start if start and fell is not None and not grew else None,
    }
    for mark in MARKS:
        row[f"to_{mark}_ns"] = row[f"boot_{mark}_ns"] = None
        if start and sized and not grew:
            place = int(np.searchsorted(done, start * mark / 100, side="left"))
            if place < len(ends):
                row |= {f"to_{mark}_ns": int(ends[place]) - began, f"boot_{mark}_ns": int(ends[place])}
    last = int(ends[-1]) if len(ends) and course.all_seen else None
    return row | {"last_ns": None if last is None else last - began, "boot_last_ns": last}


def _sentences(machine: Row, course: Course, spans: Spans) -> list[str]:
    said = []
    if machine["start_bytes"]:
        said += _course(machine, course, spans)
    if machine["boot_last_ns"] is not None:
        said.append(f"the last accept ended {machine['boot_last_ns'] / 1e9:.3f} s after boot")
    return said


def _course(machine: Row, course: Course, spans: Spans) -> list[str]:
    """What share was accepted, and which of the times are unknown for what reason."""
    start, fell, share = machine["start_bytes"], machine["fell_bytes"], machine["accepted_share"]
    if course.grew or (fell is not None and share is None):
        return ["memory was added while recording: what share was accepted by when is unknown"]
    was = "an unknown share was" if share is None else f"{written(share, 'share')} was"
    if machine["seen_bytes"] is None:
        unsized = int((spans.size == UNKNOWN).sum())
        why = (
            f"the memory of {unsized} accepts is unknown" if unsized else "accepts were summed in the kernel"
        )
        return [f"{was} accepted while recording; by when is unknown, since {why}"]
    missing = [mark for mark in MARKS if machine[f"to_{mark}_ns"] is None]
    passed = [f"{mark}%" for mark in missing if fell is not None and fell >= start * mark / 100]
    said = []
    if len(passed) < len(missing):
        said.append(f"{was} accepted while recording; times beyond that were not reached and are unknown")
    if passed:
        said.append(
            f"{was} accepted while recording; not all of it was seen, so that when {passed[0]} was is unknown"
        )
    if fell is not None and fell > machine["seen_bytes"] and len(missing) < len(MARKS):
        seen = written(machine["seen_bytes"], "bytes")
        said.append(f"of {written(fell, 'bytes')} accepted {seen} were seen: the times are upper bounds")
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
