# SPDX-License-Identifier: Apache-2.0
"""Exclusive time, against a stack machine that runs one event after the other."""

from __future__ import annotations

import random
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pytest

from memtrace.analyzer.ledger import Intervals, Ledger, Settled, contexts
from memtrace.analyzer.nesting import nest

FAULT, ALLOC, ZERO, POPULATE = range(4)
ROOTS = (FAULT, POPULATE)


def ints(*values: int) -> Any:
    return np.array(values, dtype=np.int64)


def test_an_interval_lies_in_the_shortest_around_it() -> None:
    nested = nest(ints(2, 1, 0, 20), ints(3, 5, 10, 30), ints(7, 7, 7, 7))
    assert nested.parent.tolist() == [1, 2, -1, -1]
    assert nested.self_ns.tolist() == [1, 3, 6, 10]


def test_contexts_do_not_mix() -> None:
    nested = nest(ints(2, 1, 0), ints(3, 5, 10), ints(7, 8, 7))
    assert nested.parent.tolist() == [2, -1, -1]
    assert nested.self_ns.tolist() == [1, 4, 9]


def test_of_equal_intervals_the_later_one_is_around() -> None:
    nested = nest(ints(1, 1, 1), ints(4, 4, 4), ints(0, 0, 0))
    assert nested.parent.tolist() == [1, 2, -1]
    assert nested.self_ns.tolist() == [3, 0, 0]


def test_at_one_end_the_shorter_is_inside_in_whatever_order_they_come() -> None:
    nested = nest(ints(1, 3, 2), ints(9, 9, 9), ints(0, 0, 0))
    assert nested.parent.tolist() == [-1, 2, 0]
    assert (nested.self_ns.tolist(), nested.crossing) == ([1, 6, 1], 0)


def test_crossing_intervals_are_cut_and_counted_and_still_sum_to_their_union() -> None:
    nested = nest(ints(0, 5, 6), ints(10, 20, 15), ints(0, 0, 0))
    assert nested.crossing == 1
    assert nested.self_ns.tolist() == [10, 5, 5]
    assert nested.length[nested.parent < 0].sum() == 20


def test_nothing_is_nothing() -> None:
    assert nest(ints(), ints(), ints()).self_ns.tolist() == []


def test_times_and_contexts_too_large_for_one_key_are_ranked() -> None:
    start = ints(1 << 61, 0, 5)
    nested = nest(start, start + ints(10, 1 << 62, 3), ints(1 << 40, 1 << 40, 3))
    assert nested.parent.tolist() == [1, -1, -1]
    assert nested.self_ns.tolist() == [10, (1 << 62) - 10, 3]


def test_idle_cpus_are_contexts_of_their_own() -> None:
    context = contexts(ints(0, 0, 17, 17), ints(0, 1, 0, 1))
    assert len(set(context.tolist())) == 3
    assert context[2] == context[3]


# A generated trace


@dataclass
class Call:
    """An interval under way."""

    event: int
    start: int
    child_ns: int = 0
    lost: bool = False


