# SPDX-License-Identifier: Apache-2.0
"""The kernel side's sums by detail: split by root, whole by process; in numpy as in plain Python."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import replace

import numpy as np
import pytest

from memtrace.probes.recorder.details import MOST_ROOTS, MOST_TASKS, NUMBERED_TASKS, Batch, Totals
from memtrace.probes.recorder.layouts import TASK, TASK_KEY
from memtrace.probes.recorder.outcome import outcome
from memtrace.probes.topics.events import NAMES
from memtrace.tests.probes.recorder import plain_totals
from memtrace.tests.probes.recorder.plain_totals import Item, TaskRow
from memtrace.tests.traces.documents import STATUS
from memtrace.traces.run import status_from_json, to_json
from memtrace.traces.totals import RootTotal, TaskTotal

ALLOC, FAULT = NAMES.index("alloc"), NAMES.index("root.fault")
TIMED = frozenset({"alloc"})
PAGE = 4096
RECORDER = 11


def detail(order: int, nid: int, bits: int, root: int = 0, within: int = 0) -> int:
    return (order & 0xFF) | (nid & 0xFFFF) << 8 | bits << 24 | root << 32 | within << 40


def item(
    tgid: int, detail: int, comm: bytes, *sums: int, shown: int | None = None, event: int = ALLOC
) -> Item:
    count, pages, ns = sums
    return Item(tgid, event, detail, comm, (count, pages, ns), tgid if shown is None else shown)


def totals() -> Totals:
    return Totals(RECORDER, TIMED, PAGE)


def batch(into: Totals, items: Iterable[Item]) -> Batch:
    """The items as the kernel side's table has them."""
    given = list(items)
    keys, values = np.zeros(len(given), TASK_KEY.dtype), np.zeros(len(given), TASK.dtype)
    for at, one in enumerate(given):
        keys[at] = (one.tgid, one.event, one.detail)
        values[at] = (one.comm, one.sums, one.shown + 1)
    return into.batch([(keys, values)])


def told(*items: Item) -> tuple[tuple[TaskTotal, ...], tuple[RootTotal, ...]]:
    """The totals of items that are held in part, and in part added for now."""
    found = totals()
    found.add(batch(found, items[::2]))
    more = batch(found, items[1::2])
    tasks, untold = found.tasks(more)
    assert untold == 0
    return tasks, found.roots(more)


def test_a_process_is_one_task_and_its_details_are_apart() -> None:
    (task,), roots = told(
        item(7, detail(0, 1, 1 | 2 | 4 | 8, FAULT + 1, FAULT + 1), b"a\0", 3, 3, 30),
        item(7, detail(9, 0, 0), b"b\0", 1, 512, 5),
    )
    assert (task.pid, task.comm, task.count, task.bytes, task.total_ns) == (7, "a", 4, 515 * PAGE, 35)
    assert (task.zeroed_count, task.zeroed_bytes, task.root, task.tracer) == (3, 3 * PAGE, "", False)
    huge, small = sorted(roots, key=lambda t: -t.bytes)
    assert (small.root, small.within, small.order, small.nid) == ("root.fault", "root.fault", 0, 1)
    assert (small.zeroed, small.asked, small.movable, small.remote) == (True, True, True, True)
    assert (huge.root, huge.order, huge.asked, huge.remote) == (None, 9, False, False)


def test_processes_are_added_and_the_recorder_is_left_out() -> None:
    tasks, (only,) = told(*(item(pid, detail(0, 0, 0), b"x", 1, 1, 10) for pid in (7, 8, RECORDER)))
    assert (only.count, only.total_ns) == (2, 20)
    assert {task.pid: task.tracer for task in tasks} == {7: False, 8: False, RECORDER: True}


def test_the_root_of_a_process_is_the_one_around_most_of_its_memory() -> None:
    faults = (item(7, detail(0, nid, 0, FAULT + 1, FAULT + 1), b"a", 3, 3, 30) for nid in (0, 1))
    (task,), _ = told(*faults, item(7, detail(2, 0, 0), b"a", 1, 4, 5))
    assert task.root == "root.fault"


