# SPDX-License-Identifier: Apache-2.0
"""What other ways of clearing would save, each from this run's numbers and a printed assumption.

Every what-if takes the wall time W of the outermost roots of one name, with the
clearing Z inside it, and says what W would be.  They are bounds, not forecasts: the
time is moved or shared, and what that costs elsewhere is in the assumption.

pool h
    A share h of the clears finds its page cleared already: W - h Z.  Cleared by
    whom, when and at what price is not in it; nor that the page is no longer in the
    cache of the CPU that wants it.
k threads
    Clears of order 9 and up are shared by k CPUs of the memory's node, smaller ones
    are not: W - Z9 (1 - 1/k).  Amdahl's bound: memory bandwidth is taken to grow with
    k, up to the node's CPUs.  ``seen`` says how many CPUs cleared at once in this run.
on free
    init_on_free instead of init_on_alloc: what the allocator clears is cleared when
    it is freed, the same bytes at the same speed: W - Za.  The caller's own clears
    stay.
no second clear
    What the allocator cleared and the caller cleared again (redundant.py), once:
    W - Zr.
batch
    Every clear at the ns per byte of the run's clears of order 9 and up:
    W - Z + bytes x ns.  Only where the run has such clears, and they are quicker.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from memtrace.analyzer.tables import Column, Table
from memtrace.analyzer.zero.kinds import ALLOCATOR, CLEARING, FREE, Cell, cells
from memtrace.analyzer.zero.redundant import AGAIN, redundant

if TYPE_CHECKING:
    from memtrace.traces.run import RootTotal, RunHeader

HITS = (0.5, 0.9, 1.0)
THREADS = (2, 4, 8)
_LARGE = 9
"""Orders that a clear can be split at: 2 MiB with 4 KiB pages."""
_SHOWN = 4
"""Roots, those with the most clearing."""


@dataclass(frozen=True)
class Root:
    """One outermost root: ns of wall time and of clearing inside it; bytes."""

    name: str
    wall: int
    clearing: int
    large: int
    """Of orders from 9."""
    allocator: int
    again: int
    size: int


def roots(totals: Sequence[RootTotal], derive: bool) -> tuple[Root, ...]:
    """The roots whose wall and clearing times are all known, those with the most clearing first."""
    found = []
    for name in sorted({total.root for total in totals if total.root}):
        inside = [total for total in totals if total.root == name]
        clears = [total for total in inside if total.event in CLEARING and total.event != FREE]
        itself = [total for total in inside if total.event == name]
        times = [total.total_ns for total in (*clears, *itself)]
        if not clears or not itself or None in times:
            continue
        found.append(
            Root(
                name=name.removeprefix("root."),
                wall=_ns(itself),
                clearing=_ns(clears),
                large=_ns([t for t in clears if (t.order or 0) >= _LARGE]),
                allocator=_ns([t for t in clears if t.event == ALLOCATOR]),
                again=sum(r["total_ns"] or 0 for r in redundant(inside, derive) if r["why"] == AGAIN),
                size=sum(total.bytes for total in clears),
            )
        )
    return tuple(sorted(found, key=lambda root: -root.clearing))


def _ns(totals: Sequence[RootTotal]) -> int:
    return sum(total.total_ns or 0 for total in totals)


def large_ns_per_byte(totals: Sequence[RootTotal]) -> float | None:
    """ns per byte of the run's clears of order 9 and up; None without any."""
    whole = Cell()
    for (order,), cell in cells(totals, ("order",), derive=False).items():
        if isinstance(order, int) and order >= _LARGE and cell.timed:
            whole.time_ns += cell.time_ns
            whole.by_caller += cell.cleared
    return whole.time_ns / whole.cleared if whole.cleared and whole.time_ns else None


def node_cpus(header: RunHeader) -> int:
    """CPUs of the largest node; at least 1."""
    return max([len(node.cpus) for node in header.nodes] or [header.cpus], default=1) or 1


def whatifs(totals: Sequence[RootTotal], header: RunHeader, derive: bool, at_once: int | None) -> Table:
    """One row for each root and what-if that the run has the numbers for."""
    rows: list[dict[str, Any]] = []
    batch = large_ns_per_byte(totals)
    cpus = node_cpus(header)
    for root in roots(totals, derive)[:_SHOWN]:

        def row(what: str, saved: float, root: Root = root) -> None:
            then = root.wall - saved
            rows.append(
                {
                    "root": root.name,
                    "what": what,
                    "wall_ns": root.wall,
                    "saved_ns": round(saved),
                    "then_ns": round(then),
                    "speedup": root.wall / then if then > 0 else None,
                }
            )

        for h in HITS:
            row(f"pool, {h:.0%} hits", h * root.clearing)
        for k in (k for k in THREADS if k <= cpus and root.large):
            row(f"{k} threads", root.large * (1 - 1 / k))
        row("zero on free", root.allocator)
        if root.again:
            row("no second clear", root.again)
        if batch is not None and (saved := root.clearing - root.size * batch) > 0:
            row("batch", saved)
    seen = "unknown" if at_once is None else str(at_once)
    notes: tuple[str, ...] = (
        "pool: a hit costs nothing here; who clears it, when, and a colder cache are left out.",
        f"threads: large clears shared by CPUs of the node (at most {cpus} here), bandwidth grows with"
        f" them; CPUs that cleared at once in this run: {seen}.",
        "zero on free: the allocator's clears move to the free, the caller's own stay.",
        "no second clear: what allocator and caller both cleared is cleared once.",
        "batch: all clears at the speed of this run's clears of 2 MiB and more.",
    )
    if not rows:
        notes = ("no root with known wall and clearing times: record -e alloc,zero,root where sites allow.",)
    columns = (
        Column("root", "root"),
        Column("what", "what if"),
        Column("wall_ns", "wall time", "ns"),
        Column("saved_ns", "saved", "ns"),
        Column("then_ns", "then", "ns"),
        Column("speedup", "speed-up", "rate"),
    )
    names = ("root", "what", "wall_ns", "saved_ns", "then_ns", "speedup")
    return Table("whatifs", "What if", names, tuple(rows), columns, keys=2, section=True, notes=notes)
