# SPDX-License-Identifier: Apache-2.0
"""The tables ``eager`` and ``lazy``: the other accept_memory=, from what this run measured.

eager: this run was lazy; what would accepting everything at boot have taken?
    Memory to accept: Unaccepted at the end, what was accepted while recording, and
    what was accepted before, all at this run's measured rate.  What was accepted
    before recording is known only on the emulated platform (its command line); elsewhere
    it is somewhere between nothing and all memory present that was not in Unaccepted
    (firmware may have accepted it), so that times have a lower and an upper
    bound.
    accept_ns: CPU time of all CPUs that accept, waiting included; for one of them
    memory / its rate.  A node without accepts
    in the run has the machine's rate; its share of what was accepted before is
    unknown and taken as its share of the memory.
    wall_ns: until the last node is done, each with ``cpus_per_node`` CPUs at the throughput that
    the run showed with so many (concurrency.py); numbers of CPUs without 30 calls
    at once are not guessed.  The row "one CPU in all" is what
    happens without deferred init of struct pages (memblock_free_all()).
    Saved: every stall of the run.

lazy: this run was eager and its accepts were seen (an imported boot trace); what
    would lazy acceptance have left to be paid later?
    Memory in use at the end (MemTotal less MemFree, both of the snapshot) would
    have been accepted, block after block, by whoever touched it first: that many
    stalls or fewer (bursts), each about the median accept.  A lower bound if memory
    was freed again.  The rest would have been saved.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from memtrace.analyzer.accept.concurrency import Curves
from memtrace.analyzer.accept.cost import ns_per_byte
from memtrace.analyzer.accept.platform import KIB, Platform, before_recording
from memtrace.analyzer.accept.rows import BLOCK_BYTES, UNKNOWN, Accepts
from memtrace.analyzer.cells import FEW, GIB
from memtrace.analyzer.quantiles import exact_quantile
from memtrace.analyzer.render.units import written
from memtrace.analyzer.tables import Column, Row, Table

if TYPE_CHECKING:
    from memtrace.analyzer.accept.stalls import Stalls
    from memtrace.traces.reader import Run


@dataclass(frozen=True)
class Load:
    """Bytes to accept on one node, between two bounds, and the time of one CPU for a byte (ns)."""

    nid: int
    low: float
    high: float
    """As low where the upper bound is unknown."""
    ns_per_byte: float


def eager(run: Run, accepts: Accepts, curves: Curves, found: Stalls, what: Platform) -> Table:
    """One row for each number of CPUs; none, with the reason, where nothing can be said."""
    loads = _loads(run, accepts, what)
    title = "What if: eager instead of lazy"
    if isinstance(loads, str):
        return Table("eager", title, _EAGER, (), _EAGERS, notes=(f"unknown: {loads}",))
    serial = [load.low * load.ns_per_byte for load in loads], [load.high * load.ns_per_byte for load in loads]
    rows = [_row("one CPU in all", None, serial, (sum(serial[0]), sum(serial[1])), loads)]
    for cpus in sorted(_counted(curves, loads)):
        low, high = _walls(curves, loads, cpus)
        busy = [cpus * wall for wall in low], [cpus * wall for wall in high]
        setting = f"{cpus} CPU{'s' * (cpus > 1)} a node"
        rows.append(_row(setting, cpus, busy, (max(low), max(high)), loads))
    if _before(run, accepts, what)[1] is None:
        rows = [row | dict.fromkeys(("bytes_max", "accept_max_ns", "wall_max_ns")) for row in rows]
    return Table("eager", title, _EAGER, tuple(rows), _EAGERS, notes=_notes(run, accepts, found, loads, what))


def _row(
    setting: str, cpus: int | None, busy: tuple[list[float], list[float]], wall: Any, loads: list[Load]
) -> dict[str, Any]:
    return {
        "setting": setting,
        "cpus_per_node": cpus,
        "bytes": round(sum(load.low for load in loads)),
        "bytes_max": round(sum(load.high for load in loads)),
        "accept_ns": round(sum(busy[0])),
        "accept_max_ns": round(sum(busy[1])),
        "wall_ns": round(wall[0]),
        "wall_max_ns": round(wall[1]),
    }


def _counted(curves: Curves, loads: list[Load]) -> set[int]:
    """Numbers of CPUs a node for which at least one node showed a throughput; 1 always."""
    seen = {1}
    for load in loads:
        seen |= {point.cpus for point in curves.get(load.nid, ()) if point.calls >= FEW}
    return seen


def _walls(curves: Curves, loads: list[Load], cpus: int) -> tuple[list[float], list[float]]:
    """Until each node is done: bounds in ns.  A node that never had so many CPUs has the others' gain."""
    rates: dict[int, float] = {}
    for load in loads:
        points = {p.cpus: p for p in curves.get(load.nid, ()) if p.calls >= FEW and p.rate > 0}
        if cpus in points:
            # No more than in proportion, whatever the points say of few CPUs (SUPERLINEAR).
            rates[load.nid] = min(points[cpus].rate * load.ns_per_byte, cpus)
    gain = sum(rates.values()) / len(rates) if rates else 1.0
    if cpus == 1:
        rates, gain = {}, 1.0
    speeds = [rates.get(load.nid, gain) / load.ns_per_byte for load in loads]
    low = [load.low / speed for load, speed in zip(loads, speeds, strict=True)]
    return low, [load.high / speed for load, speed in zip(loads, speeds, strict=True)]