def test_what_is_unknown_is_none() -> None:
    _, (fault,) = told(item(7, detail(-1, -1, 0, FAULT + 1), b"x", 1, 0, 10, event=FAULT))
    unknown = (fault.order, fault.nid, fault.remote, fault.asked, fault.total_ns)
    assert unknown == (None, None, None, None, None)


def test_nothing_is_no_total() -> None:
    assert told(item(7, 0, b"x", 0, 0, 0)) == ((), ())
    empty = totals()
    assert empty.largest(200, empty.batch([])) == ()


def test_processes_outside_the_namespace_have_one_total_per_name_and_no_number() -> None:
    outside = (
        item(n, detail(0, 0, 0), comm, 1, 2, 10, shown=-1) for n, comm in ((7, b"a"), (8, b"a"), (9, b"b"))
    )
    tasks, _ = told(
        *outside,
        item(10, detail(0, 0, 0), b"c", 1, 1, 1, shown=3),
        item(RECORDER, detail(0, 0, 0), b"memtrace", 1, 1, 1, shown=2),
    )
    assert {(t.pid, t.comm, t.count, t.bytes, t.total_ns, t.tracer) for t in tasks} == {
        (None, "a", 2, 4 * PAGE, 20, False),
        (None, "b", 1, 2 * PAGE, 10, False),
        (3, "c", 1, PAGE, 1, False),
        (2, "memtrace", 1, PAGE, 1, True),
    }


def test_a_process_keeps_its_number_when_its_last_event_had_none() -> None:
    tasks, _ = told(
        item(7, detail(0, 0, 0), b"a", 1, 1, 1, shown=3), item(7, detail(1, 0, 0), b"a", 1, 1, 1, shown=-1)
    )
    assert [(t.pid, t.count) for t in tasks] == [(3, 2)]


@pytest.mark.parametrize("shown", [None, (1 << 22) - 1, -1])
def test_a_process_may_have_the_largest_number_that_the_kernel_gives(shown: int | None) -> None:
    last = (1 << 22) - 1
    ((task,), _) = told(item(last, detail(0, 0, 0), b"a", 1, 1, 1, shown=shown))
    assert task.pid == (None if shown == -1 else last)


