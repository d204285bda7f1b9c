# SPDX-License-Identifier: Apache-2.0
"""The hotplug view of runs made of rows, and of saved traces of real hot-adds."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest

from memtrace.analyzer.report import Request, make
from memtrace.analyzer.tables import Report
from memtrace.analyzer.views import Choice, view
from memtrace.tests.analyzer.cases import START, Case, Row, aggregated, header, status, streamed
from memtrace.tests.analyzer.goldens import as_it_was, fits_mail
from memtrace.traces.run import Snapshot
from memtrace.traces.schema import Flag

MS = 1_000_000
MIB = 1 << 20
BLOCK = 128 * MIB
FIRST = 0x100000
EVENTS = (
    "hot.request", "hot.add", "hot.section", "hot.memmap", "hot.altmap", "hot.init", "hot.zone",
    "hot.online", "hot.block", "hot.offline", "hot.remove", "alloc", "zero.alloc",
)  # fmt: skip
ACPI = "kthread;acpi_device_hotplug;acpi_memory_device_add;__add_memory;add_memory_resource"
SAVED = Path(__file__).parents[2] / "traces" / "importers" / "data"
GOLDEN = Path(__file__).parent / "golden"
RunOf = Callable[[Case | str], Any]


def hot(event: str, begin: float, end: float, size: int | None = None, **columns: Any) -> Row:
    """An occurrence from ``begin`` to ``end``, ms since the run's start."""
    row = streamed(f"hot.{event}", None, round((end - begin) * MS), ts_ns=START + round(end * MS), bytes=size)
    plain = {"pfn": FIRST, "nid": 1, "self_ns": None, "tid": 7, "comm": "kworker"}
    return row | plain | columns


