# SPDX-License-Identifier: Apache-2.0
"""Clearing by frame: a tree with exact sums, and what is said where a run does not bear it out."""

from __future__ import annotations

import dataclasses
import functools
import random
from collections import Counter

import pytest

from memtrace.analyzer.ledger import settle_run
from memtrace.analyzer.zero.by import frames
from memtrace.analyzer.zero.by.frames import folded
from memtrace.tests.analyzer.cases import CASES
from memtrace.tests.analyzer.recorded import START, Case, Row, between, header, status, streamed, total
from memtrace.tests.analyzer.zero.by.tables import HUGE, RunOf, frames_of, main, notes
from memtrace.traces.schema import Flag
from memtrace.traces.totals import RootTotal


def test_a_stream_is_a_tree_of_every_frame(run_of: RunOf) -> None:
    assert frames_of(run_of("clears")) == {
        "root.fault": (2, None, HUGE + 4096, 5600, 400),
        "root.fault > root.thp_fault": (1, None, HUGE, 4800, 1200),
        "root.fault > root.thp_fault > zero.user": (1, HUGE, HUGE, 3000, 3000),
        "root.fault > root.thp_fault > alloc": (1, HUGE, 0, 600, 600),
        "root.fault > alloc": (1, 4096, 4096, 400, 300),
        "root.fault > alloc > zero.alloc": (1, 4096, 4096, 100, 100),
        "root.populate": (1, None, 4096, 1000, 200),
        "root.populate > root.fault": (1, None, 4096, 800, 400),
        "root.populate > root.fault > alloc": (1, 4096, 4096, 400, 200),
        "root.populate > root.fault > alloc > zero.alloc": (1, 4096, 4096, 200, 200),
        "root.vmalloc": (1, None, 4096, 100, 50),
        "root.vmalloc > zero.alloc": (1, 4096, 4096, 50, 50),
    }


def test_a_tree_is_drawn_from_the_outside_in_with_shares_of_the_outermost(run_of: RunOf) -> None:
    rows = main(run_of("clears"), "tree").rows
    assert [(row["frame"], row["depth"]) for row in rows[:3]] == [
        ("fault", 1),
        (". thp_fault", 2),
        (". . zero.user", 3),
    ]
    assert [row["share"] for row in rows[:3]] == pytest.approx([1, 4800 / 5600, 3000 / 5600])


def test_self_times_add_up_to_the_union(run_of: RunOf) -> None:
    for case, union in (("clears", 1000 + 600 + 5000 + 100), ("clears-summed", 679_000)):
        run = run_of(case)
        assert sum(row["self_ns"] for row in main(run, "tree").rows) == union
        assert "all time in which a frame was open" in notes(run, "tree")


