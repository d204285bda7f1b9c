# SPDX-License-Identifier: Apache-2.0
"""The frames of a run: what lay in what, and the exclusive time of each.

streamed rows
    Nested by the ledger (ledger.py), each row in the one directly around it: the
    paths are as deep as the events nest; the steps of an acceptance are a sum
    inside it.  Self times add up to the union of the intervals, to the nanosecond.
sums by root
    Where the kernel summed occurrences, it kept for each the outermost root around
    it and the innermost.  A root is placed in the one around it where that was always
    the same inside its outermost root, else directly in the outermost.  An allocation
    lies in its innermost root, and what the allocator cleared in the allocation, as
    far as there is one of the same order, node and gfp flags for each clear: the bulk
    allocator's have none, and lie in the root itself.  Where there are both, numbers
    and bytes are exact, but their time is shared out by number (``shared``).  Self times are differences of
    sums and add up to the time of the outermost frames.  A root that was still open
    when the recording ended has less time than what lies inside: it is given that, as
    a lower bound.  Of what the run has no root of (UNPLACED), each event stands as an
    outermost one.  An interrupt's work inside an allocation is in both.

Calls of the bulk allocator and ranges (MANY) are no frames in either: sums by root do not tell what
lay in them.  Their own time is that of the root around them.
"""

from __future__ import annotations

import dataclasses
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from memtrace.analyzer.ledger import Ledger, settle_run
from memtrace.analyzer.paths import NO_PATH, Paths
from memtrace.analyzer.unknown import less, plus
from memtrace.analyzer.zero.accounts import timed_events
from memtrace.analyzer.zero.kinds import ALLOCATOR, CLEARING, MANY, UNPLACED
from memtrace.traces.schema import Flag

if TYPE_CHECKING:
    import duckdb

    from memtrace.traces.reader import Run
    from memtrace.traces.totals import RootTotal

Path = tuple[str, ...]
"""Events, the outermost first."""
_OWN_CLEAR: Path = ("alloc", ALLOCATOR)


@dataclass
class Frame:
    """All occurrences of one path."""

    path: Path
    count: int = 0
    bytes: int | None = None
    """Memory of the event itself: allocated or cleared; None for those that have none."""
    total_ns: int | None = 0
    self_ns: int | None = 0
    derived: bool = False
    """Follows from allocations."""
    at_least: bool = False
    """Some of it had not ended when the recording did."""
    shared: bool = False
    """Its times rest on a share of a sum, taken by number."""


@dataclass(frozen=True)
class Forest:
    """The frames of a run."""

    frames: tuple[Frame, ...]
    union_ns: int | None
    """Time in which any of it was open, by context; None where times are unknown."""
    whole: bool
    """Whether paths are as deep as events nest."""


def walked(run: Run, connection: duckdb.DuckDBPyConnection) -> Forest:
    """Of streamed rows."""
    import numpy as np

    events = [event for event in timed_events(run, connection) if event not in MANY]
    paths = Paths(len(events))
    ledger = Ledger(paths=paths)
    sums = np.zeros((4, 256), dtype=np.int64)
    counts, sizes, sized, selfs = range(4)
    totals = np.zeros(256, dtype=np.int64)
    settled_run = settle_run(
        run, ledger, events, connection, ("bytes", "total_ns", "count"), apart=Flag.TRACER, steps=True
    )
    for settled in settled_run if events else ():
        path = settled.path
        assert path is not None
        while len(paths) > sums.shape[1]:
            sums = np.concatenate([sums, np.zeros_like(sums)], axis=1)
            totals = np.concatenate([totals, np.zeros_like(totals)])
        size, known = settled.columns["bytes"], ~np.ma.getmaskarray(settled.columns["bytes"])
        np.add.at(sums[counts], path, np.ma.filled(settled.columns["count"], 1).astype(np.int64))
        np.add.at(sums[sizes], path, np.ma.filled(size, 0).astype(np.int64))
        np.add.at(sums[sized], path, known)
        np.add.at(sums[selfs], path, settled.self_ns)
        np.add.at(totals, path, np.ma.filled(settled.columns["total_ns"], 0).astype(np.int64))
    names = _names(paths, events)
    frames = tuple(
        Frame(
            path=name,
            count=int(sums[counts, i]),
            bytes=int(sums[sizes, i]) if sums[sized, i] else None,
            total_ns=int(totals[i]),
            self_ns=int(sums[selfs, i]),
        )
        for i, name in enumerate(names)
    )
    return Forest(tuple(f for f in frames if f.count), ledger.union_ns, whole=True)


def _names(paths: Paths, events: Sequence[str]) -> list[Path]:
    names: list[Path] = []
    for around, event in paths.steps:
        names.append((*(() if around == NO_PATH else names[around]), events[event]))
    return names


@dataclass
class _Node:
    """A root event inside one outermost root (or what lies in no root), all its places together."""

    count: int = 0
    own: int | None = 0
    """ns of its occurrences, those directly inside another of the same left out."""
    outermost: int | None = 0
    """Of that, in no other root."""
    inside: int | None = 0
    """ns of what lies directly inside."""
    around: set[str | None] = field(default_factory=set)
    leaves: dict[Path, Frame] = field(default_factory=dict)

    def leaf(self, path: Path, count: int, size: int, ns: int | None) -> None:
        """Count occurrences in; ``path`` is below this node."""
        frame = self.leaves.setdefault(path, Frame(path))
        frame.count += count
        frame.bytes = (frame.bytes or 0) + size
        frame.total_ns, frame.self_ns = plus(frame.total_ns, ns), plus(frame.self_ns, ns)
        if len(path) > 1:
            around = self.leaves.setdefault(path[:1], Frame(path[:1]))
            around.self_ns = less(around.self_ns, ns)
        else:
            self.inside = plus(self.inside, ns)


