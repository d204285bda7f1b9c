# SPDX-License-Identifier: Apache-2.0
"""Clearing by frame, task, cgroup and stack: exact sums, and what is said where a run does not hold them."""

from __future__ import annotations

import dataclasses
import functools
import random
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from memtrace.analyzer.ledger import settle_run
from memtrace.analyzer.render import FORMATS
from memtrace.analyzer.report import Request, make
from memtrace.analyzer.tables import Report, Row, Table
from memtrace.analyzer.views import GROUPINGS, Choice, choice_by, view
from memtrace.analyzer.zero.by import frames
from memtrace.analyzer.zero.by.frames import folded
from memtrace.errors import MemtraceError
from memtrace.tests.analyzer.cases import (
    ANON_STACK,
    CASES,
    HUGE_STACK,
    START,
    Case,
    between,
    header,
    status,
    streamed,
    total,
)
from memtrace.traces.reader import Run
from memtrace.traces.run import ProbeSite, RootTotal, TaskTotal
from memtrace.traces.schema import Flag

RunOf = Callable[[Case | str], Run]


def report(run: Run, word: str) -> Report:
    return view(run, "zero", Choice(grouping=word)).report


def main(run: Run, word: str) -> Table:
    found = report(run, word)
    table = found.table(found.main)
    assert table is not None
    return table


def notes(run: Run, word: str) -> str:
    return " ".join(" ".join(table.notes) for table in report(run, word).tables)


def frames_of(run: Run) -> dict[str, tuple[Any, ...]]:
    """Count, bytes, cleared, total and self of each path."""
    measured = ("count", "bytes", "cleared_bytes", "total_ns", "self_ns")
    return {row["path"]: tuple(row[name] for name in measured) for row in main(run, "tree").rows}


HUGE = 2 << 20


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


def test_the_tasks_of_a_run_that_was_cut_short_are_said_to_be_few(run_of: RunOf) -> None:
    case = CASES["clears-summed"]()
    short = dataclasses.replace(case, status=dataclasses.replace(case.status, complete=False), cut_short=True)
    assert "largest sums" in notes(run_of(short), "task")


def test_tasks_of_a_stream_are_threads_by_name(run_of: RunOf) -> None:
    names = ("comm", "pid", "tid", "clears", "bytes", "total_ns", "ns_per_4kib", "root")
    assert [tuple(row[name] for name in names) for row in main(run_of("clears"), "task").rows] == [
        ("beta", 400, 400, 1, HUGE, 3000, 3000 / 512, "fault"),
        ("alpha", 300, 301, 2, 8192, 300, 150, "populate"),
        ("kworker/1:2", 5, 5, 1, 4096, 50, 50, "vmalloc"),
    ]


def test_tasks_of_sums_are_processes_without_the_recorder(run_of: RunOf) -> None:
    run = run_of("clears-summed")
    names = ("comm", "pid", "tid", "clears", "bytes", "total_ns", "root")
    assert [tuple(row[name] for name in names) for row in main(run, "task").rows] == [
        ("alpha", 300, None, 1000, 1000 * 4096, 200_000, "populate"),
        # By the name and the root of most of it.
        ("beta", 400, None, 111, HUGE + 110 * 4096, 20_000, "fault"),
    ]
    assert "28.0Ki that the recorder itself" in notes(run, "task")
    assert "record --stream all" in notes(run, "task")


def test_cgroups_are_paths_and_what_has_none_is_unknown(run_of: RunOf) -> None:
    found = {
        row["cgroup"]: (row["clears"], row["bytes"], row["root"])
        for row in main(run_of("clears"), "cgroup").rows
    }
    assert found == {
        "/huge": (1, HUGE, "fault"),
        "/lab/small": (2, 8192, "populate"),
        None: (1, 4096, "vmalloc"),
    }
    assert "no room in the programs' table" in notes(run_of("clears"), "cgroup")


def test_the_cgroup_of_what_the_kernel_summed_is_unknown_and_how_to_have_it_said(run_of: RunOf) -> None:
    run = run_of("clears-summed")
    found = {row["cgroup"]: (row["clears"], row["bytes"]) for row in main(run, "cgroup").rows}
    assert found == {None: (1110, 1110 * 4096), "/huge": (1, HUGE)}
    assert "unknown of 4.34Mi that the kernel summed (order 0); `memtrace record --stream all`" in notes(
        run, "cgroup"
    )


def test_a_run_without_any_cgroup_says_why(run_of: RunOf) -> None:
    case = Case([between("zero.alloc", 0, 10, 10, order=0)], header("zero.alloc", stream_all=True), status())
    assert "no cgroup v2 hierarchy" in notes(run_of(case), "cgroup")


def test_stacks_come_with_their_caller_and_the_first_in_full(run_of: RunOf) -> None:
    table = main(run_of("clears"), "stack")
    names = ("rank", "caller", "event", "clears", "bytes", "total_ns", "stack")
    assert [tuple(row[name] for name in names) for row in table.rows] == [
        (1, "do_huge_pmd_anonymous_page", "zero.user", 1, HUGE, 3000, HUGE_STACK),
        (2, "do_anonymous_page", "zero.alloc", 2, 8192, 300, ANON_STACK),
        (3, None, "zero.alloc", 1, 4096, 50, None),
    ]
    assert table.notes[1].startswith("- 1: folio_zero_user < do_huge_pmd_anonymous_page < ")


def test_without_stacks_there_are_call_sites_and_how_to_record_stacks_is_said(run_of: RunOf) -> None:
    run = run_of("clears-summed")
    table = main(run, "stack")
    assert table.name == "callsites"
    names = ("event", "site", "within", "clears", "bytes", "total_ns")
    found = [tuple(row[name] for name in names) for row in table.rows]
    assert found[0] == ("zero.alloc", "fentry:zero.alloc", "fault", 1000, 4096_000, 200_000)
    assert sum(row["bytes"] for row in table.rows) == (1110 << 12) + HUGE
    assert "--stacks` keeps them" in notes(run, "stack")