class Machine:
    """Nested calls of threads at random, each row written as it ends, and what a tree must say of them."""

    def __init__(self, seed: int) -> None:
        self._random = random.Random(seed)
        self.rows: list[Row] = []
        self.frames: dict[tuple[str, ...], Counter[str]] = {}
        self.tasks: Counter[tuple[str, int, int]] = Counter()
        self.roots: dict[tuple[str, int, int], Counter[str]] = {}
        for number in range(60):
            self._thread = (f"task{number % 3}", 500 + number % 5, 600 + number % 7)
            self._call((), START + number * 100_000, 60_000)
        self.rows.sort(key=lambda row: row["ts_ns"])

    def _call(self, around: tuple[str, ...], begin: int, room: int) -> int:
        """One call in ``room`` ns from ``begin``; returns its length."""
        pick = self._random
        inner = len(around) > 4 or room < 400
        event = pick.choice(
            ("zero.alloc", "zero.user")
            if inner
            else ("root.fault", "root.populate", "root.page_table", "alloc", "alloc", "zero.user")
        )
        path = (*around, event)
        at, inside = begin + pick.randint(1, 50), 0
        while not inner and pick.random() < 0.7 and at + 300 < begin + room:
            took = self._call(path, at, (begin + room - at) // 2)
            inside += took
            at += took + pick.randint(1, 50)
        length = at + pick.randint(1, 50) - begin
        comm, pid, tid = self._thread
        who = {"comm": comm, "pid": pid, "tid": tid, "cgroup": f"/{comm}"}
        order = None if event.startswith("root.") else pick.choice((0, 0, 3))
        self.rows.append(
            between(event, begin - START, begin - START + length, length - inside, order=order, **who)
        )
        size = 0 if order is None else 4096 << order
        sums = self.frames.setdefault(path, Counter())
        sums.update(count=1, bytes=size, total=length, self=length - inside)
        if event.startswith("zero."):
            self.tasks[self._thread] += size
            root = next((name for name in path if name.startswith("root.")), "none")
            self.roots.setdefault(self._thread, Counter())[root] += size
        return length


@pytest.mark.parametrize("chunk", [100, 1 << 18])
@pytest.mark.parametrize("seed", range(2))
def test_a_generated_stream_has_the_tree_and_the_tasks_that_made_it(
    seed: int, chunk: int, run_of: RunOf, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(frames, "settle_run", functools.partial(settle_run, chunk=chunk))
    made = Machine(seed)
    run = run_of(Case(made.rows, header("alloc", stream_all=True), status()))
    table = main(run, "tree")
    found = {tuple(row["path"].split(" > ")): row for row in table.rows}
    assert found.keys() == made.frames.keys() and len(found) > 50
    for path, sums in made.frames.items():
        row = found[path]
        assert (row["count"], row["bytes"] or 0, row["total_ns"], row["self_ns"]) == tuple(
            sums[name] for name in ("count", "bytes", "total", "self")
        )
        inside = (
            frame for frame in made.frames if frame[: len(path)] == path and frame[-1].startswith("zero")
        )
        assert row["cleared_bytes"] == sum(made.frames[frame]["bytes"] for frame in inside)
    tasks = main(run, "task").rows
    assert {(r["comm"], r["pid"], r["tid"]): r["bytes"] for r in tasks} == made.tasks
    for row in tasks:
        held = made.roots[row["comm"], row["pid"], row["tid"]]
        largest = {name.removeprefix("root.") for name, size in held.items() if size == max(held.values())}
        assert row["root"] in largest


def test_sums_of_the_kernel_are_as_deep_as_they_are_kept(run_of: RunOf) -> None:
    run = run_of("clears-summed")
    found = frames_of(run)
    assert found["root.populate > root.fault > alloc > zero.alloc"] == (
        1000,
        4096_000,
        4096_000,
        200_000,
        200_000,
    )
    assert found["root.populate > root.fault"] == (1000, None, 4096_000, 600_000, 200_000)
    assert found["root.fault > root.thp_fault > zero.user"] == (1, HUGE, HUGE, 6_000, 6_000)
    # What the bulk allocator clears lies in no alloc.
    assert found["root.vmalloc > zero.alloc"] == (100, 409_600, 409_600, 10_000, 10_000)
    assert found["alloc > zero.alloc"] == (10, 40_960, 40_960, 4_000, 4_000)
    assert len(found) == 11
    assert "the outermost and the innermost root" in notes(run, "tree")


def test_a_tree_that_the_rows_do_not_bear_out_says_so(run_of: RunOf) -> None:
    case = CASES["clears-summed"]()
    wrong = [
        row | {"self_ns": row["self_ns"] + 7} if row["event"] == "root.populate" else row for row in case.rows
    ]
    assert "differs by -7 ns" in notes(run_of(dataclasses.replace(case, rows=wrong)), "tree")


def tree_of(*totals: RootTotal) -> dict[str, tuple[int | None, int | None]]:
    """Total and self of each path."""
    found = {" > ".join(f.path): (f.total_ns, f.self_ns) for f in folded(totals, False, None).frames}
    return {path.replace("root.", ""): times for path, times in found.items()}


def root(name: str, ns: int, outermost: str, within: str | None) -> RootTotal:
    around = within and f"root.{within}"
    fields: Row = {"root": f"root.{outermost}", "within": around, "order": None, "nid": None}
    return total(f"root.{name}", 0, ns, count=1, **fields)


def test_a_root_in_one_of_its_own_kind_is_counted_once() -> None:
    found = tree_of(
        root("fault", 100, "fault", None), root("fault", 30, "fault", "fault"), total("alloc", 1, 40)
    )
    assert found == {"fault": (100, 60), "fault > alloc": (40, 40)}


def test_a_root_that_lies_at_several_depths_stands_in_the_outermost() -> None:
    deep: Row = {"root": "root.populate", "within": "root.page_table"}
    found = tree_of(
        root("populate", 100, "populate", None),
        root("fault", 50, "populate", "populate"),
        root("page_table", 10, "populate", "populate"),
        root("page_table", 20, "populate", "fault"),
        total("alloc", 1, 6, **deep),
    )
    assert found == {
        "populate": (100, 40),
        "populate > fault": (50, 30),
        "populate > page_table": (30, 24),
        "populate > page_table > alloc": (6, 6),
    }


def test_roots_that_lie_in_each_other_add_up_still() -> None:
    found = tree_of(
        root("fault", 100, "fault", None),
        root("cow", 60, "fault", "fault"),
        root("fault", 20, "fault", "cow"),
    )
    assert found == {"fault": (100, 60), "fault > cow": (60, 40)}


def test_roots_that_lie_only_in_each_other_stand_in_the_outermost() -> None:
    found = tree_of(
        root("populate", 100, "populate", None),
        root("fault", 30, "populate", "cow"),
        root("cow", 20, "populate", "fault"),
    )
    assert set(found) == {"populate", "populate > fault", "populate > cow"}
    assert sum(own or 0 for _, own in found.values()) == 100


def test_no_root_around_had_ended() -> None:
    found = tree_of(total("alloc", 1, 40, root="root.pin", within="root.fault"))
    assert found == {"pin": (40, 0), "pin > fault": (40, 0), "pin > fault > alloc": (40, 40)}


def test_a_root_still_open_at_the_end_has_at_least_the_time_inside(run_of: RunOf) -> None:
    inside: Row = {"root": "root.pin", "within": "root.pin"}
    roots = (total("alloc", 1, 40, zeroed=False, **inside), total("zero.alloc", 1, 30, asked=True, **inside))
    run = run_of(Case((streamed("alloc", dur=None),), header("alloc"), status(roots=roots)))
    first = main(run, "tree").rows[0]
    assert (first["path"], first["total_ns"], first["self_ns"], first["at_least"]) == (
        "root.pin",
        70,
        0,
        True,
    )
    assert "had not ended when the recording did" in notes(run, "tree")


def test_clears_of_the_bulk_allocator_lie_in_no_alloc_and_share_the_time_by_number(run_of: RunOf) -> None:
    # init_on_alloc, and no roots: nothing but their number tells which clears were in an allocation.
    kernel: Row = {"root": None, "within": None, "asked": False, "movable": False}
    roots = (total("alloc", 10, 900, **kernel), total("zero.alloc", 40, 803, **kernel))
    rows = [
        streamed("alloc", dur=None, count=10, total_ns=900, self_ns=700, flags=int(Flag.AGGREGATED)),
        streamed("zero.alloc", dur=None, count=40, total_ns=803, self_ns=803, flags=int(Flag.AGGREGATED)),
    ]
    run = run_of(Case(rows, header("alloc", "zero.alloc"), status(roots=roots)))
    assert frames_of(run) == {
        "alloc": (10, 10 << 12, 10 << 12, 900, 700),
        "alloc > zero.alloc": (10, 10 << 12, 10 << 12, 200, 200),
        "zero.alloc": (30, 30 << 12, 30 << 12, 603, 603),
    }
    assert all(row["shared"] for row in main(run, "tree").rows)
    assert "shared out by number" in notes(run, "tree") and "all time" in notes(run, "tree")