def open_ns(run: Run, connection: duckdb.DuckDBPyConnection) -> int | None:
    """Time in which any event was open, by context: the sum of the rows' own exclusive times.

    None where one is unknown, and where there are events that sums by root do not place.  Of MANY
    what lies in no root is left out.
    """
    rows = run.relation(connection, ["event", "count", "self_ns", "flags", "parent"])
    rows = rows.filter(f"(flags & {int(Flag.TRACER)}) = 0 AND count > 0")
    many = ", ".join(f"'{event}'" for event in MANY)
    rows = rows.filter(f"parent IS NOT NULL OR event NOT IN ({many})")
    placed = "event LIKE 'alloc%' OR event LIKE 'zero.%' OR event LIKE 'root.%'"
    known = f"count(*) = count(self_ns) FILTER ({placed})"
    ((whole, total),) = rows.aggregate(f"{known}, coalesce(sum(self_ns), 0)::BIGINT").fetchall()
    return int(total) if whole else None


def folded(totals: Sequence[RootTotal], derive: bool, union_ns: int | None) -> Forest:
    """Of sums by root.

    ``derive``: the allocator's clears follow from its allocations; ``union_ns``: as in Forest.
    """
    by_root: dict[str | None, list[RootTotal]] = defaultdict(list)
    for total in totals:
        if total.root == UNPLACED:
            total = dataclasses.replace(total, root=None, within=None)
        if total.event == "alloc" or total.event in CLEARING or total.event.startswith("root."):
            by_root[total.root].append(total)
    frames = [frame for root, inside in by_root.items() for frame in _frames(root, inside, derive)]
    return Forest(tuple(frames), union_ns, whole=False)


def _frames(root: str | None, totals: Sequence[RootTotal], derive: bool) -> Iterable[Frame]:
    nodes: dict[str | None, _Node] = defaultdict(_Node)
    for one in (t for t in totals if t.event.startswith("root.")):
        _place(nodes, one)
    _leaves(nodes, [t for t in totals if not t.event.startswith("root.")], derive)
    if root is not None:
        nodes.setdefault(root, _Node())
    places = {name: _where(nodes, root, name) for name in list(nodes)}
    # From the inside out: what had not ended has at least the time inside, and so has what is around it.
    for name, where in sorted(places.items(), key=lambda item: (-len(item[1]), item[1])):
        node = nodes[name]
        if name is not None:
            total = node.outermost if name == root else node.own
            own = less(node.own, node.inside)
            late = own is not None and own < 0
            if late and total is not None and own is not None:
                if len(where) > 1:
                    around = nodes[where[-2]]
                    around.inside = less(around.inside, own)
                total, own = total - own, 0
            yield Frame(where, node.count, None, total, own, at_least=late)
        for frame in node.leaves.values():
            frame.path = where + frame.path
            yield frame


def _place(nodes: dict[str | None, _Node], total: RootTotal) -> None:
    node = nodes[total.event]
    node.count += total.count
    if total.within == total.event:
        return
    node.own = plus(node.own, total.total_ns)
    node.around.add(total.within)
    if total.within is None:
        node.outermost = plus(node.outermost, total.total_ns)
    else:
        nodes[total.within].inside = plus(nodes[total.within].inside, total.total_ns)


def _where(nodes: dict[str | None, _Node], root: str | None, name: str | None) -> Path:
    """The path of a node."""
    if name is None or root is None:
        return () if name is None else (name,)
    path: list[str] = []
    while name != root:
        if name is None or name in path:
            # Round in a circle, or under none: somewhere in the outermost one.
            return (root, path[-1])
        path.insert(0, name)
        around = nodes[name].around if name in nodes else set()
        name = next(iter(around)) if len(around) == 1 else root
    return (root, *path)


def _leaves(nodes: dict[str | None, _Node], totals: Sequence[RootTotal], derive: bool) -> None:
    """Allocations and clears, in the innermost root around them."""
    served: dict[tuple[object, ...], int] = defaultdict(int)
    for total in (t for t in totals if t.event == "alloc"):
        node = nodes[total.within]
        node.leaf(("alloc",), total.count, total.bytes, total.total_ns)
        if total.zeroed and derive:
            node.leaf(_OWN_CLEAR, total.count, total.bytes, None)
            node.leaves[_OWN_CLEAR].derived = True
        elif total.zeroed:
            served[_likeness(total)] += total.count
    for total in (t for t in totals if t.event != "alloc"):
        own = min(served[_likeness(total)], total.count) if total.event == ALLOCATOR else 0
        served[_likeness(total)] -= own
        _divided(nodes[total.within], total, own)


def _divided(node: _Node, total: RootTotal, own: int) -> None:
    """Clears in a node, ``own`` of them in its allocations."""
    size = total.bytes * own // total.count
    ns = None if total.total_ns is None else total.total_ns * own // total.count
    if own:
        node.leaf(_OWN_CLEAR, own, size, ns)
    if own < total.count:
        node.leaf((total.event,), total.count - own, total.bytes - size, less(total.total_ns, ns))
    if 0 < own < total.count:
        for path in (_OWN_CLEAR, _OWN_CLEAR[:1], (total.event,)):
            node.leaves[path].shared = True


def _likeness(total: RootTotal) -> tuple[object, ...]:
    """What an allocation and its own clear have in common."""
    return total.within, total.order, total.nid, total.remote, total.asked, total.movable