def derived(rows: list[Row], **of_status: Any) -> Case:
    """A run whose kernel hides clears: only allocations, by a tracepoint, were seen."""
    manifest = (
        ProbeSite("alloc", "rawtp:kmem:mm_page_alloc", "rawtp", time="unknown", proven=True),
        ProbeSite("zero.alloc", "inferred:gfp", "inferred", time="unknown", count="inferred"),
    )
    return Case(rows, header("alloc", "zero.alloc", manifest=manifest), status(**of_status))


def test_derived_clears_have_their_task_and_cgroup_and_no_time(run_of: RunOf) -> None:
    untimed: Row = {"dur": None, "self_ns": None, "pid": 7, "tid": 8, "comm": "a", "cgroup": "/a"}
    rows = [
        streamed("alloc", 0, flags=int(Flag.ZEROED), **untimed),
        streamed("alloc", 2, flags=int(Flag.ZEROED), **untimed),
        streamed("alloc", 0, **untimed),
    ]
    run = run_of(derived([row | {"stack": ANON_STACK} for row in rows]))
    (stack,) = main(run, "stack").rows
    assert (stack["event"], stack["caller"], stack["clears"]) == ("zero.alloc", "do_anonymous_page", 2)
    (task,), (cgroup,) = main(run, "task").rows, main(run, "cgroup").rows
    for row in (task, cgroup):
        assert (row["clears"], row["bytes"], row["derived_bytes"], row["total_ns"]) == (
            2,
            5 << 12,
            5 << 12,
            None,
        )
    assert (task["comm"], task["tid"], cgroup["cgroup"], task["root"]) == ("a", 8, "/a", None)
    assert "derived from gfp flags" in notes(run, "task") and "functions can be hooked" in notes(run, "task")
    assert frames_of(run) == {
        "alloc": (3, 6 << 12, 5 << 12, None, None),
        "alloc > zero.alloc": (2, 5 << 12, 5 << 12, None, None),
    }


def test_derived_clears_of_sums_are_the_kernels_by_process(run_of: RunOf) -> None:
    summed = int(Flag.AGGREGATED)
    rows = [streamed("alloc", 0, None, count=9, bytes=9 << 12, pid=None, comm=None, flags=summed)]
    task = TaskTotal("alloc", 7, "a", 9, 9 << 12, None, "", 5, 5 << 12)
    run = run_of(derived(rows, tasks=(task,)))
    (row,) = main(run, "task").rows
    assert (row["pid"], row["clears"], row["bytes"], row["derived_bytes"]) == (7, 5, 5 << 12, 5 << 12)


def test_an_older_run_does_not_know_whose_the_derived_clears_were(run_of: RunOf) -> None:
    summed = {"pid": None, "comm": None, "flags": int(Flag.AGGREGATED | Flag.ZEROED)}
    rows = [streamed("alloc", 0, None, count=9, bytes=9 << 12, **summed)]
    run = run_of(derived(rows, tasks=(TaskTotal("alloc", 7, "a", 9, 9 << 12, None),)))
    (row,) = main(run, "task").rows
    assert (row["comm"], row["pid"], row["bytes"]) == (None, None, 9 << 12)
    assert "task: unknown of 36.0Ki" in notes(run, "task")


def test_an_older_run_may_count_its_recorder(run_of: RunOf) -> None:
    case = CASES["clears-summed"]()
    tasks = (TaskTotal("zero.alloc", 9, "memtrace", 7, 7 * 4096, 700),)
    older = dataclasses.replace(case, status=dataclasses.replace(case.status, tasks=tasks))
    assert "recorder's own clears may be among them" in notes(run_of(older), "task")


def test_what_failed_or_the_recorder_did_is_no_clear(run_of: RunOf) -> None:
    for word in GROUPINGS["zero"]:
        assert "memtrace" not in {row.get("comm") for row in main(run_of("clears"), word).rows}
        sizes = [row["bytes"] for row in main(run_of("clears"), word).rows if row.get("event") != "alloc"]
        assert sum(size or 0 for size in sizes) == HUGE + 3 * 4096


@pytest.mark.parametrize("word", GROUPINGS["zero"])
@pytest.mark.parametrize("case", sorted(CASES))
def test_every_kind_of_run_has_every_grouping_and_a_figure(
    run_of: RunOf, case: str, word: str, tmp_path: Path
) -> None:
    result = view(run_of(case), "zero", Choice(grouping=word))
    table = result.report.table(result.report.main)
    assert table is not None and (table.rows or table.notes)
    if case in ("clears", "clears-summed"):
        result.draw(figure := tmp_path / "zero.svg")
        assert figure.stat().st_size > 10_000


@pytest.mark.parametrize("format_", FORMATS)
def test_every_format_has_the_table_asked_for(run_of: RunOf, format_: str) -> None:
    path = str(run_of("clears").path)
    text = make(Request((path,), view="zero", by="cgroup", format=format_))
    assert "/lab/small" in text


def test_an_unknown_word_is_refused_and_the_known_ones_named() -> None:
    with pytest.raises(MemtraceError, match="one of tree, task, cgroup, stack") as refused:
        choice_by("zero", "order,node")
    assert refused.value.exit_code == 2
    with pytest.raises(MemtraceError, match="--by knows no 'tree'"):
        choice_by("summary", "tree")
    assert choice_by("zero", " Tree ").grouping == "tree"
    assert choice_by("zero", None) == Choice()
