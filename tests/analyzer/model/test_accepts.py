# SPDX-License-Identifier: Apache-2.0
"""The staged tables ``accepts``, ``waits`` and ``stalls``: one row for each, whatever saw it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import pytest

from memtrace.analyzer.model.staged import model
from memtrace.tests.analyzer.accept.recorded import BLOCK, MS, PAGES, UNIT, Who, accepting, stall
from memtrace.tests.analyzer.recorded import START, Case, Row, streamed
from memtrace.traces.reader import Run
from memtrace.traces.schema import Flag

Ask = Callable[..., list[tuple[Any, ...]]]


@pytest.fixture
def ask(run_of: Callable[[Case], Run]) -> Ask:
    """What a query gives over the staged tables of a run of these rows."""

    def make(rows: Sequence[Row], sql: str) -> list[tuple[Any, ...]]:
        with model(run_of(accepting(rows))) as made:
            made.need("accepts", "stalls")
            return [tuple(row.values()) for row in made.query(sql)]

    return make


def stamp(event: str, at: int, **columns: Any) -> Row:
    """One stamp of a function, of which a trace has no other."""
    row = streamed(event, None, None, ts_ns=at, pfn=None, nid=None, pid=None, tid=7, bytes=None)
    return row | {"flags": int(Flag.IMPORTED)} | columns


def estimated(at: int, took: int, **columns: Any) -> Row:
    """A call from its entry to what follows its return."""
    return stamp("accept.call", at + took) | {
        "dur_ns": took,
        "total_ns": took,
        "self_ns": took,
        "flags": int(Flag.IMPORTED | Flag.ESTIMATED | Flag.VICTIM),
        **columns,
    }


@pytest.mark.parametrize(
    ("levels", "event", "work", "took", "worked"),
    [
        (
            ("accept.block", "accept.call", "accept.arch"),
            "accept.block",
            "accept.arch",
            2 * MS + 2000,
            2 * MS,
        ),
        (("accept.block", "accept.call"), "accept.block", "accept.call", 2 * MS + 2000, 2 * MS + 1000),
        (("accept.call", "accept.arch"), "accept.call", "accept.arch", 2 * MS + 1000, 2 * MS),
        (("accept.arch",), "accept.arch", "accept.arch", 2 * MS, 2 * MS),
        (("alloc", "accept.burst"), "accept.burst", "accept.burst", 2 * MS + 4000, 2 * MS + 4000),
    ],
)
def test_several_events_that_see_one_acceptance_are_one(
    levels: tuple[str, ...], event: str, work: str, took: int, worked: int, ask: Ask
) -> None:
    rows = stall(START + MS, levels=levels)
    sql = "SELECT event, work_event, dur_ns, work_ns, range_bytes, time FROM accepts"
    assert ask(rows, sql) == [
        (event, work, took, worked, BLOCK if event != "accept.arch" else 2 * UNIT, "exact")
    ]


def test_a_burst_is_not_an_acceptance_beside_its_blocks(ask: Ask) -> None:
    rows = stall(START + MS, (3, 2, 2))
    assert ask(rows, "SELECT count(*), sum(bytes)::BIGINT, sum(range_bytes)::BIGINT FROM accepts") == [
        (3, 7 * UNIT, 3 * BLOCK)
    ]
    # Three blocks of 3, 2 and 2 ms with 2 us around each, and 2 us of the burst.
    sql = 'SELECT accepts, blocks, bytes, lost_ns, "order", held, request FROM stalls'
    assert ask(rows, sql) == [(3, 3, 7 * UNIT, 7 * MS + 8000, 0, True, True)]


def test_a_range_that_the_platform_accepts_in_parts_is_one_acceptance(ask: Ask) -> None:
    rows = stall(START + MS)
    (arch,) = (row for row in rows if row["event"] == "accept.arch")
    half = arch | {"dur_ns": MS - 100, "total_ns": MS - 100, "self_ns": MS - 100, "bytes": UNIT}
    rows[rows.index(arch)] = half | {"ts_ns": arch["ts_ns"] - MS}
    rows.append(half | {"pfn": arch["pfn"] + PAGES // 2})
    sql = "SELECT count(*), any_value(work_ns), any_value(bytes) FROM accepts"
    assert ask(rows, sql) == [(1, 2 * MS - 200, 2 * UNIT)]


def test_entries_of_blocks_belong_to_the_calls_that_follow_them(ask: Ask) -> None:
    rows = []
    for i in range(3):
        at = START + 100 * i * MS
        rows += [stamp("accept.block", at, bytes=BLOCK), estimated(at + 5000, 2 * MS)]
    # A call that no block asked for: of memblock, or a kexec image.
    rows.append(estimated(START + 400 * MS, 3000))
    sql = "SELECT event, queued, dur_ns, work_ns, range_bytes, time FROM accepts ORDER BY number"
    block = ("accept.block", True, 2 * MS + 5000, 2 * MS, BLOCK, "estimated")
    assert ask(rows, sql) == [block, block, block, ("accept.call", False, 3000, 3000, None, "estimated")]
    assert ask(rows, "SELECT sum(accepts)::INT, count(*) FROM stalls") == [(4, 4)]


def test_returns_of_blocks_belong_to_the_calls_before_them(ask: Ask) -> None:
    rows = []
    for i in range(3):
        at = START + 100 * i * MS
        rows += [estimated(at, 2 * MS, flags=int(Flag.IMPORTED)), stamp("accept.block", at + 2 * MS + 5000)]
    sql = "SELECT event, dur_ns, time FROM accepts"
    assert ask(rows, sql) == [("accept.block", 2 * MS + 5000, "at least")] * 3


def test_entries_alone_are_one_acceptance_without_a_length(ask: Ask) -> None:
    rows = []
    for i in range(4):
        at = START + 100 * i * MS
        rows += [stamp("accept.block", at, bytes=BLOCK), stamp("accept.call", at + 3000, tid=7)]
    rows += [stamp("accept.call", START + 5 * MS, tid=8)]
    sql = "SELECT event, count(*), count(dur_ns), any_value(time) FROM accepts GROUP BY ALL ORDER BY ALL"
    assert ask(rows, sql) == [("accept.block", 4, 0, None), ("accept.call", 1, 0, None)]


def test_threads_at_once_and_idle_cpus_are_told_apart(ask: Ask) -> None:
    rows = []
    for cpu in (0, 1):
        rows += [
            stamp("accept.block", START + MS + cpu, tid=0, cpu=cpu, bytes=BLOCK),
            estimated(START + MS + 10 + cpu, 2 * MS, tid=0, cpu=cpu),
        ]
    rows += stall(START + MS, who=Who(pid=5, cpu=1)) + stall(START + MS + 1, who=Who(pid=6, cpu=0))
    assert ask(rows, "SELECT count(*), count(DISTINCT held) FROM accepts") == [(4, 4)]
    assert ask(rows, "SELECT accepts, blocks FROM stalls") == [(1, 1)] * 4


def test_an_interrupts_acceptance_inside_another_is_its_own(ask: Ask) -> None:
    outer, inner = stall(START + MS, per_unit=10 * MS), stall(START + 5 * MS, per_unit=MS, pfn=1 << 17)
    rows = [row for row in outer if row["event"] in ("accept.block", "accept.call")]
    rows += [row for row in inner if row["event"] in ("accept.block", "accept.call", "accept.arch")]
    sql = "SELECT pfn, work_event, bytes FROM accepts ORDER BY number"
    assert ask(rows, sql) == [(1 << 16, "accept.call", 2 * UNIT), (1 << 17, "accept.arch", 2 * UNIT)]
    # The thread was kept once: the inner one's time is in the outer one's.
    assert ask(rows, "SELECT accepts, lost_ns FROM stalls") == [(2, 20 * MS + 2000)]


def test_a_call_that_accepted_nothing_is_one_of_no_bytes(ask: Ask) -> None:
    (call,) = (row for row in stall(START + 50 * MS, (0,)) if row["event"] == "accept.call")
    rows = [*stall(START + MS), call | {"parent": None}]
    sql = "SELECT work_event, bytes, queued FROM accepts ORDER BY number"
    assert ask(rows, sql) == [("accept.arch", 2 * UNIT, True), ("accept.call", 0, False)]


def test_failed_attempts_and_sums_are_no_acceptances(ask: Ask) -> None:
    rows = stall(START + MS, flags=int(Flag.FAILED)) + stall(START + 9 * MS, flags=int(Flag.AGGREGATED))
    assert ask(rows, "SELECT count(*) FROM accepts") == [(0,)]
    assert ask([], "SELECT count(*) FROM stalls") == [(0,)]


def test_a_block_whose_burst_was_lost_is_still_a_stall(ask: Ask) -> None:
    rows = [row for row in stall(START + MS) if row["event"] in ("accept.block", "accept.call")]
    assert ask(rows, "SELECT accepts, lost_ns, held, request FROM stalls") == [
        (1, 2 * MS + 2000, False, False)
    ]


def test_the_recorders_own_are_marked(ask: Ask) -> None:
    rows = stall(START + MS, flags=int(Flag.TRACER)) + stall(START + 9 * MS)
    assert ask(rows, "SELECT own FROM accepts ORDER BY number") == [(True,), (False,)]
    assert ask(rows, "SELECT own FROM stalls ORDER BY number") == [(True,), (False,)]
