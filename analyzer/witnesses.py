# SPDX-License-Identifier: Apache-2.0
"""Sites that stay silent while something else shows that their event happened.

A probe that is attached but never called, because the kernel inlined its function into the
hot caller or moved the work elsewhere, looks like an event that did not happen.  Each pair
declares a *witness*: a figure of the same run that cannot move without the event.

accept.*      nr_unaccepted between the snapshots start and end.  Its fall, node by node, is blocks
              that were accepted, less memory that left the node (MemTotal fell as well).
hot.add       MemTotal between the same snapshots, less what hot.online brought online of memory
              that was there at the start.  Nothing is said where a balloon moved.
zero.alloc    allocations that the allocator zeroes (flag ZEROED of alloc), where the clears are
              observed, and not left to the freeing (init_on_free).
gmem.zero, gmem.prepare
              pages that gmem.get looked up, each once, of virtual machines made while recording
              (their kvm-clock began then), less those that were populated.

A pair speaks where the witness' figure is at least ``least`` and the event has fewer occurrences
than SILENT_SHARE of it; occurrences known to be lost count as seen.  It needs a site for the
event, and that the event was asked for.  nr_unaccepted and MemTotal are of the whole machine, so
that these two say nothing of a run that was recorded of some tasks or CPUs only.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from memtrace.analyzer.accept.rows import BLOCK_BYTES
from memtrace.analyzer.callers import query
from memtrace.analyzer.facts import fact
from memtrace.analyzer.render.units import written
from memtrace.traces.lost import known_losses
from memtrace.traces.schema import Flag

if TYPE_CHECKING:
    import duckdb

    from memtrace.analyzer.partials import Partials
    from memtrace.traces.reader import Run
    from memtrace.traces.run import Snapshot

SILENT_SHARE = 0.1
MEMORY_BLOCK = 128 << 20
"""Bytes of the smallest memory block of x86: less than that is no memory added."""
_KIB = 1 << 10
_WHOLE_MACHINE = {"min_order"}
"""Filters under which acceptance and hotplug are recorded nevertheless."""


@dataclass(frozen=True)
class Tally:
    """Occurrences in the rows of one event, the recorder's own included."""

    count: int = 0
    zeroed: int = 0
    """Of these, with flag ZEROED."""


@dataclass(frozen=True)
class Evidence:
    """What the witnesses are read from."""

    run: Run
    tallies: Mapping[str, Tally]
    connection: duckdb.DuckDBPyConnection

    def ends(self) -> tuple[Snapshot, Snapshot] | None:
        """The snapshots start and end, where the run is of the whole machine and has both."""
        taken = {s.label: s for s in self.run.snapshots}
        if not set(self.run.header.filters) <= _WHOLE_MACHINE or not {"start", "end"} <= taken.keys():
            return None
        return taken["start"], taken["end"]


@dataclass(frozen=True)
class Witness:
    """How often the event must have happened, and the figure that says so."""

    expected: int
    said: str


@dataclass(frozen=True)
class Pair:
    """An event and its witness."""

    event: str
    witness: Callable[[Evidence], Witness | None]
    least: int
    """Expected occurrences below which a difference says nothing."""


def silent(evidence: Evidence, prefix: str = "") -> Iterator[tuple[str, str]]:
    """A caveat (id, text) for the pairs whose event stays silent; ``prefix``: of their events only."""
    by_figure: dict[str, list[str]] = {}
    for pair in PAIRS:
        if pair.event.startswith(prefix) and (found := _checked(pair, evidence)) is not None:
            said, event = found
            by_figure.setdefault(said, []).append(event)
    if by_figure:
        told = "; ".join(f"{said}, but {', '.join(events)}" for said, events in by_figure.items())
        yield "site-silent", f"a site is silent: {told}; do not trust what is missing there"


def _checked(pair: Pair, evidence: Evidence) -> tuple[str, str] | None:
    """What the witness says, and what the event's site saw; None where that bears each other out."""
    header, status = evidence.run.header, evidence.run.status
    site = next((s for s in header.manifest if s.event == pair.event and s.site), None)
    if site is None or pair.event not in header.events or site.count != "exact" or pair.event in status.gone:
        return None
    seen = evidence.tallies.get(pair.event, Tally()).count
    witness = pair.witness(evidence)
    if witness is None or witness.expected < pair.least:
        return None
    if seen + _lost(evidence.run, pair.event) >= SILENT_SHARE * witness.expected:
        return None
    return witness.said, f"{pair.event} ({site.site}) was seen {f'{seen} times' if seen else 'not once'}"


def _lost(run: Run, event: str) -> int:
    """Occurrences known to be lost that may be of the event."""
    full = sum(counters.ring_full for counters in run.status.counters if counters.event == event)
    return known_losses(run.status) - run.status.losses.ring_full + full