@dataclass
class Machine:
    """CPUs that run threads, which call, return, are interrupted, preempted and moved."""

    seed: int
    threads: int = 5
    cpus: int = 3
    now: int = 1000
    stacks: dict[int, list[Call]] = field(default_factory=dict)
    rows: list[tuple[int, ...]] = field(default_factory=list)
    """start, end, tid, cpu, event, self, parent, root, within"""
    missed: int = 0
    interrupts: int = 0
    switches: int = 0

    def run(self, steps: int) -> None:
        rng = random.Random(self.seed)
        on = list(range(1, self.cpus + 1))
        for _ in range(steps):
            cpu = rng.randrange(self.cpus)
            self.now += rng.choice((0, 1, 1, 2, 7, 100))
            action = rng.random()
            if action < 0.06:
                idle = [t for t in range(self.threads + 1) if t == 0 or t not in on]
                on[cpu] = rng.choice(idle)
                self.switches += 1
                continue
            stack = self.stacks.setdefault(on[cpu] or -1 - cpu, [])
            if action < 0.5 and len(stack) < 7:
                # An interrupt's calls come on top of whatever the thread was in.
                self.interrupts += bool(stack) and rng.random() < 0.1
                stack.append(Call(rng.choice((FAULT, ALLOC, ALLOC, ZERO, POPULATE)), self.now))
                stack[-1].lost = rng.random() < 0.03
            elif stack:
                self.leave(stack, on[cpu], cpu)
        for key, stack in self.stacks.items():
            while stack:
                self.now += 1
                self.leave(stack, max(key, 0), -1 - key if key < 0 else 0)

    def leave(self, stack: list[Call], tid: int, cpu: int) -> None:
        call = stack.pop()
        around = [other for other in stack if not other.lost]
        if call.lost:
            # No row: what was inside belongs to what is around.
            self.missed += 1
            if around:
                around[-1].child_ns += call.child_ns
            return
        length = self.now - call.start
        if around:
            around[-1].child_ns += length
        parent = around[-1].event if around else -1
        roots = [c.event for c in (*around, call) if c.event in ROOTS]
        within = (-1, *(c.event for c in around if c.event in ROOTS))[-1]
        own = length - call.child_ns
        row = (call.start, self.now, tid, cpu, call.event, own, parent, (*roots, -1)[0], within)
        self.rows.append(row)


@pytest.fixture(params=range(4))
def machine(request: pytest.FixtureRequest) -> Machine:
    made = Machine(int(request.param))
    made.run(12_000)
    assert made.missed > 50
    assert made.interrupts > 50
    assert made.switches > 50
    return made


def intervals(rows: Any) -> Intervals:
    start, end, tid, cpu, event = (np.ascontiguousarray(rows[:, i]) for i in range(5))
    return Intervals(start, end, contexts(tid, cpu), event, {"row": rows})


def check(settled: list[Settled], rows: Any) -> None:
    found = np.concatenate([s.columns["row"] for s in settled])
    said = np.column_stack(
        [
            np.concatenate([getattr(s, name) for s in settled])
            for name in ("self_ns", "parent", "root", "within")
        ]
    )
    assert len(found) == len(rows)
    # Intervals of no length at one moment are told apart by nothing.
    clear = found[:, 0] < found[:, 1]
    assert (said[clear] == found[clear][:, 5:9]).all()
    assert said[~clear][:, 0].sum() == 0


def union(rows: Any) -> int:
    total = 0
    context = contexts(rows[:, 2], rows[:, 3])
    for one in set(context.tolist()):
        reached = 0
        for start, end in sorted(rows[context == one][:, :2].tolist()):
            total += max(end - max(start, reached), 0)
            reached = max(reached, end)
    return total


def test_a_generated_trace_settles_as_the_machine_ran(machine: Machine) -> None:
    rows = np.array(machine.rows)
    ledger = Ledger(ROOTS)
    settled = ledger.settle(intervals(rows), None)
    check([settled], rows)
    assert ledger.crossing == 0
    assert settled.self_ns.sum() == ledger.union_ns == union(rows)


def test_stretches_of_any_length_give_the_same(machine: Machine) -> None:
    rows = np.array(machine.rows)
    for pieces in (2, 7, 100):
        bounds = [int(t) for t in np.linspace(rows[:, 1].min(), rows[:, 1].max(), pieces + 1)[1:-1]]
        ledger = Ledger(ROOTS)
        settled = []
        for since, until in zip([*bounds[::-1], None], [None, *bounds[::-1]], strict=True):
            end = rows[:, 1]
            here = (end > (since or 0)) & (end <= (until or 1 << 60))
            settled.append(ledger.settle(intervals(rows[here]), since))
        check(settled, rows)
        assert ledger.union_ns == union(rows)


def test_buffers_read_one_cpu_after_the_other_give_the_same(machine: Machine) -> None:
    rows = np.array(machine.rows)
    rows = rows[np.argsort(rows[:, 3], kind="stable")]
    ledger = Ledger(ROOTS)
    settled = ledger.settle(intervals(rows), None)
    assert settled.self_ns.sum() == ledger.union_ns == union(rows)
    assert ledger.crossing == 0
