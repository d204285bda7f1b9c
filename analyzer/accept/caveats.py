# SPDX-License-Identifier: Apache-2.0
"""What narrows the meaning of the accept view's numbers, beside the caveats of every view."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from memtrace.analyzer.accept.platform import Platform, before_recording, served
from memtrace.analyzer.accept.rows import ARCH, BLOCK, BURST, CALL, EVENTS, Accepts
from memtrace.analyzer.loading import fell_by_loading
from memtrace.analyzer.render.units import written
from memtrace.analyzer.tables import Caveat, Row

if TYPE_CHECKING:
    from memtrace.traces.reader import Run

_MEANS = {
    ARCH: "bytes really accepted, the time with interrupts off and waiting apart from accepting",
    CALL: "waiting for others' accepts",
    BLOCK: "blocks apart from other calls",
    BURST: "what one allocation accepted, where allocations were not recorded",
}
"""What is not known without an event."""


def accept_caveats(run: Run, accepts: Accepts, what: Platform, progress: Row) -> tuple[Caveat, ...]:
    """The caveats of this view; ``progress`` is its row of the machine."""
    found = [
        *_counters(progress, accepts),
        *_unseen(run, accepts, what),
        *_sites(run, accepts),
        *_meaning(run, what),
    ]
    return tuple(Caveat(id_, text) for id_, text in found)


Found = Iterator[tuple[str, str]]


def _counters(progress: Row, accepts: Accepts) -> Found:
    fell, seen = progress["fell_bytes"], progress["seen_bytes"]
    grown = [
        f"node {nid} by {written(size - start.nodes[nid], 'bytes')}"
        for start, end in [(accepts.at("start"), accepts.at("end"))]
        if start and end
        for nid, size in end.nodes.items()
        if nid in start.nodes and size > start.nodes[nid]
    ]
    if grown or (fell is not None and fell < 0):
        where = ", ".join(grown) or f"by {written(-fell, 'bytes')}"
        yield (
            "unaccepted-grew",
            f"Unaccepted grew ({where}): memory was added while recording; shares of what was"
            " unaccepted at the start mean less",
        )
    if fell is not None and seen is not None and fell > seen:
        yield (
            "accepts-missed",
            f"Unaccepted fell by {written(fell, 'bytes')}, and accepts of {written(seen, 'bytes')} were"
            " seen: the rest was lost, filtered out, or accepted between the snapshot and the first probe",
        )


def _unseen(run: Run, accepts: Accepts, what: Platform) -> Found:
    before = before_recording(run, accepts)
    start = accepts.at("start")
    if before is None:
        yield "unseen-unknown", "how much had been accepted before recording is unknown"
        return
    known = ""
    if what.to_accept is not None and start is not None and start.total is not None:
        done = max(what.to_accept - start.total, 0)
        known = f"; of these, {written(done, 'bytes')} had to be, by the command line"
    if before:
        yield (
            "unseen",
            f"not observed: {written(before, 'bytes')} accepted before recording, by firmware or kernel,"
            f" or never unaccepted{known}",
        )
    loading = fell_by_loading(run, "nr_unaccepted", "Unaccepted")
    if loading is not None and loading > 0:
        yield (
            "unseen-loading",
            f"loading the probes itself had {written(loading, 'bytes')} accepted before that",
        )


def _sites(run: Run, accepts: Accepts) -> Found:
    there = accepts.seen | set(served(run))
    missing = [name for name in _MEANS if name not in there]
    if missing and any(name in there for name in EVENTS):
        lost = "; ".join(f"{name} (so unknown: {_MEANS[name]})" for name in missing)
        yield "levels-missing", f"without a site in this run: {lost}"
    if accepts.summed:
        yield (
            "accepts-summed",
            f"{accepts.summed} accepts were summed in the kernel and are in none of these tables",
        )
    untimed = int((~accepts.work.timed).sum())
    if untimed:
        yield "accepts-untimed", f"{untimed} accepts have no duration: counted, and in no time"


def _meaning(run: Run, what: Platform) -> Found:
    if what.name == "emulated":
        yield (
            "emulated",
            "acceptance is emulated by this kernel (unaccepted_emul): its cost is what the command line"
            " says, and says nothing of hardware",
        )
    yield (
        "host",
        "times hold what the host does meanwhile: a vCPU's steal time is unknown here, and the first"
        " touch of a page has the host's own allocation in it unless its backing was there before",
    )
