# SPDX-License-Identifier: Apache-2.0
"""The kernel side's sums by detail: split by root, whole by process."""

from __future__ import annotations

from memtrace.probes.recorder.details import Totals
from memtrace.probes.topics.events import NAMES

ALLOC, FAULT = NAMES.index("alloc"), NAMES.index("root.fault")
TIMED = frozenset({"alloc"})


def detail(order: int, nid: int, bits: int, root: int = 0, within: int = 0) -> int:
    return (order & 0xFF) | (nid & 0xFFFF) << 8 | bits << 24 | root << 32 | within << 40


def test_a_process_is_one_task_and_its_details_are_apart() -> None:
    totals = Totals()
    totals.add(7, ALLOC, detail(0, 1, 1 | 2 | 4 | 8, FAULT + 1, FAULT + 1), b"a\0", (3, 3, 30), 7)
    totals.add(7, ALLOC, detail(9, 0, 0), b"b\0", (1, 512, 5), 7)
    (task,) = totals.tasks(TIMED, 4096, recorder=0)
    assert (task.pid, task.comm, task.count, task.bytes, task.total_ns) == (7, "a", 4, 515 * 4096, 35)
    assert (task.zeroed_count, task.zeroed_bytes, task.root, task.tracer) == (3, 3 * 4096, "", False)
    huge, small = sorted(totals.roots(TIMED, 4096, without=0), key=lambda t: -t.bytes)
    assert (small.root, small.within, small.order, small.nid) == ("root.fault", "root.fault", 0, 1)
    assert (small.zeroed, small.asked, small.movable, small.remote) == (True, True, True, True)
    assert (huge.root, huge.order, huge.asked, huge.remote) == (None, 9, False, False)


def test_processes_are_added_and_the_recorder_is_left_out() -> None:
    totals = Totals()
    for pid in (7, 8, 9):
        totals.add(pid, ALLOC, detail(0, 0, 0), b"x", (1, 1, 10), pid)
    (only,) = totals.roots(TIMED, 4096, without=9)
    assert (only.count, only.total_ns) == (2, 20)
    tasks = totals.tasks(TIMED, 4096, recorder=9)
    assert {task.pid: task.tracer for task in tasks} == {7: False, 8: False, 9: True}


def test_the_root_of_a_process_is_the_one_around_most_of_its_memory() -> None:
    totals = Totals()
    for nid in (0, 1):
        totals.add(7, ALLOC, detail(0, nid, 0, FAULT + 1, FAULT + 1), b"a", (3, 3, 30), 7)
    totals.add(7, ALLOC, detail(2, 0, 0), b"a", (1, 4, 5), 7)
    (task,) = totals.tasks(TIMED, 4096, recorder=0)
    assert task.root == "root.fault"


def test_what_is_unknown_is_none() -> None:
    totals = Totals()
    totals.add(7, FAULT, detail(-1, -1, 0, FAULT + 1), b"x", (1, 0, 10), 7)
    (fault,) = totals.roots(TIMED, 4096, without=0)
    assert (fault.order, fault.nid, fault.remote, fault.asked, fault.total_ns) == (
        None,
        None,
        None,
        None,
        None,
    )


def test_nothing_is_no_total() -> None:
    totals = Totals()
    totals.add(7, ALLOC, 0, b"x", (0, 0, 0), 7)
    assert (totals.tasks(TIMED, 4096, recorder=0), totals.roots(TIMED, 4096, without=0)) == ((), ())


def test_processes_outside_the_namespace_have_one_total_per_name_and_no_number() -> None:
    totals = Totals()
    for pid, comm in ((7, b"a"), (8, b"a"), (9, b"b")):
        totals.add(pid, ALLOC, detail(0, 0, 0), comm, (1, 2, 10), -1)
    totals.add(10, ALLOC, detail(0, 0, 0), b"c", (1, 1, 1), 3)
    totals.add(11, ALLOC, detail(0, 0, 0), b"memtrace", (1, 1, 1), 2)
    found = {
        (t.pid, t.comm, t.count, t.bytes, t.total_ns, t.tracer)
        for t in totals.tasks(TIMED, 4096, recorder=11)
    }
    assert found == {
        (None, "a", 2, 4 * 4096, 20, False),
        (None, "b", 1, 2 * 4096, 10, False),
        (3, "c", 1, 4096, 1, False),
        (2, "memtrace", 1, 4096, 1, True),
    }


def test_a_process_keeps_its_number_when_its_last_event_had_none() -> None:
    totals = Totals()
    totals.add(7, ALLOC, detail(0, 0, 0), b"a", (1, 1, 1), 3)
    totals.add(7, ALLOC, detail(1, 0, 0), b"a", (1, 1, 1), -1)
    assert [(t.pid, t.count) for t in totals.tasks(TIMED, 4096, recorder=0)] == [(3, 2)]