def _loads(run: Run, accepts: Accepts, what: Platform) -> list[Load] | str:
    """What each node has to accept; a sentence where that cannot be known."""
    machine = ns_per_byte(accepts)
    if machine is None:
        return "no accept of this run has both its time and its memory"
    start = accepts.at("start")
    if start is None or start.total is None:
        return "no snapshot says what was unaccepted at the start"
    total = float(start.total)
    low, most = _before(run, accepts, what)
    high = low if most is None else most
    present = {node.nid: node.present_bytes or 0 for node in run.header.nodes}
    told = {node.nid for node in run.header.nodes if node.present_bytes == 0} | {*start.nodes}
    if start.nodes and (missing := sorted({*present} - told)):
        nodes = ", ".join(map(str, missing))
        return f"the snapshot at the start does not say what was unaccepted on node {nodes}"
    whole = sum(present.values())
    loads = []
    for nid in sorted({*present, *start.nodes}):
        # Without counters per node, each has the share of its memory.
        share = present.get(nid, 0) / whole if whole else 1 / max(len(present), 1)
        here = float(start.nodes.get(nid, 0)) if start.nodes else total * share
        own = ns_per_byte(accepts, nid) or machine
        loads.append(Load(nid, here + low * share, here + high * share, own))
    return [load for load in loads if load.high > 0]


def _before(run: Run, accepts: Accepts, what: Platform) -> tuple[float, float | None]:
    """Bytes accepted before recording: bounds, None for an upper one that is unknown."""
    start = accepts.at("start")
    if what.to_accept is not None and start is not None and start.total is not None:
        known = float(max(what.to_accept - start.total, 0))
        return known, known
    most = before_recording(run, accepts)
    return 0.0, None if most is None else float(most)


def _notes(run: Run, accepts: Accepts, found: Stalls, loads: list[Load], what: Platform) -> tuple[str, ...]:
    rates = ", ".join(f"node {load.nid} {written(1e9 / load.ns_per_byte / GIB, 'rate')}" for load in loads)
    low, high = _before(run, accepts, what)
    if what.to_accept is not None:
        before = f"{written(round(low), 'bytes')} accepted before recording, by what the command line says"
    elif high is not None:
        most = written(round(high), "bytes")
        before = f"accepted before recording: between nothing and {most}, since firmware's share is unknown"
    else:
        before = "what was accepted before recording is unknown and left out: a lower bound"
    others = ~found.own
    lost = found.lost[found.timed & others]
    least = "at least " if len(lost) < others.sum() else ""
    stalls = f"{int(others.sum())} stall{'s' * (int(others.sum()) != 1)}"
    return (
        f"assumes this run's rates of one CPU (GiB/s: {rates}), also for memory that was not accepted in it;"
        f" {before}",
        "wall time assumes that nodes work at once and that nothing else slows them; of several CPUs a"
        " node, only numbers seen at once are used",
        f"in exchange, {stalls} of {least}{written(int(lost.sum()), 'ns')} in all would not have been",
    )