def added(at: float, pfn: int = FIRST, blocks: int = 2, **columns: Any) -> list[Row]:
    """A hot-add of blocks: 10 ms, in it 8 of arch_add_memory(), 2 for the struct pages of each block."""
    size = blocks * BLOCK
    rows = [
        hot("request", at, at + 10, size, pfn=pfn, nid=None, stack=ACPI, **columns),
        hot("add", at + 1, at + 9, size, pfn=pfn, **columns),
    ]
    for i in range(blocks):
        begin = at + 1 + 3 * i
        rows.append(hot("section", begin, begin + 2.5, BLOCK, pfn=pfn + i * BLOCK // 4096, **columns))
        rows.append(hot("memmap", begin, begin + 2, 2 * MIB, nid=0, nid_requested=1, pfn=99, **columns))
    return rows


def onlined(at: float, pfn: int, size: int = BLOCK, **columns: Any) -> list[Row]:
    """A block that comes online in 4 ms, in it online_pages() 3 of them."""
    return [
        hot("block", at, at + 4, BLOCK, pfn=pfn, tid=9, **columns),
        hot("online", at + 1, at + 4, size, bytes_requested=BLOCK, pfn=pfn, tid=9, **columns),
    ]


def taken(at: float, *free_kb: int, total_kb: Sequence[int] = (), memmap: int = 0) -> Snapshot:
    totals = total_kb or [4 << 20] * len(free_kb)
    nodes = {
        str(nid): {"MemFree": free, "MemTotal": total, "WatermarkLow": 1000}
        for nid, (free, total) in enumerate(zip(free_kb, totals, strict=True))
    }
    return Snapshot("change", START + round(at * MS), {"nr_memmap_pages": memmap}, nodes, 0)


def case(rows: Sequence[Row], *snapshots: Snapshot, events: Sequence[str] = EVENTS) -> Case:
    return Case(rows, header(*events), status(snapshots=tuple(snapshots)))


def report_of(run_of: RunOf, made: Case) -> Report:
    return view(run_of(made), "hotplug").report


def rows_of(report: Report, name: str, *names: str) -> list[Any]:
    table = report.table(name)
    assert table is not None
    return [tuple(row[n] for n in names) for row in table.rows]


def spent(report: Report, add: int = 1) -> dict[str, Any]:
    table = report.table("phases")
    assert table is not None
    return {row["phase"]: row["self_ns"] for row in table.rows if row["add"] == add}


def test_each_nanosecond_is_in_one_phase(run_of: RunOf) -> None:
    rows = [*added(0), *onlined(20, FIRST), *onlined(30, FIRST + BLOCK // 4096)]
    found = spent(report_of(run_of, case(rows)))
    # Two memmaps of 2 ms, two sections of 0.5 ms around them, arch the rest of its 8 ms.
    assert found | {"not_in_rows": 0} == dict.fromkeys(found, 0) | {
        "request": 2 * MS, "arch": 3 * MS, "sections": MS, "memmap": 4 * MS,
        "block": 2 * MS, "online": 6 * MS, "gap": 16 * MS, "accept": None,
    }  # fmt: skip
    assert sum(value or 0 for value in found.values()) == 34 * MS


def test_clearing_of_struct_pages_is_told_from_their_allocation(run_of: RunOf) -> None:
    # As recorded: hot.memmap's own time is less the allocation inside, and that less its clearing.
    rows = [row | {"self_ns": round(0.5 * MS)} if row["event"] == "hot.memmap" else row for row in added(0)]
    for end in (3, 6):
        inside = {"ts_ns": START + end * MS, "tid": 7, "bytes": 2 * MIB}
        rows.append(streamed("alloc", 9, round(1.5 * MS), self_ns=round(0.2 * MS), **inside))
        rows.append(streamed("zero.alloc", 9, round(1.3 * MS), **inside))
    found = spent(report_of(run_of, case(rows)))
    assert (found["memmap"], found["memmap_zero"]) == (round(1.4 * MS), round(2.6 * MS))


def test_without_probes_of_clearing_it_is_unknown_not_nothing(run_of: RunOf) -> None:
    events = [event for event in EVENTS if event.startswith("hot.")]
    report = report_of(run_of, case(added(0), events=events))
    assert spent(report)["memmap_zero"] is None
    assert "zeroing-untraced" in {caveat.id for caveat in report.caveats}


def accepted(end: float, took: float, self_ns: int | None, event: str = "call", **columns: Any) -> Row:
    row = streamed(f"accept.{event}", None, round(took * MS), ts_ns=START + round(end * MS), bytes=4 * MIB)
    return row | {"pfn": FIRST, "nid": 1, "tid": 9, "comm": "kworker", "self_ns": self_ns} | columns


def test_the_steps_of_an_acceptance_are_acceptance(run_of: RunOf) -> None:
    # As recorded: two steps are one row without a duration, at the end of their accept.arch.
    block, online = (row | {"self_ns": MS} for row in onlined(20, FIRST))
    steps = aggregated("accept.step", 2, 900_000, 9, parent="accept.arch", bytes=4 * MIB, cpu=0)
    inside = [
        accepted(23.5, 2, 100_000),
        accepted(23.45, 1.9, 100_000, "arch", parent="accept.call"),
        accepted(23.45, 0, None, "step") | steps | {"ts_ns": START + round(23.45 * MS), "dur_ns": None},
    ]
    events = (*EVENTS, "accept.call", "accept.arch", "accept.step")
    found = spent(report_of(run_of, case([*added(0), block, online, *inside], events=events)))
    assert (found["accept"], found["online"], found["not_in_rows"]) == (2 * MS, MS, 0)


def test_what_lies_inside_a_row_without_self_time_is_counted_once(run_of: RunOf) -> None:
    # As an import has it where the end of one of several acceptances is lost.
    calls = [accepted(22, 0.5, MS // 2), accepted(23, 0.7, None) | {"self_ns": 700_000}]
    lost = accepted(23.5, 0, None, dur_ns=None, total_ns=None)
    inside = {"tid": 7, "bytes": 2 * MIB, "ts_ns": START + 3 * MS}
    alloc = streamed("alloc", 9, 1_500_000, self_ns=200_000, **inside)
    clear = streamed("zero.alloc", 9, 1_300_000, **inside)
    rows = [*added(0), *onlined(20, FIRST), *calls, lost, alloc, clear]
    report = report_of(run_of, case(rows, events=(*EVENTS, "accept.call")))
    found = spent(report)
    assert (found["online"], found["accept"]) == (1_800_000, 1_200_000)
    assert (found["memmap"], found["memmap_zero"]) == (2_700_000, 1_300_000)
    assert sum(value or 0 for value in found.values()) == 24 * MS


def test_work_around_allocations_is_no_clearing(run_of: RunOf) -> None:
    inside = {"tid": 7, "comm": "kworker", "nid": 0}
    roots = [
        streamed("root.slab", None, 500_000, ts_ns=START + 950_000, **inside),
        streamed("root.page_table", None, 300_000, ts_ns=START + round(9.6 * MS), **inside),
        streamed("zero.alloc", 0, 100_000, ts_ns=START + 800_000, **inside),
    ]
    found = spent(
        report_of(run_of, case([*added(0), *roots], events=(*EVENTS, "root.slab", "root.page_table")))
    )
    assert (found["other"], found["other_zero"]) == (800_000, 100_000)


def test_acceptance_of_which_only_entries_were_seen_is_counted(run_of: RunOf) -> None:
    unknown: Row = {"dur_ns": None, "total_ns": None, "bytes": None, "bytes_requested": 4 * MIB}
    calls = [accepted(21.5 + i / 1000, 0, None, **unknown) for i in range(32)]
    events = (*EVENTS, "accept.call")

    def accepts(*more: Row) -> tuple[Any, ...]:
        report = report_of(run_of, case([*added(0), *onlined(20, FIRST), *calls, *more], events=events))
        (counted,) = rows_of(report, "adds", "accepts", "accept_bytes", "accept_bytes_are")
        (timed,) = [
            row for row in rows_of(report, "phases", "phase", "self_ns", "at_least") if row[0] == "accept"
        ]
        return *counted, *timed[1:]

    assert accepts() == (32, BLOCK, "asked for", None, False)
    assert accepts(accepted(23, 0.5, MS // 2)) == (33, BLOCK + 4 * MIB, "asked for", MS // 2, True)
    nothing: Row = {"bytes": None, "bytes_requested": None}
    assert accepts(accepted(23, 0.5, MS // 2, **nothing))[:2] == (33, None)


def test_two_hot_adds_that_overlap_are_told_apart_by_their_range(run_of: RunOf) -> None:
    other = FIRST + 4 * BLOCK // 4096
    rows = [
        *added(0), *added(20, other, blocks=1), *onlined(40, other), *onlined(50, FIRST),
    ]  # fmt: skip
    report = report_of(run_of, case(rows))
    assert rows_of(report, "adds", "add", "pfn", "blocks", "total_ns", "result") == [
        (1, FIRST, 1, 54 * MS, "partly"),
        (2, other, 1, 24 * MS, "online"),
    ]
    assert rows_of(report, "blocks", "add", "gap_ns") == [(1, 40 * MS), (2, 10 * MS)]


def test_two_threads_at_once_are_told_apart_too(run_of: RunOf) -> None:
    other = FIRST + 4 * BLOCK // 4096
    rows = [*added(0), *added(1, other, tid=8)]
    report = report_of(run_of, case(rows))
    assert rows_of(report, "memmap", "add", "bytes") == [(1, 4 * MIB), (2, 4 * MIB)]


def test_without_the_request_ranges_that_follow_each_other_are_one_hot_add(run_of: RunOf) -> None:
    rows = [hot("add", 3 * i, 3 * i + 2, BLOCK, pfn=FIRST + i * BLOCK // 4096) for i in range(4)]
    report = report_of(run_of, case(rows))
    assert rows_of(report, "adds", "bytes", "request_ns", "origin") == [(4 * BLOCK, None, "unknown")]
    assert "no-request" in {caveat.id for caveat in report.caveats}


def test_a_first_block_is_no_part_of_the_rest(run_of: RunOf) -> None:
    slow = onlined(20, FIRST)
    slow[0] |= {"ts_ns": START + 60 * MS, "dur_ns": 40 * MS}
    rows = [*added(0), *slow, *onlined(70, FIRST + BLOCK // 4096, size=64 * MIB)]
    report = report_of(run_of, case(rows))
    assert rows_of(report, "firsts", "first_ns", "rest_p50_ns", "rest_max_ns", "partly_online") == [
        (40 * MS, 4 * MS, 4 * MS, 1)
    ]


def test_a_first_block_without_a_time_is_not_the_second(run_of: RunOf) -> None:
    first, second = (onlined(at, FIRST + i * BLOCK // 4096)[1] for i, at in enumerate((20, 30)))
    first |= {"dur_ns": None, "total_ns": None}
    report = report_of(run_of, case([*added(0), first, second]))
    assert rows_of(report, "firsts", "first_ns", "rest_p50_ns", "rest_max_ns") == [(None, 3 * MS, 3 * MS)]
    online = {row[0]: row[1:] for row in rows_of(report, "phases", "phase", "self_ns", "at_least")}["online"]
    assert online == (3 * MS, True)


def test_struct_pages_in_the_block_cut_gigantic_ranges(run_of: RunOf) -> None:
    size = 2 << 30
    altmap = hot("altmap", 21, 22, 32 * MIB, tid=9)
    block = hot("block", 20, 40, size, tid=9)
    online = hot("online", 22, 39, size - 32 * MIB, bytes_requested=size - 32 * MIB, tid=9)
    request = [hot("request", 0, 10, size), hot("add", 1, 9, size)]
    report = report_of(run_of, case([*request, block, altmap, online]))
    assert rows_of(report, "blocks", "in_block_bytes", "contiguous_bytes") == [(32 * MIB, size - 32 * MIB)]
    assert rows_of(report, "firsts", "gigantic_without", "gigantic", "partly_online") == [(2, 1, 0)]


def test_struct_pages_in_a_block_that_nobody_saw_are_unknown(run_of: RunOf) -> None:
    events = [event for event in EVENTS if event != "hot.altmap"]
    for flags, known in ((int(Flag.ALTMAP), False), (0, True)):
        rows = [row | {"flags": flags} if row["event"] == "hot.section" else row for row in added(0)]
        report = report_of(run_of, case([*rows, *onlined(20, FIRST)], events=events))
        assert rows_of(report, "blocks", "in_block_bytes", "contiguous_bytes") == [
            (0, BLOCK) if known else (None, None)
        ]
        assert rows_of(report, "firsts", "partly_online", "gigantic") == [(0, 0) if known else (None, None)]


def test_witnesses_that_agree_and_one_that_does_not(run_of: RunOf) -> None:
    before, after = taken(-1, 1000, memmap=0), taken(15, 1000, memmap=1024)
    report = report_of(run_of, case(added(0), before, after))
    assert rows_of(report, "witnesses", "counted_bytes", "verdict") == [(4 * MIB, "agree")]
    wrong = taken(15, 1000, memmap=1030)
    report = report_of(run_of, case(added(0), before, wrong))
    assert rows_of(report, "witnesses", "verdict") == [("DIFFER: counted +24576",)]


def test_counters_of_a_node_are_explained_to_the_page(run_of: RunOf) -> None:
    rows = [*added(0), *onlined(20, FIRST), *onlined(30, FIRST + BLOCK // 4096)]
    before = taken(-1, 900_000, 0, total_kb=(1 << 20, 0))
    gap = taken(15, 895_904, 0, total_kb=(1 << 20, 0))
    after = taken(35, 895_900, 256 << 10, total_kb=(1 << 20, 256 << 10))
    report = report_of(run_of, case(rows, before, gap, after))
    assert rows_of(report, "nodes", "nid", "counter", "change_bytes", "explained_bytes", "rest_pages") == [
        (0, "MemFree", -4100 << 10, -4 * MIB, -1),
        (1, "MemTotal", 2 * BLOCK, 2 * BLOCK, 0),
        (1, "MemFree", 2 * BLOCK, 2 * BLOCK, 0),
    ]
    assert rows_of(report, "dip", "nid", "dip_bytes", "low_bytes", "samples", "late_ns") == [
        (0, 4 * MIB, 1000 << 10, 1, 5 * MS)
    ]


def test_free_memory_is_not_explained_where_struct_pages_were_not_seen(run_of: RunOf) -> None:
    rows = [row for row in [*added(0), *onlined(20, FIRST)] if row["event"] != "hot.memmap"]
    events = [event for event in EVENTS if event != "hot.memmap"]
    snapshots = (
        taken(-1, 900_000, 0, total_kb=(1 << 20, 0)),
        taken(35, 895_904, 128 << 10, total_kb=(1 << 20, 128 << 10)),
    )
    report = report_of(run_of, case(rows, *snapshots, events=events))
    assert rows_of(report, "nodes", "nid", "counter", "explained_bytes", "rest_bytes") == [
        (0, "MemFree", None, None),
        (1, "MemTotal", BLOCK, 0),
        (1, "MemFree", None, None),
    ]


OTHER = FIRST + 4 * BLOCK // 4096


def test_hot_adds_with_no_snapshot_between_them_are_counted_together(run_of: RunOf) -> None:
    rows = [*added(0), *added(20, OTHER), *added(100, OTHER + BLOCK)]
    for memmap, verdict in ((2048, "agree"), (1024, "DIFFER: counted -4194304 over 1-2")):
        later = taken(120, 800_000, memmap=memmap + 1024)
        report = report_of(run_of, case(rows, taken(-1, 900_000), taken(50, 800_000, memmap=memmap), later))
        assert rows_of(report, "nodes", "adds", "change_bytes", "explained_bytes", "alone") == [
            ("1-2", -100_000 << 10, -8 * MIB, True),
            ("3", 0, -4 * MIB, True),
        ]
        assert rows_of(report, "witnesses", "counted_bytes", "counted_over", "verdict") == [
            *[(memmap * 4096, "1-2", verdict)] * 2,
            (4 * MIB, None, "agree"),
        ]


@pytest.mark.parametrize("failed", [False, True])
def test_nothing_is_explained_where_other_hotplug_lies_between(run_of: RunOf, failed: bool) -> None:
    flags = int(Flag.FAILED) if failed else 0
    rows = [*added(0), hot("offline", 20, 30, BLOCK, pfn=OTHER, flags=flags)]
    report = report_of(run_of, case(rows, taken(-1, 900_000), taken(50, 800_000, memmap=1024)))
    assert set(rows_of(report, "nodes", "alone", "explained_bytes")) == {(False, None)}
    assert rows_of(report, "witnesses", "counted_bytes", "verdict") == [(None, "agree (no counted)")]


def test_a_snapshot_still_being_read_is_not_one_before(run_of: RunOf) -> None:
    # Begun before the hot-add, read after it: its counters say what the hot-add did.
    slow = dataclasses.replace(taken(-1, 800_000, memmap=1024), took_ns=20 * MS)
    after = taken(50, 800_000, memmap=1024)
    report = report_of(run_of, case(added(0), taken(-5, 900_000), slow, after))
    assert rows_of(report, "witnesses", "counted_bytes", "verdict") == [(4 * MIB, "agree")]
    # How long one took that an older recorder wrote is not known: until the next one at most.
    old = dataclasses.replace(taken(5, 800_000, memmap=1024), took_ns=None)
    report = report_of(run_of, case(added(10), taken(-5, 900_000), old, after))
    assert rows_of(report, "witnesses", "counted_bytes", "verdict") == [(4 * MIB, "agree")]


def test_a_block_that_comes_online_again_is_no_block_more(run_of: RunOf) -> None:
    second = FIRST + BLOCK // 4096
    refused = {"flags": int(Flag.FAILED), "bytes": 0, "bytes_requested": BLOCK, "error": 16}
    rows = [
        *added(0), *onlined(20, FIRST), *onlined(30, second),
        hot("offline", 100, 101, pfn=FIRST, **refused), hot("offline", 102, 103, BLOCK, pfn=second),
    ]  # fmt: skip
    columns = ("blocks", "again", "total_ns", "result")
    assert rows_of(report_of(run_of, case(rows)), "adds", *columns) == [(2, 0, 34 * MS, "partly")]
    rows += onlined(110, second)
    report = report_of(run_of, case(rows))
    assert rows_of(report, "adds", *columns) == [(2, 1, 34 * MS, "online")]
    assert rows_of(report, "blocks", "pfn") == [(FIRST,), (second,)]


def test_what_a_cycle_did_not_give_back(run_of: RunOf) -> None:
    rows = []
    snapshots = [taken(-1, 900_000)]
    for i, left in enumerate((899_000, 898_996)):
        rows += [*added(100 * i), hot("remove", 100 * i + 50, 100 * i + 60, 2 * BLOCK)]
        snapshots.append(taken(100 * i + 70, left))
    report = report_of(run_of, case(rows, *snapshots))
    assert rows_of(report, "adds", "result") == [("removed",), ("removed",)]
    assert rows_of(report, "cycles", "cycle", "lost_bytes") == [(1, 1000 << 10), (2, 4 << 10)]
    table = report.table("cycles")
    assert table is not None
    assert table.notes == (
        "net over 2 cycles: +1028096 bytes, +514048 a cycle",
        "after the first: net over 1 cycle: +4096 bytes, +4096 a cycle",
        "2 of 2 cycles are known alone: median +514048, from +4096 to +1024000; other use included",
    )


def gone(at: float, first: int, blocks: int = 1) -> Row:
    return hot("remove", at, at + 1, blocks * BLOCK, pfn=FIRST + first * BLOCK // 4096, tid=9)


def test_a_hot_add_of_which_a_part_is_removed_is_not_removed(run_of: RunOf) -> None:
    rows = added(0, blocks=4)
    for i in range(3):
        rows += onlined(20 + 5 * i, FIRST + i * BLOCK // 4096)
    rows += [hot("offline", 60, 61, BLOCK, tid=9), gone(62, 0)]
    # The rest of it is its own still, and comes online later.
    rows += onlined(70, FIRST + 3 * BLOCK // 4096)
    report = report_of(run_of, case(rows))
    columns = ("blocks", "total_ns", "result", "removed_bytes")
    assert rows_of(report, "adds", *columns) == [(4, 74 * MS, "partly removed", BLOCK)]
    assert report.table("cycles") is None
    rows += [gone(80, 1), gone(90, 2, blocks=2)]
    report = report_of(run_of, case(rows, taken(-1, 900_000), taken(100, 899_000)))
    assert rows_of(report, "adds", *columns) == [(4, 74 * MS, "removed", 4 * BLOCK)]
    assert rows_of(report, "cycles", "bytes", "lost_bytes", "alone") == [(4 * BLOCK, 1000 << 10, True)]


def test_a_page_with_all_that_can_be_said_of_a_hot_add_fits_a_mail(run_of: RunOf) -> None:
    rows = [*added(0, blocks=4), *onlined(20, FIRST), hot("offline", 30, 31, BLOCK, tid=9)]
    rows += [*onlined(40, FIRST), gone(62, 0), accepted(43, 1, MS)]
    text = make(Request((str(run_of(case(rows, events=(*EVENTS, "accept.call"))).path),), view="hotplug"))
    assert "ACPI DIMM" in text and "partly removed" in text
    assert max(map(len, text.splitlines())) < 80


def test_a_part_that_is_added_again_is_another_hot_add(run_of: RunOf) -> None:
    again = FIRST + BLOCK // 4096
    rows = [*added(0, blocks=4), *onlined(20, FIRST), gone(40, 1), *added(50, again, blocks=1)]
    rows += [*onlined(70, again), *onlined(80, again + BLOCK // 4096)]
    report = report_of(run_of, case(rows))
    assert rows_of(report, "adds", "pfn", "blocks", "result") == [
        (FIRST, 2, "partly removed"),
        (again, 1, "online"),
    ]
    # A removal is of what was added last.
    rows.append(gone(100, 1))
    report = report_of(run_of, case(rows))
    assert rows_of(report, "adds", "result", "removed_bytes") == [
        ("partly removed", BLOCK),
        ("removed", BLOCK),
    ]


def test_cycles_with_no_snapshot_between_them_have_a_net_loss_only(run_of: RunOf) -> None:
    rows = []
    for i in range(2):
        rows += [*added(100 * i), hot("remove", 100 * i + 50, 100 * i + 60, 2 * BLOCK)]
    report = report_of(run_of, case(rows, taken(-1, 900_000), taken(300, 899_998)))
    assert rows_of(report, "cycles", "lost_bytes", "memmap_pages") == [(None, None)] * 2
    table = report.table("cycles")
    assert table is not None
    assert table.notes[0] == "net over 2 cycles: +2048 bytes, +1024 a cycle"


def test_a_window_shows_whole_hot_adds_that_reach_into_it(run_of: RunOf) -> None:
    second = FIRST + 2 * BLOCK // 4096
    rows = [*added(0), *onlined(20, FIRST), *onlined(30, FIRST + BLOCK // 4096)]
    rows += [*added(100, second, 1), *onlined(120, second)]
    run = run_of(case(rows))

    def between(low: float, high: float) -> Report:
        window = (START + round(low * MS), START + round(high * MS))
        return view(run, "hotplug", Choice(window=window)).report

    shown = rows_of(between(0, 5), "adds", "add", "bytes", "blocks", "onlined_bytes", "result")
    assert shown == [(1, 2 * BLOCK, 2, 2 * BLOCK, "online")]
    assert [row for (row,) in rows_of(between(31, 101), "adds", "add")] == [1, 2]
    report = between(50, 60)
    assert rows_of(report, "adds", "add") == []
    (table,) = report.tables
    assert table.notes == ("No memory was added, brought online or removed in this window.",)
    assert dict(report.heading)["window"].startswith(f"{START / 1e9 + 0.05:.3f} to ")


def test_a_failed_add_and_a_refused_removal(run_of: RunOf) -> None:
    failed = {"flags": int(Flag.FAILED), "bytes": 0, "bytes_requested": BLOCK}
    rows = [
        hot("request", 0, 10, stack=ACPI, error=12, **failed),
        hot("add", 1, 9, error=12, **failed),
        hot("memmap", 2, 3, 2 * MIB),
        hot("memmap", 4, 8, **failed),
        hot("offline", 20, 30, error=16, **failed),
    ]
    report = report_of(run_of, case(rows))
    assert report.table("adds") is None
    assert rows_of(report, "refusals", "what", "errno", "cause", "bytes", "memmap_bytes") == [
        ("failed add", "ENOMEM", "hot.memmap", BLOCK, 2 * MIB),
        ("refused offlining", "EBUSY", "hot.offline", BLOCK, None),
    ]


@pytest.mark.parametrize(
    ("events", "sentence"),
    [(("alloc",), "Hotplug was not recorded"), (EVENTS, "No memory was added, brought online or removed")],
)
def test_a_run_without_hotplug_is_told_in_a_sentence(
    run_of: RunOf, events: Sequence[str], sentence: str
) -> None:
    run = run_of(Case([streamed("alloc", 0, 100)], header(*events), status()))
    assert sentence in make(Request((str(run.path),), view="hotplug"))


@pytest.mark.parametrize("suffix", ["png", "svg"])
def test_the_picture(run_of: RunOf, tmp_path: Path, suffix: str) -> None:
    rows = [*added(0), *onlined(2000, FIRST), *onlined(2030, FIRST + BLOCK // 4096)]
    for made in (rows, [hot("offline", 1, 2, BLOCK)]):
        view(run_of(case(made)), "hotplug").draw(tmp_path / f"figure.{suffix}")
    assert (tmp_path / f"figure.{suffix}").stat().st_size > 2000


@pytest.mark.parametrize("mode", ["off", "on"])
def test_the_report_of_a_saved_trace_is_as_it_was(mode: str, folder: Path) -> None:
    from click.testing import CliRunner

    from memtrace.commands.import_ import import_

    files = [str(SAVED / f"hotplug-memmap-{mode}-6.12.{kind}") for kind in ("trace", "dmesg.gz")]
    result = CliRunner().invoke(import_, ["-q", "--clock", "boot", *files])
    assert result.exit_code == 0, result.output
    text = make(Request(("run.parquet",), view="hotplug"))
    golden = GOLDEN / f"memmap-{mode}.txt"
    as_it_was(golden, text)
    fits_mail(golden)


def test_the_manual_explains_every_table_and_column(run_of: RunOf) -> None:
    page = (Path(__file__).parents[3] / "docs" / "man" / "memtrace-report.1").read_text()
    section = page.split(".SH VIEW HOTPLUG", 1)[1].split(".SH ", 1)[0].replace("\\", "")
    words = " ".join(section.split())
    rows = [*added(0), *onlined(20, FIRST), hot("remove", 50, 60, 2 * BLOCK)]
    rows.append(hot("offline", 70, 71, bytes_requested=BLOCK, flags=int(Flag.FAILED)))
    report = report_of(run_of, case(rows, taken(-1, 100), taken(90, 100)))
    for table in report.tables:
        assert f".B {table.name}\n" in section, table.name
        for column in table.columns[table.keys :]:
            assert column.heading in words, (table.name, column.heading)