def row(task: TaskTotal) -> TaskRow:
    zeroed = (task.zeroed_count or 0, (task.zeroed_bytes or 0) // PAGE, task.tracer)
    return (
        *(task.event, task.pid, task.comm, task.count, task.bytes // PAGE, task.total_ns),
        *(task.root or "", *zeroed),
    )


def size(one: TaskRow | TaskTotal) -> tuple[int, int]:
    ns, memory = (one.total_ns, one.bytes // PAGE) if isinstance(one, TaskTotal) else (one[5], one[4])
    return (ns or 0, memory)


def chance(random_: random.Random, processes: int, outside: bool) -> Item:
    """An item of few names, events and details, with sums that decide (no two names or roots are level)."""
    tgid = random_.randrange(1, processes)
    # Some are outside, some have a number that others had before, and some are not told theirs at the end.
    shown = tgid if not outside else (-1, tgid + 1000, tgid % 50, random_.choice((tgid + 1000, -1)))[tgid % 4]
    bits, root = random_.choice((0, 1, 3)), random_.choice((0, FAULT + 1, ALLOC + 1))
    return item(
        tgid,
        detail(random_.choice((0, 9)), random_.randrange(2), bits, root),
        random_.choice((b"sh", b"cc1", b"as")),
        *(random_.getrandbits(40), random_.getrandbits(40), random_.getrandbits(40)),
        shown=shown,
        event=random_.choice((ALLOC, FAULT)),
    )


@pytest.mark.parametrize("outside", [False, True], ids=["one namespace", "two namespaces"])
def test_numpy_adds_up_what_plain_python_does(outside: bool) -> None:
    """Also between checkpoints, where the largest come only from what has changed."""
    random_ = random.Random(7)
    found, given = totals(), list[Item]()
    for _ in range(40):
        new = [chance(random_, 400, outside) for _ in range(random_.choice((0, 1, 50, 300)))]
        found.add(batch(found, new))
        given += new
        slots = [chance(random_, 400, outside) for _ in range(20)]
        expected = sorted(plain_totals.tasks(given + slots, TIMED, RECORDER), key=size, reverse=True)
        largest = found.largest(20, batch(found, slots))
        assert [row(task) for task in largest] == expected[:20]
        # What a CPU held in its slot has moved to a table by the next time.
        found.add(batch(found, slots))
        given += slots
    nothing = found.batch([])
    tasks, untold = found.tasks(nothing)
    assert untold == 0
    assert [row(task) for task in tasks] == expected == sorted(map(row, tasks), key=size, reverse=True)
    by_detail = plain_totals.details(given, RECORDER)
    assert {(t.event, t.count, t.bytes // PAGE) for t in found.roots(nothing)} == {
        (NAMES[event], count, pages) for (event, _), (count, pages, _) in by_detail.items()
    }


def test_a_process_is_among_the_largest_when_a_name_falls_apart() -> None:
    found = totals()
    before = [item(100 + n, 0, b"xz"[n % 2 :][:1], 100, 100, 100, shown=-1) for n in range(20)]
    found.add(batch(found, [item(5, 0, b"p", 500, 500, 500), *before]))
    (largest,) = found.largest(1, found.batch([]))
    assert (largest.pid, largest.count) == (None, 1000)
    found.add(batch(found, [replace(one, comm=b"%d" % one.tgid, sums=(101, 101, 101)) for one in before]))
    (largest,) = found.largest(1, found.batch([]))
    assert (largest.pid, largest.count) == (5, 500)


@pytest.mark.parametrize("names", [(b"cc1", b"as"), tuple(b"%d" % n for n in range(500))])
def test_of_more_processes_than_a_run_tells_the_small_ones_are_told_by_name(names: Sequence[bytes]) -> None:
    items = [item(n, 0, names[n % len(names)], n, n, n) for n in range(20, 500)]
    found = totals()
    found.add(batch(found, items))
    tasks, untold = found.tasks(found.batch([]), most=80, numbered=70)
    assert len(tasks) <= 80
    numbered = {task.pid: task.count for task in tasks if task.pid is not None}
    assert numbered == {n: n for n in range(430, 500)}
    rest: Counter[str] = Counter()
    for one in items:
        if one.tgid < 430:
            rest[one.comm.decode()] += one.sums[0]
    by_name = {task.comm: task.count for task in tasks if task.pid is None}
    assert by_name == dict(rest.most_common(len(by_name)))
    # What is in no total is counted.
    assert untold == sum(rest.values()) - sum(by_name.values())
    assert (untold > 0) == (len(names) > 80)


def test_of_too_many_details_the_small_ones_do_not_tell_the_node() -> None:
    items = [item(7, detail(0, nid, nid & 1 and 8), b"x", 1, nid, nid) for nid in range(1, 200)]
    found = totals()
    found.add(batch(found, items))
    rest, *largest = sorted(found.roots(found.batch([]), most=20), key=lambda total: total.nid or 0)
    assert {total.nid: total.bytes // PAGE for total in largest} == {nid: nid for nid in range(180, 200)}
    assert (rest.nid, rest.remote, rest.count, rest.bytes // PAGE) == (None, None, 179, sum(range(180)))


def test_names_are_cut_at_the_first_zero_byte() -> None:
    one = item(7, 0, b"a\0left over", 1, 1, 1)
    assert [task.comm for task in told(one, replace(one, comm=b"a"))[0]] == ["a"]


def test_a_run_of_all_the_totals_that_are_told_can_be_read() -> None:
    much, name = 1 << 45, "x" * 16
    long = TaskTotal(name, 1 << 21, name, much, much, much, name, much, much, tracer=False)
    root = RootTotal(name, name, name, 10, 100, False, False, False, False, much, much, much)
    status = replace(STATUS, tasks=(long,) * MOST_TASKS, roots=(root,) * MOST_ROOTS)
    text = to_json(status)
    assert status_from_json(text) == status, f"{len(text):,}"


@pytest.mark.parametrize(("processes", "missed"), [(NUMBERED_TASKS, 1), (NUMBERED_TASKS + 1, None)])
def test_a_command_that_may_be_told_by_name_only_is_not_taken_for_unseen(
    processes: int, missed: int | None
) -> None:
    other = TaskTotal("alloc", 2, "cc1", 1, PAGE, None)
    status = replace(STATUS, stopped_by="command", exit_status=0, tasks=(other,) * processes)
    assert outcome(status, (), 1, allocs=True).missed == missed
