# SPDX-License-Identifier: Apache-2.0
"""Where the time of a hot-add goes: each nanosecond in one phase."""

from __future__ import annotations

from typing import Any

from memtrace.tests.analyzer.hotplug.recorded import (
    BLOCK,
    EVENTS,
    FIRST,
    MIB,
    MS,
    accepted,
    added,
    case,
    onlined,
)
from memtrace.tests.analyzer.hotplug.tables import RunOf, report_of, rows_of, spent
from memtrace.tests.analyzer.recorded import START, Row, aggregated, streamed


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
