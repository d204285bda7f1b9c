# SPDX-License-Identifier: Apache-2.0
"""The table ``background``: what if a thread per node had accepted memory ahead, on a CPU budget?

A simulation over this run's stalls.  From the start of recording, each node's
thread accepts blocks one after the other with a share b of one CPU, at the
node's rate of one CPU (cost.py): b * (t - start) / time_per_block blocks by the time t, whole
ones.  A stall that needed n blocks takes them from those accepted ahead and not
yet taken.  Finding all n, it vanishes; finding fewer, it shrinks by their share.  A stall
that needed none (a conversion, page isolation) stays as it was.

stalls_left, vanished, lost_ns, worst_ns
    What remains of the stalls, their time, the longest.  The recorder's own stalls
    are left out, but take their blocks.
cpu_ns
    CPU time that the threads spend while recording lasts; they stop when all of the
    node's Unaccepted is done.  It is not only moved but added where memory would
    not have been needed (ahead_bytes: accepted and not taken by the end).
done_ns
    From the start of recording until the slowest node has nothing unaccepted; null: not
    while recording.

Assumed: the workload allocates at the same times as it did (without stalls it
would sooner: optimistic); accepts of the thread slow nobody by memory bandwidth, the
zone's lock or interrupts off on its CPU; and the watermark logic asks for the same blocks.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from memtrace.analyzer.accept.cost import ns_per_byte
from memtrace.analyzer.accept.rows import BLOCK_BYTES, UNKNOWN, Accepts
from memtrace.analyzer.tables import Column, Table

if TYPE_CHECKING:
    from memtrace.analyzer.accept.rows import Floats, Ints
    from memtrace.analyzer.accept.stalls import Stalls
    from memtrace.traces.reader import Run

BUDGETS = (0.01, 0.05, 0.1, 0.25, 0.5, 1.0)
"""Shares of one CPU per node."""


@dataclass(frozen=True)
class Node:
    """A node's stalls in the order of time, and the speed of its thread."""

    begin: Ints
    need: Ints
    """Blocks that each stall accepted."""
    place: Ints
    """Which stalls of the run they are."""
    block_ns: float
    unaccepted: int
    """Bytes at the start."""


def remaining(begin: Ints, need: Ints, start: int, blocks_per_ns: float) -> Ints:
    """Blocks that each stall still has to accept itself, shape (n,); stalls in the order of time.

    The stock of blocks accepted ahead is a queue: it grows with time and never
    falls below nothing (Lindley's recursion, solved by a running minimum).
    """
    import numpy as np

    supply = np.floor((begin - start) * blocks_per_ns).astype(np.int64)
    taken = np.cumsum(need)
    # After stall i the stock is supply[i] - taken[i] + shortfall[i], the shortfalls so far.
    shortfall = np.maximum.accumulate(np.maximum(taken - supply, 0))
    left: Ints = np.diff(shortfall, prepend=0)
    return np.minimum(left, need)


def background(run: Run, accepts: Accepts, found: Stalls) -> Table:
    """One row for each budget, after one for what was recorded."""
    import numpy as np

    title = "What if: a thread per node accepting in the background"
    nodes = _nodes(run, accepts, found)
    if isinstance(nodes, str):
        return Table("background", title, _NAMES, (), _COLUMNS, notes=(f"unknown: {nodes}",))
    others = ~found.own
    rows = []
    for budget in (0.0, *BUDGETS):
        share = np.ones(len(found))
        cpu = ahead = 0.0
        done: float | None = 0.0
        for node in nodes:
            left, spent, over, end = _simulated(run, node, accepts.began(run), budget)
            share[node.place] = left
            cpu, ahead = cpu + spent, ahead + over
            done = None if done is None or end is None else max(done, end)
        lost = found.lost[others] * share[others]
        rows.append(
            {
                "budget": budget,
                "stalls_left": int((share[others] > 0).sum()),
                "vanished": float((share[others] == 0).mean()) if others.any() else None,
                "lost_ns": round(float(lost.sum())),
                "worst_ns": round(float(lost.max())) if len(lost) else None,
                "cpu_ns": round(cpu),
                "ahead_bytes": round(ahead),
                "done_ns": None if done is None or not budget else round(done),
            }
        )
    return Table("background", title, _NAMES, tuple(rows), _COLUMNS, notes=_NOTES)


def _simulated(run: Run, node: Node, start: int, budget: float) -> tuple[Floats, float, float, float | None]:
    """Share of each stall left, CPU time (ns), bytes ahead at the end, time until all is done (ns)."""
    import numpy as np

    length = run.status.ended_ns - start
    speed = budget / node.block_ns
    left = remaining(node.begin, node.need, start, speed)
    done_by_stalls = int(left.sum())
    total = node.unaccepted / BLOCK_BYTES
    by_thread = min(np.floor(length * speed), max(total - done_by_stalls, 0.0))
    ahead = max(by_thread - int((node.need - left).sum()), 0.0)
    end = (total - done_by_stalls) / speed if speed else None
    # A stall without a block (a conversion) takes nothing that a thread could have ready.
    share = np.where(node.need > 0, left / np.maximum(node.need, 1), 1.0)
    return (
        share,
        by_thread * node.block_ns,
        ahead * BLOCK_BYTES,
        end if end is None or end <= length else None,
    )


def _nodes(run: Run, accepts: Accepts, found: Stalls) -> list[Node] | str:
    import numpy as np

    start = accepts.at("start")
    if start is None or start.total is None:
        return "no snapshot says what was unaccepted at the start"
    later = found.begin >= accepts.began(run)
    if not later.any() or not found.timed.all():
        return "stalls have no durations" if later.any() else "there was no stall"
    machine = ns_per_byte(accepts)
    if machine is None:
        return "no accept of this run has both its time and its memory"
    sizes = start.nodes or {UNKNOWN: start.total}
    if start.nodes and not np.isin(found.nid[later & (found.blocks > 0)], [*start.nodes]).all():
        return "of some stalls no node with a counter is known"
    nodes = []
    for nid, size in sizes.items():
        place = np.flatnonzero(later & (found.nid == nid) if start.nodes else later)
        per_byte = (ns_per_byte(accepts, nid) if start.nodes else None) or machine
        nodes.append(Node(found.begin[place], found.blocks[place], place, per_byte * BLOCK_BYTES, size))
    return nodes


_NOTES = (
    "a simulation: the same allocations at the same times, and threads that cost nobody memory bandwidth,"
    " the zone's lock or an interrupt; real gains are smaller",
)
_NAMES = (
    "budget",
    "stalls_left",
    "vanished",
    "lost_ns",
    "worst_ns",
    "cpu_ns",
    "ahead_bytes",
    "done_ns",
)
_COLUMNS = (
    Column("budget", "of a CPU", "share"),
    Column("stalls_left", "stalls", "count"),
    Column("vanished", "vanished", "share"),
    Column("lost_ns", "lost", "ns"),
    Column("worst_ns", "worst", "ns"),
    Column("cpu_ns", "CPU time", "ns"),
    Column("ahead_bytes", "for nothing", "bytes"),
    Column("done_ns", "all done", "ns"),
)
