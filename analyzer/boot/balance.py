# SPDX-License-Identifier: Apache-2.0
"""The byte balance: of what a node has, what was accepted when, and by whom it was seen.

For each node, in bytes; U is the counter Unaccepted (counters.py):

present   pages that the zones have (zone->present_pages) when the run was made.
firmware  accepted before the kernel: present - U(entry).  Unknown unless the log
          has the firmware's memory map.  What is accepted by construction
          (a plain machine's memory) counts here.
kernel    accepted by the kernel until the run was made, by whatever was seen or
          not: U(entry) - left.
early     the part of it before the probes: U(entry) - U(first), where first is the
          snapshot taken as recording starts.
traced    the part of early that the boot trace saw leave the lists.  Most of its calls
          have no node: then it is unknown of the nodes, and in their unseen.
unseen    firmware + early - traced, known also where these are not: present - U(first)
          - traced.  A trace that does not tell bytes takes nothing off it.
seen      what the probes saw leave the lists (accepts.py, "queued"), from the
          first snapshot to the one at the end of recording.
late      U(end of recording) - U(last snapshot): accepted after it.
left      U(last): still unaccepted.  Unknown, as late and rest, where recording was cut
          short before any snapshot but the first.
rest      U(first) - seen - U(end of recording).  0 where the balance closes; within
          one block for each CPU that was accepting as a counter was read.  More
          is unexplained.  Unknown where seen is a bound (mark >): some calls' bytes are
          unknown.

present = unseen + traced + seen + late + left + rest, and kernel = early + seen + late + rest,
by construction; rest is the check.  Where no recording was on (a boot that was
only collected), there is no first snapshot: seen is what the boot trace saw, which
has no arguments, so no node and perhaps no bytes; early and unseen are what the
counters fell by besides; rest is unknown, for there is nothing to check it by.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING

from memtrace.analyzer.boot.accepts import MAX_PAGE_ORDER, NOTHING, Accepts, Seen, Window
from memtrace.analyzer.boot.counters import ENTRY, Moment, moments, named
from memtrace.analyzer.facts import gib
from memtrace.analyzer.render.units import written
from memtrace.analyzer.tables import Caveat, Column, Row, Table
from memtrace.analyzer.unknown import less, plus

if TYPE_CHECKING:
    from memtrace.traces.reader import Run

_PARTS = ("present", "firmware", "kernel", "early", "traced", "unseen", "seen", "late", "left", "rest")


@dataclass(frozen=True)
class Reading:
    """The moments between which the balance is drawn."""

    first: Moment | None
    """As recording starts; None where nothing was recorded."""
    end: Moment | None
    """As recording ends, or the last one read meanwhile; None where it was cut short before any."""
    last: Moment | None
    """None where nothing was read after what was seen."""
    entry: Moment | None

    @property
    def window(self) -> Window:
        """While the probes were on."""
        return (self.first.at_ns if self.first else None, self.end.at_ns if self.end else None)


def reading(run: Run) -> Reading | None:
    """None where no snapshot has the counter."""
    found = [m for m in moments(run) if m.label != ENTRY]
    if not found:
        return None
    first, end = named(found, "start"), named(found, "end")
    if first is not None and end is None:
        # Cut short: the last snapshot before the end, if there is any after the start.
        later = [m for m in found if m.at_ns > first.at_ns]
        end = later[-1] if later else None
    last = None if first is not None and end is None else found[-1]
    return Reading(first, end, last, named(moments(run), ENTRY))


def balance(run: Run, accepts: Accepts, read: Reading) -> Table:
    """One row for each node, and the sum."""
    present = {node.nid: node.present_bytes for node in run.header.nodes}
    latest = read.last or read.first
    nids = sorted({*present, *(latest.unaccepted if latest else ())})
    unplaced = _unplaced(accepts, read)
    rows = [_row(nid, present.get(nid), accepts, read, unplaced) for nid in nids]
    everything = [*rows, _sum(rows, accepts, read, unplaced)] if len(rows) > 1 else rows
    shown = [_with_share(row) for row in everything]
    block = run.header.page_size << MAX_PAGE_ORDER
    traced = any(row["traced"] for row in everything)
    unseen = "fw + early - traced" if traced else "fw + early"
    notes = [f"present = fw + kernel + left; kernel = early + seen + rest. unseen = {unseen}."]
    if traced:
        notes.append(
            "traced: by the boot trace; where its calls have no node, a node's unseen is an upper bound."
        )
    if read.first is not None:
        notes.append(f"rest: what the counters fell by less seen; it closes to {written(block, 'bytes')}.")
    else:
        notes.append("seen: by the boot trace, whose calls have no node. Nothing was recorded, so no rest.")
    return Table("balance", "Byte balance", _NAMES, tuple(shown), _COLUMNS, notes=tuple(notes))


@dataclass(frozen=True)
class Unplaced:
    """Accepts of no known node."""

    early: Seen
    """Of the boot trace, before the probes."""
    seen: Seen
    """While the probes were on."""


def _unplaced(accepts: Accepts, read: Reading) -> Unplaced:
    if read.first is None:
        return Unplaced(NOTHING, NOTHING)
    early = accepts.seen((None, read.first.at_ns), [None])
    return Unplaced(early, accepts.seen(read.window, [None]))


def _row(
    nid: int, present: int | None, accepts: Accepts, read: Reading, unplaced: Unplaced
) -> dict[str, int | None]:
    left = read.last.unaccepted.get(nid) if read.last else None
    entry = read.entry.unaccepted.get(nid) if read.entry else None
    row: dict[str, int | None] = dict.fromkeys(_PARTS)
    row |= {"nid": nid, "present": present, "firmware": less(present, entry)}
    row |= {"kernel": less(entry, left), "left": left}
    if read.first is None:
        return row
    first = read.first.unaccepted.get(nid)
    end = read.end.unaccepted.get(nid) if read.end else None
    seen = accepts.seen(read.window, [nid])
    before = (None, read.first.at_ns)
    traced = accepts.seen(before, [nid]).queued if unplaced.early.queued == 0 else None
    unseen = less(less(present, first), traced or 0)
    row |= {"early": less(entry, first), "traced": traced, "unseen": unseen, "seen": seen.queued}
    rest = None if seen.queued_partial else less(less(first, seen.queued), end)
    return row | {"seen_partial": seen.queued_partial, "late": less(end, left), "rest": rest}


def _sum(rows: Sequence[Row], accepts: Accepts, read: Reading, unplaced: Unplaced) -> dict[str, int | None]:
    total: dict[str, int | None] = {"nid": None}
    for name in _PARTS:
        values = [row[name] for row in rows]
        total[name] = None if None in values else sum(values)
    if read.first is None:
        seen = accepts.seen()
        accepted = less(total["present"], total["left"])
        total |= {"seen": seen.queued, "unseen": less(accepted, seen.queued)}
        total["seen_partial"] = seen.queued_partial
        total["early"] = less(total["unseen"], total["firmware"])
        return total
    total["seen"] = plus(total["seen"], unplaced.seen.queued)
    total["rest"] = None if unplaced.seen.queued_partial else less(total["rest"], unplaced.seen.queued)
    total["seen_partial"] = unplaced.seen.queued_partial or any(row["seen_partial"] for row in rows)
    if total["traced"] is None:
        # Of some nodes it is unknown, and was taken off others' unseen: off the whole, once.
        first = [read.first.unaccepted.get(int(row["nid"])) for row in rows]
        total["traced"] = accepts.seen((None, read.first.at_ns)).queued
        queued = None if None in first else sum(size for size in first if size is not None)
        total["unseen"] = less(less(total["present"], queued), total["traced"] or 0)
    return total


def _with_share(row: dict[str, int | None]) -> Row:
    present, unseen = row["present"], row["unseen"]
    share = unseen / present if present and unseen is not None else None
    out = {"node": "all" if row["nid"] is None else str(row["nid"]), "nid": row["nid"]}
    partial = bool(row.get("seen_partial")) and row["seen"] is not None
    sizes = {f"{name}_bytes": row[name] for name in _PARTS}
    return out | sizes | {"unseen_share": share, "seen_partial": partial}


def sentence(table: Table, calls: int) -> str:
    """The unseen share in words; where it is unknown, what else is known, and the ``calls`` seen."""
    row = table.rows[-1]
    present = gib(row["present_bytes"])
    if row["unseen_share"] is None:
        if row["kernel_bytes"] is None or row["present_bytes"] is None:
            return ""
        before = f"{gib(row['firmware_bytes'])} before the kernel, {gib(row['kernel_bytes'])} by it"
        return f"of {present} were accepted {before}; {calls} calls of it were seen, their bytes unknown"
    unseen = gib(row["unseen_bytes"])
    parts = ""
    if row["firmware_bytes"] is not None and row["early_bytes"] is not None:
        by_it = gib(row["early_bytes"] - (row["traced_bytes"] or 0))
        parts = f" ({gib(row['firmware_bytes'])} before the kernel, {by_it} by it)"
    only = row["rest_bytes"] is not None and not row["traced_bytes"]
    when = "before memtrace could see it" if only else "out of memtrace's sight"
    said = f"{unseen} of {present} were accepted {when}: {row['unseen_share']:.0%}{parts}"
    return f"{said}; the boot trace saw {gib(row['traced_bytes'])} more" if row["traced_bytes"] else said


def caveats(run: Run, table: Table, read: Reading) -> Iterator[Caveat]:
    """What does not add up, and why as far as that is known."""
    block = run.header.page_size << MAX_PAGE_ORDER
    room = block * max(run.header.cpus, 1)
    for row in table.rows:
        rest = row["rest_bytes"]
        if row["nid"] is not None and rest is not None and abs(rest) > room:
            what = f"{'less' if rest > 0 else 'more'} was seen than the counter fell by"
            size = written(abs(rest), "bytes")
            yield Caveat("unexplained", f"node {row['nid']}: {size} unexplained: {what}")
    yield from _growth(run)
    if read.entry is None:
        yield Caveat(
            "before-kernel-unknown",
            "how much firmware and the EFI stub accepted is unknown: no memory map in the log (efi=debug"
            " prints it)",
        )


def _growth(run: Run) -> Iterator[Caveat]:
    """The counter falls, and never grows, unless memory is added."""
    found = [m for m in moments(run) if m.label != ENTRY]
    for before, after in pairwise(found):
        for nid, now in sorted(after.unaccepted.items()):
            grown = now - before.unaccepted.get(nid, 0)
            if grown <= 0:
                continue
            added = (after.total_kb.get(nid, 0) - before.total_kb.get(nid, 0)) * 1024
            why = (
                f"memory was hot-added there meanwhile (MemTotal grew by {written(added, 'bytes')})"
                if added > 0
                else "for a reason that the counters do not tell"
            )
            yield Caveat(
                "unaccepted-grew",
                f"node {nid}: Unaccepted grew by {written(grown, 'bytes')} from {before.label} to"
                f" {after.label}, {why}; the balance is off by as much",
            )


def counter_table(run: Run) -> Table:
    """Unaccepted at each moment and node, and what was accepted since the moment before.

    A page leaves out the readings made while recording ("change"): there the
    moment before is the last one that it shows.
    """
    rows: list[Row] = []
    shown: list[int] = []
    before: dict[bool, Moment | None] = {False: None, True: None}
    for moment in moments(run):
        passing = moment.label == "change"
        for nid, value in sorted(moment.unaccepted.items()):
            old = earlier.unaccepted.get(nid) if (earlier := before[passing]) else None
            shown += [] if passing else [len(rows)]
            rows.append(
                {
                    "moment": moment.label,
                    "nid": nid,
                    "at_ns": None if moment.label == ENTRY else moment.at_ns,
                    "unaccepted_bytes": value,
                    "fell_bytes": None if old is None else old - value,
                }
            )
        before[True] = moment
        if not passing:
            before[False] = moment
    names = ("moment", "nid", "at_ns", "unaccepted_bytes", "fell_bytes")
    columns = (
        Column("moment", "moment"),
        Column("nid", "node", "number"),
        Column("at_ns", "at", "ns"),
        Column("unaccepted_bytes", "unaccepted", "bytes"),
        Column("fell_bytes", "accepted since", "bytes"),
    )
    title = "Unaccepted, by the counter"
    return Table("unaccepted", title, names, tuple(rows), columns, keys=2, shown=tuple(shown))


_NAMES = ("node", "nid", *(f"{name}_bytes" for name in _PARTS), "unseen_share", "seen_partial")
_COLUMNS = (
    Column("node", "node"),
    Column("present_bytes", "present", "bytes"),
    Column("firmware_bytes", "fw", "bytes"),
    Column("kernel_bytes", "kernel", "bytes"),
    Column("early_bytes", "early", "bytes"),
    Column("traced_bytes", "traced", "bytes", if_any=True),
    Column("seen_bytes", "seen", "bytes", lambda row: ">" if row["seen_partial"] else ""),
    Column("late_bytes", "late", "bytes", if_any=True),
    Column("left_bytes", "left", "bytes"),
    Column("rest_bytes", "rest", "bytes"),
    Column("unseen_bytes", "unseen", "bytes"),
    Column("unseen_share", "share", "share"),
)
