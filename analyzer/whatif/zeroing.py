# SPDX-License-Identifier: Apache-2.0
"""What other ways of clearing would save, each from this run's numbers and a printed assumption.

Every what-if takes the wall time W of the outermost roots of one name, with the
clearing Z inside it, and says what W would be.  They are bounds, not forecasts: the
time is moved or shared, and what that costs elsewhere is in the assumption.

W is the roots' wall time less what tracing adds around each page cleared, where
that can be told (tracing_ns): a clear that is not made is not traced either.

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
    Every clear at the ns per byte of the run's clears of order 9 and up, those by the
    same clearer if it made any: W - Z + bytes x ns.  Only where the run has such
    clears, and they are quicker by a hundredth or more.

``at_least``: some clears inside have no known time, or none was seen of them (they follow
from gfp flags, or their site is missing): Z, and what is saved with it, is a lower bound.
``zero on free`` is left out where it is the allocator's clears that have none.

``checked``: whether docs/what-if.md sets predictions of this kind beside runs of a kernel
that does it that way, for the roots where one can be made, as tests/vm/test_whatif.py does
for every change of this file.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import inf
from typing import TYPE_CHECKING, Any

from memtrace.analyzer.cells import PAGE
from memtrace.analyzer.tables import Column, Row, Table
from memtrace.analyzer.zero.clearing import Inside
from memtrace.analyzer.zero.kinds import ALLOCATOR, CLEARING, FREE, UNPLACED, Counted
from memtrace.analyzer.zero.redundant import AGAIN, redundant

if TYPE_CHECKING:
    from memtrace.traces.run import RunHeader
    from memtrace.traces.totals import RootTotal

HITS = (0.5, 0.9, 1.0)
THREADS = (2, 4, 8)
_LARGE = 9
"""Orders that a clear can be split at: 2 MiB with 4 KiB pages."""
_SEVERAL = 4
"""Orders whose allocations are short beside the tracing of their pages."""
_PAGEWISE = "callsite:clear_page"
_PAGEWISE_EVENTS = (ALLOCATOR, "zero.page")
FREED = "zero on free"
_ALWAYS = (FREED,)
_WORTH = 0.01
"""Share of the clearing below which a saving is noise."""
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
    allocator: int | None
    """None where not all of it is known."""
    again: int
    sizes: dict[str, int]
    """Bytes cleared in ``clearing``, by event."""
    at_least: bool
    """Clearing is a lower bound."""


def roots(totals: Sequence[RootTotal], derive: bool, counted: Counted) -> tuple[Root, ...]:
    """The roots with a known wall time and some known clearing time, those with the most of it first.

    None where some of the run has no known root: neither time would be whole.
    """
    found: list[Root] = []
    if any(total.root == UNPLACED for total in totals):
        return ()
    for name in sorted({total.root for total in totals if total.root}):
        inside = [total for total in totals if total.root == name]
        here = Inside([total for total in inside if total.event != FREE], derive, counted)
        clears = [t for t in here.totals if t.event in CLEARING and t.total_ns is not None]
        itself = [total for total in inside if total.outermost]
        if not clears or not itself or None in [total.total_ns for total in itself]:
            continue
        own = [total for total in inside if total.event == ALLOCATOR]
        known = counted.allocator and not here.derived and None not in [t.total_ns for t in own]
        found.append(
            Root(
                name=name.removeprefix("root."),
                wall=_ns(itself),
                clearing=_ns(clears),
                large=_ns([t for t in clears if (t.order or 0) >= _LARGE]),
                allocator=_ns(own) if known else None,
                again=sum(
                    r["total_ns"] or 0 for r in redundant(inside, derive, counted) if r["why"] == AGAIN
                ),
                sizes={e: sum(t.bytes for t in clears if t.event == e) for e in CLEARING},
                at_least=not here.timed,
            )
        )
    return tuple(sorted(found, key=lambda root: -root.clearing))


def _ns(totals: Sequence[RootTotal]) -> int:
    return sum(total.total_ns or 0 for total in totals)


def large_ns_per_byte(totals: Sequence[RootTotal]) -> dict[str, float]:
    """ns per byte of the run's clears of order 9 and up, by event; empty without any."""
    large = [t for t in totals if t.event in CLEARING and (t.order or 0) >= _LARGE]
    rates: dict[str, float] = {}
    for event in CLEARING:
        same = [t for t in large if t.event == event] or large
        size = sum(total.bytes for total in same)
        if size and _ns(same) and None not in [total.total_ns for total in same]:
            rates[event] = _ns(same) / size
    return rates