def lazy(run: Run, accepts: Accepts) -> Table | None:
    """One row for a run that accepted eagerly in sight of the probes; None for others."""
    import numpy as np

    start, end = accepts.at("start"), accepts.at("end")
    snapshots = [s for s in run.snapshots if s.nodes]
    lazily = any(s is not None and s.total for s in (start, end))
    spans = accepts.work
    if lazily or platform_mode(run) != "eager" or not len(spans):
        return None
    title = "What if: lazy instead of eager"
    rate = ns_per_byte(accepts)
    used = _used(snapshots[-1].nodes) if snapshots else None
    unsized = int((spans.size == UNKNOWN).sum())
    if rate is None or used is None or unsized or accepts.summed:
        why = (
            "no accept has both its time and its memory"
            if rate is None
            else "no snapshot says how much memory is in use"
            if used is None
            else f"the memory of {unsized} accepts is not known"
            if unsized
            else f"{accepts.summed} accepts were summed in the kernel"
        )
        return Table("lazy", title, _LAZY, (), _LAZIES, notes=(f"unknown: {why}",))
    seen = int(spans.size.sum())
    later = min(used, seen)
    typical = np.sort(spans.dur[spans.timed & (spans.size == BLOCK_BYTES)])
    row = {
        "seen_bytes": seen,
        "eager_ns": round(seen * rate),
        "used_bytes": used,
        "stalls": -(-later // BLOCK_BYTES),
        "stall_ns": exact_quantile(typical, 500) if len(typical) else round(BLOCK_BYTES * rate),
        "later_ns": round(later * rate),
        "saved_ns": round((seen - later) * rate),
    }
    notes = (
        "assumes that the memory in use at the end is what lazy acceptance would have had to accept, in"
        " blocks of 4 MiB at this run's rate: a lower bound where memory was freed again",
    )
    return Table("lazy", title, _LAZY, (row,), _LAZIES, notes=notes)


def platform_mode(run: Run) -> str:
    """accept_memory= of the run."""
    from memtrace.analyzer.facts import fact

    return fact(run.header, "accept_memory")


def _used(nodes: dict[str, dict[str, int]]) -> int | None:
    if not all("MemTotal" in kb and "MemFree" in kb for kb in nodes.values()):
        return None
    return sum(kb["MemTotal"] - kb["MemFree"] for kb in nodes.values()) * KIB


def _wider(name: str, bound: str) -> Any:
    def mark(row: Row) -> str:
        return "~" if row[name] == row[bound] else ">"

    return mark


_EAGER = (
    "setting",
    "cpus_per_node",
    "bytes",
    "bytes_max",
    "accept_ns",
    "accept_max_ns",
    "wall_ns",
    "wall_max_ns",
)
_EAGERS = (
    Column("setting", "with"),
    Column("bytes", "memory", "bytes", _wider("bytes", "bytes_max")),
    Column("bytes_max", "at most", "bytes"),
    Column("accept_ns", "CPU time", "ns", _wider("accept_ns", "accept_max_ns")),
    Column("accept_max_ns", "at most", "ns"),
    Column("wall_ns", "wall", "ns", _wider("wall_ns", "wall_max_ns")),
    Column("wall_max_ns", "at most", "ns"),
)
_LAZY = ("seen_bytes", "eager_ns", "used_bytes", "stalls", "stall_ns", "later_ns", "saved_ns")
_LAZIES = (
    Column("seen_bytes", "accepted", "bytes"),
    Column("eager_ns", "took", "ns"),
    Column("used_bytes", "in use", "bytes"),
    Column("stalls", "stalls", "count", lambda _: "~"),
    Column("stall_ns", "each", "ns", lambda _: "~"),
    Column("later_ns", "in all", "ns", lambda _: "~"),
    Column("saved_ns", "saved", "ns", lambda _: "~"),
)