def _unaccepted_fell(evidence: Evidence) -> Witness | None:
    ends = evidence.ends()
    if ends is None:
        return None
    start, end = ends
    pages = [snapshot.vmstat.get("nr_unaccepted") for snapshot in ends]
    fell = sum(_fell(old, end.nodes.get(nid, {})) for nid, old in start.nodes.items()) * _KIB
    if not any("Unaccepted" in node for node in start.nodes.values()) and None not in pages:
        fell = max((pages[0] or 0) - (pages[1] or 0), 0) * evidence.run.header.page_size
    # A block is taken off the counter as its accept begins, and the gate opens after the snapshot.
    edge = (max(evidence.run.header.cpus, 1) + 1) * BLOCK_BYTES
    return Witness(max(fell - edge, 0) // BLOCK_BYTES, f"nr_unaccepted fell by {written(fell, 'bytes')}")


def _fell(old: Mapping[str, int], new: Mapping[str, int]) -> int:
    """By how many kB a node's Unaccepted fell, but for memory that was taken away."""
    if "Unaccepted" not in old or "Unaccepted" not in new:
        return 0
    gone = max(old.get("MemTotal", 0) - new.get("MemTotal", 0), 0)
    return max(old["Unaccepted"] - new["Unaccepted"] - gone, 0)


def _memory_grew(evidence: Evidence) -> Witness | None:
    ends = evidence.ends()
    if ends is None or _balloon_moved(*ends):
        return None
    start, end = ends
    grew = 0
    for nid, new in end.nodes.items():
        old = start.nodes.get(nid, {})
        grew += max(new.get("MemTotal", 0) - old.get("MemTotal", 0), 0) * _KIB
    if grew < MEMORY_BLOCK:
        return None
    there = _onlined_of_before(evidence)
    rest, unless = (grew, ", unless that had been added before") if there is None else (grew - there, "")
    # A range added may be of several blocks: one call is enough to be no silence.
    return Witness(int(rest >= MEMORY_BLOCK), f"MemTotal grew by {written(rest, 'bytes')}{unless}")


def _balloon_moved(start: Snapshot, end: Snapshot) -> bool:
    return any(
        "balloon" in name.lower() and end.vmstat.get(name, value) != value
        for name, value in start.vmstat.items()
    )


def _onlined_of_before(evidence: Evidence) -> int | None:
    """Bytes that came online of memory that was added before; None where no hot.online tells."""
    if not evidence.tallies.get("hot.online", Tally()).count:
        return None
    ranges = [r for node in evidence.run.header.nodes for r in node.pfn_ranges]
    if not ranges:
        return None
    inside = " OR ".join(f"pfn >= {int(first)} AND pfn < {int(last)}" for first, last in ranges)
    ((before, unknown),) = query(
        evidence.run.relation(evidence.connection, ["event", "pfn", "bytes", "flags"]),
        f"SELECT coalesce(sum(bytes) FILTER ({inside}), 0)::BIGINT, count(*) FILTER (pfn IS NULL) "
        f"FROM rows_ WHERE event = 'hot.online' AND flags & {int(Flag.FAILED)} = 0",
    ).fetchall()
    return None if unknown else int(before)


def _zeroing_allocations(evidence: Evidence) -> Witness | None:
    if fact(evidence.run.header, "init_on_free") != "no":
        return None
    zeroed = evidence.tallies.get("alloc", Tally()).zeroed
    return Witness(zeroed, f"{zeroed} allocations had to be zeroed")


def _pages_looked_up(evidence: Evidence) -> Witness | None:
    run = evidence.run
    if not evidence.tallies.get("gmem.get", Tally()).count or "vm" not in run.columns:
        return None
    # KVM starts a VM's clock at 0 as it makes the VM (kvm_arch_init_vm()).
    began = run.status.started_ns
    offsets = {vm.number: vm.clock_offset_ns for vm in run.status.vms}
    fresh = [number for number, offset in offsets.items() if offset is not None and -offset >= began]
    if not fresh:
        return None
    size, failed = run.header.page_size, f"flags & {int(Flag.FAILED)} != 0"
    ((pages, populated),) = query(
        run.relation(evidence.connection, ["event", "vm", "gfn", "bytes", "flags"]),
        f"SELECT count(DISTINCT (vm, gfn)) FILTER (event = 'gmem.get' AND NOT {failed}), "
        f"coalesce(sum(bytes) FILTER (event = 'gmem.populate'), 0)::BIGINT // {size} "
        f"FROM rows_ WHERE event IN ('gmem.get', 'gmem.populate') AND vm IN ({', '.join(map(str, fresh))})",
    ).fetchall()
    return Witness(max(pages - populated, 0), f"gmem.get looked up {pages} pages for the first time")


PAIRS: tuple[Pair, ...] = (
    *(Pair(event, _unaccepted_fell, 4) for event in ("accept.block", "accept.call", "accept.arch")),
    Pair("hot.add", _memory_grew, 1),
    Pair("zero.alloc", _zeroing_allocations, 100),
    Pair("gmem.zero", _pages_looked_up, 32),
    Pair("gmem.prepare", _pages_looked_up, 32),
)


def of_partials(parts: Partials) -> dict[str, Tally]:
    """The tallies of partial aggregates by event."""
    sums: dict[str, list[int]] = {}
    zeroed = parts.having(Flag.ZEROED).tolist()
    for event, count, is_zeroed in zip(parts.keys["event"], parts.count.tolist(), zeroed, strict=True):
        held = sums.setdefault(event, [0, 0])
        held[0] += count
        held[1] += count * is_zeroed
    return {event: Tally(*held) for event, held in sums.items()}


def of_rows(run: Run, connection: duckdb.DuckDBPyConnection) -> dict[str, Tally]:
    """The tallies of a run's rows."""
    found = query(
        run.relation(connection, ["event", "count", "flags"]),
        "SELECT event::VARCHAR, coalesce(sum(count), 0)::BIGINT, "
        f"coalesce(sum(count) FILTER (flags & {int(Flag.ZEROED)} != 0), 0)::BIGINT FROM rows_ GROUP BY event",
    ).fetchall()
    return {event: Tally(count, zeroed) for event, count, zeroed in found}


def silent_in(run: Run, connection: duckdb.DuckDBPyConnection, prefix: str) -> tuple[tuple[str, str], ...]:
    """The caveats of a view of one topic."""
    return tuple(silent(Evidence(run, of_rows(run, connection), connection), prefix))