def tracing_ns(totals: Sequence[RootTotal], header: RunHeader) -> float | None:
    """ns that tracing adds to each page cleared, outside of the measured clear; None if unknown.

    With a pair of probes around the clear of each page, an allocation of many pages is
    little else than clears and their probes: what it took less what its clears took,
    over its pages.  Of probes around the clears of a whole allocation there is one
    pair, and nothing to tell it by; nor where memory was accepted in between.
    """
    if not any(s.event == ALLOCATOR and s.site == _PAGEWISE for s in header.manifest):
        return None
    several = [t for t in totals if (t.order or 0) >= _SEVERAL and t.zeroed]
    whole = [t for t in several if t.event == "alloc"]
    clears = [t for t in several if t.event == ALLOCATOR]
    size = sum(total.bytes for total in clears)
    accepted = any(total.event.startswith("accept.") for total in totals)
    if not size or accepted or size != sum(total.bytes for total in whole):
        return None
    if None in [total.total_ns for total in (*whole, *clears)]:
        return None
    return max(_ns(whole) - _ns(clears), 0) * PAGE / size


def node_cpus(header: RunHeader) -> int:
    """CPUs of the largest node; at least 1."""
    return max([len(node.cpus) for node in header.nodes] or [header.cpus], default=1) or 1


def whatifs(
    totals: Sequence[RootTotal], header: RunHeader, derive: bool, counted: Counted, at_once: int | None
) -> Table:
    """One row for each root and what-if that the run has the numbers for."""
    rows: list[dict[str, Any]] = []
    batch = large_ns_per_byte(totals)
    around = tracing_ns(totals, header)
    cpus = node_cpus(header)
    for root in roots(totals, derive, counted)[:_SHOWN]:
        probed = sum(root.sizes[event] for event in _PAGEWISE_EVENTS)
        wall = max(root.wall - (around or 0.0) * probed / PAGE, root.clearing)
        at_large = sum(size * batch.get(event, inf) for event, size in root.sizes.items() if size)
        scenarios = [
            *((f"pool, {h:.0%} hits", h * root.clearing, True) for h in HITS),
            *((f"{k} threads", root.large * (1 - 1 / k), False) for k in THREADS if k <= cpus),
            *(((FREED, root.allocator, True),) if root.allocator is not None else ()),
            ("no second clear", root.again, True),
            ("batch", root.clearing - at_large, False),
        ]
        for what, saved, checked in scenarios:
            if saved < _WORTH * root.clearing and what not in _ALWAYS:
                continue
            rows.append(
                {
                    "root": root.name,
                    "what": what,
                    "wall_ns": round(wall),
                    "saved_ns": round(saved),
                    "then_ns": round(wall - saved),
                    "speedup": wall / (wall - saved) if wall > saved else None,
                    "checked": checked,
                    "at_least": root.at_least,
                }
            )
    columns = (
        Column("root", "root"),
        Column("what", "what if"),
        Column("wall_ns", "wall time", "ns"),
        Column("saved_ns", "saved", "ns", _bound),
        Column("then_ns", "then", "ns", lambda row: "" if row["checked"] else "?"),
        Column("speedup", "speed-up", "rate", _bound),
    )
    names = ("root", "what", "wall_ns", "saved_ns", "then_ns", "speedup", "checked", "at_least")
    notes: tuple[str, ...] = (_NOTHING,)
    if rows:
        free = any(row["what"] == FREED for row in rows)
        notes = (*_notes(around, cpus, at_once, free), _beside(rows))
    if any(row["at_least"] for row in rows):
        notes = (_PART, *notes)
    return Table("whatifs", "What if", names, tuple(rows), columns, keys=2, section=True, notes=notes)


_PART = "> saved: not all clearing has a known time; more of it would be saved, and then is at most that."
_NOTHING = "no root with known wall and clearing times: record -e alloc,zero,root where sites allow."


def _bound(row: Row) -> str:
    return ">" if row["at_least"] else ""


def _notes(around: float | None, cpus: int, at_once: int | None, free: bool) -> tuple[str, ...]:
    seen = "unknown" if at_once is None else str(at_once)
    traced = "what tracing adds around each clear is in wall time and then: it could not be told."
    if around is not None:
        traced = f"wall time: less the {around:.0f} ns that tracing adds around each page cleared."
    return (
        traced,
        "pool: a hit costs nothing here; who clears it, when, and a colder cache are left out.",
        f"threads: large clears shared by CPUs of the node (at most {cpus} here), bandwidth grows with"
        f" them; CPUs that cleared at once in this run: {seen}.",
        "zero on free: the allocator's clears move to the free, the caller's own stay."
        if free
        else "zero on free: unknown, the allocator's clears have no known time.",
        "no second clear: what allocator and caller both cleared is cleared once.",
        "batch: all clears at the speed of this run's clears of 2 MiB and more; with a probe around"
        " each page, small clears look slower than they are.",
    )


def _beside(rows: Sequence[dict[str, Any]]) -> str:
    real = "set beside real runs, in emulated guests and for some roots (docs/what-if.md)"
    if all(row["checked"] for row in rows):
        return f"predictions of these kinds were {real}."
    return f"? nothing of this kind was set beside a real run; the others were {real}."
