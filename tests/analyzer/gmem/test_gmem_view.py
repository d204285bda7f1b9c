# SPDX-License-Identifier: Apache-2.0
"""The gmem view on generated events: levels, splits and ends of coverage that no lab has."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from memtrace.analyzer.tables import Report
from memtrace.analyzer.views import PLAIN, view
from memtrace.errors import MemtraceError
from memtrace.tests.analyzer.cases import START, Case, Row, header, status
from memtrace.traces.reader import Run
from memtrace.traces.run import Fact, ProbeSite, Refusal, VirtualMachine
from memtrace.traces.schema import Flag

EVENTS = tuple(
    f"gmem.{name}"
    for name in (
        *("fault", "get", "zero", "prepare", "assign", "split", "allocate"),
        *("punch", "free", "convert", "populate", "prefault"),
    )
)
PAGE, HUGE = 4096, 512
PRIVATE = int(Flag.PRIVATE)
MS = 10**6


class Host:
    """Rows of one VM's host, each event a millisecond after the one before."""

    def __init__(self, vm: int = 1) -> None:
        self.rows: list[Row] = []
        self.now = START
        self.vm = vm

    def event(
        self, name: str, gfn: int | None, pages: int | None, order: int | None = None, **more: Any
    ) -> int:
        """One event that ends now and took 100 us; returns its end."""
        self.now += MS
        row: Row = {
            "ts_ns": self.now, "dur_ns": 100_000, "count": 1, "total_ns": 100_000, "self_ns": 100_000,
            "event": f"gmem.{name}", "site": name, "cpu": 0, "pid": 100, "tid": 101, "comm": "qemu",
            "order": order, "bytes": None if pages is None else pages * PAGE, "flags": PRIVATE, "vm": self.vm,
            "vcpu": 0, "gfn": gfn,
        }  # fmt: skip
        self.rows.append(row | more)
        return self.now

    def fault(
        self, gfn: int, pfn: int, order: int = 0, *, prepare: bool = True, level: int | None = None
    ) -> None:
        """A private fault of 1000 us: get 600, in it zero 200 and prepare 100, in that assign 50."""
        pages = 1 << order
        self.now += MS
        end = self.now
        inner = {"pfn": pfn, "tid": 101}

        def row(name: str, at: int, dur: int, parent: str | None, of: int = order) -> None:
            times = {
                "ts_ns": end - at * 1000,
                "dur_ns": dur * 1000,
                "total_ns": dur * 1000,
                "self_ns": dur * 1000,
            }
            self.event(name, gfn, 1 << of, of, parent=parent, **inner, **times)

        if prepare:
            row("zero", 500, 200, "gmem.get")
            if level is not None:
                row("assign", 420, 50, "gmem.prepare", level)
            row("prepare", 400, 100, "gmem.get")
        row("get", 300, 600, "gmem.fault")
        row("fault", 0, 1000, None)
        self.rows[-1]["bytes"] = pages * PAGE
        self.now = end + MS

    def punch(self, gfn: int, pages: int, freed: dict[int, int]) -> None:
        """A hole; ``freed``: gfn -> pfn of the 4 KiB pages that were there."""
        for at, pfn in freed.items():
            self.event("free", at, 1, 0, pfn=pfn, parent="gmem.punch", dur_ns=10)
        self.now += MS
        begun = self.now - (len(freed) + 2) * MS
        self.event("punch", gfn, len(freed), bytes_requested=pages * PAGE, dur_ns=self.now + MS - begun)

    def convert(self, gfn: int, pages: int, private: bool, no_op: bool = False) -> None:
        flags = (PRIVATE if private else 0) | (int(Flag.NOOP) if no_op else 0)
        done = 0 if no_op else pages
        self.event("convert", gfn, done, bytes_requested=pages * PAGE, flags=flags, vcpu=None)


def case(host: Host, kind: str = "snp", **changes: Any) -> Case:
    machine = VirtualMachine(1, 100, "qemu", kind, kind != "default", START + 2 * MS)
    done = status(60, vms=(machine,), exit_status=None)
    return Case(host.rows, header(*changes.pop("events", EVENTS), **changes), done)


@pytest.fixture
def report_of(run_of: Callable[[Case | str], Run]) -> Callable[..., Report]:
    def make(host: Host, kind: str = "snp", **changes: Any) -> Report:
        return view(run_of(case(host, kind, **changes)), "gmem", PLAIN).report

    return make


def rows(report: Report, name: str) -> list[dict[str, Any]]:
    table = report.table(name)
    assert table is not None
    return [dict(row) for row in table.rows]


def cells(report: Report, name: str, *columns: str) -> list[tuple[Any, ...]]:
    return [tuple(row[c] for c in columns) for row in rows(report, name)]


def test_levels_are_those_of_the_rmp(report_of: Callable[..., Report]) -> None:
    host = Host()
    for i in range(4):
        host.fault(HUGE * i, 10_000 * HUGE + HUGE * i, 9, level=9)
    host.fault(HUGE * 8, 777, 0, level=0)
    # A folio of 2 MiB that the RMP took at 4 KiB only.
    host.fault(HUGE * 9, 20_000 * HUGE, 9, level=0)
    report = report_of(host)
    assert cells(report, "levels", "level", "event", "calls", "bytes", "total_ns", "fallbacks") == [
        (0, "gmem.assign", 2, 2 * PAGE, 100_000, 1),
        (9, "gmem.assign", 4, 8 << 20, 200_000, 0),
    ]
    assert [round(ns) for (ns,) in cells(report, "levels", "ns_per_mib")] == [12_800_000, 25_000]
    assert rows(report, "levels")[0]["in_hardware"] is True


def test_without_snp_or_tdx_preparation_is_said_to_be_a_no_op(report_of: Callable[..., Report]) -> None:
    host = Host()
    host.fault(0, 1)
    report = report_of(host, "sw-protected")
    table = report.table("levels")
    assert table is not None
    assert "no-op for VM 1, neither SNP nor TDX" in table.notes[0]
    assert "no-hardware" in {c.id for c in report.caveats}
    assert cells(report, "levels", "event", "level", "in_hardware") == [("gmem.prepare", 0, False)]


def test_parts_of_a_first_touch_add_up_to_it(report_of: Callable[..., Report]) -> None:
    host = Host()
    for i in range(10):
        host.fault(i, 100 + i)
    # Again after a conversion: looked up, not prepared, and no first touch.
    host.fault(3, 103, prepare=False)
    parts = {row["part"]: row for row in rows(report_of(host), "first_touch")}
    assert {part: row["total_ns"] for part, row in parts.items()} == {
        "allocation": None, "zeroing": 10 * 200_000, "preparation": 10 * 100_000, "lookup": 10 * 300_000,
        "rest": 10 * 400_000,
    }  # fmt: skip
    assert {row["faults"] for row in parts.values()} == {10}
    assert sum(row["share"] or 0 for row in parts.values()) == pytest.approx(1)


def test_a_preparation_of_unknown_time_is_in_no_mean(report_of: Callable[..., Report]) -> None:
    host = Host()
    host.fault(0, 100)
    host.fault(1, 101)
    for row in host.rows:
        if row["event"] == "gmem.prepare" and row["gfn"] == 1:
            row |= {"dur_ns": None, "total_ns": None, "self_ns": None}
    report = report_of(host)
    shown = ("calls", "bytes", "total_ns", "untimed_calls", "ns_per_call", "ns_per_mib")
    assert cells(report, "levels", *shown) == [(2, 2 * PAGE, 100_000, 1, 100_000, 25_600_000)]
    # Of the second fault nobody can say what was preparation and what look-up.
    parts = {row["part"]: (row["faults"], row["total_ns"]) for row in rows(report, "first_touch")}
    assert parts == {
        "allocation": (1, None), "zeroing": (1, 200_000), "preparation": (1, 100_000), "lookup": (1, 300_000),
        "rest": (1, 400_000),
    }  # fmt: skip
    table = report.table("first_touch")
    assert table is not None and table.notes[-1] == "Left out: 1 of which some part's time is unknown."


def test_a_part_that_was_not_recorded_took_no_known_time(report_of: Callable[..., Report]) -> None:
    host = Host()
    host.fault(0, 100)
    host.rows = [row for row in host.rows if row["event"] != "gmem.zero"]
    seen = tuple(event for event in EVENTS if event != "gmem.zero")
    manifest = tuple(ProbeSite(event, event, "fentry", event, proven=True) for event in seen)
    report = report_of(host, events=seen, manifest=manifest)
    parts = {row["part"]: row["total_ns"] for row in rows(report, "first_touch")}
    assert (parts["zeroing"], parts["lookup"]) == (None, 500_000)
    assert cells(report, "clears", "by_gmem", "per_page") == [(None, None)]


def test_a_fault_that_looks_up_twice_is_one(report_of: Callable[..., Report]) -> None:
    host = Host()
    host.fault(0, 100)
    fault = host.rows[-1]
    # Before the other: 100 us more of look-up, and so less of the rest.
    host.event("get", 0, 1, 0, parent="gmem.fault", pfn=100, ts_ns=fault["ts_ns"] - 900_000, dur_ns=100_000)
    parts = {row["part"]: (row["faults"], row["total_ns"]) for row in rows(report_of(host), "first_touch")}
    assert (parts["lookup"], parts["rest"]) == ((1, 400_000), (1, 300_000))


def test_what_ended_2_mib_coverage(report_of: Callable[..., Report]) -> None:
    host = Host()
    base = 1 << 20
    for i in range(8):
        host.fault(HUGE * i, base + HUGE * i, 9, level=9)
    host.event("split", None, HUGE, 9, pfn=base + HUGE * 1, vm=None)
    host.event("punch", HUGE * 2 + 8, 0, bytes_requested=4 * PAGE)
    host.event("punch", HUGE * 3, 0, bytes_requested=2 << 20)
    host.convert(HUGE * 4 + 1, 1, private=False)
    host.convert(HUGE * 5, HUGE, private=False)
    # Changed nothing, so it ended nothing.
    host.convert(HUGE * 6, HUGE, private=False, no_op=True)
    host.fault(HUGE * 7 + 5, 99, level=0)
    report = report_of(host)
    ends = {row["ended_by"]: row["ranges"] for row in rows(report, "coverage")}
    assert ends == {
        "split": 1, "part punched": 1, "punched": 1, "part shared": 1, "shared": 1, "4 KiB again": 1,
        "still covered": 2,
    }  # fmt: skip
    timeline = rows(report, "timeline")
    assert max(row["covered_bytes"] for row in timeline) == 16 << 20
    assert timeline[-1]["covered_bytes"] == 4 << 20


def at_the_end(report: Report, vm: int = 1) -> tuple[int, int]:
    """Bytes prepared and covered at the end of the timeline."""
    last = [row for row in rows(report, "timeline") if row["vm"] == vm][-1]
    return last["prepared_bytes"], last["covered_bytes"]


def test_memory_prepared_again_is_not_more_memory(report_of: Callable[..., Report]) -> None:
    host = Host()
    for _ in range(3):
        host.fault(0, 1 << 20, 9, level=9)
        host.fault(8 * HUGE, 77)
    report = report_of(host)
    assert cells(report, "coverage", "ended_by", "ranges") == [("still covered", 1)]
    assert at_the_end(report) == ((2 << 20) + PAGE, 2 << 20)
    assert cells(report, "again", "preparations", "distinct_gfns", "after_free", "redundant") == [
        (6, 2, 0, 4)
    ]
    host.event("free", None, 1, 0, pfn=77, vm=None, vcpu=None)
    host.event("free", None, HUGE, 9, pfn=1 << 20, vm=None, vcpu=None)
    assert at_the_end(report_of(host)) == (0, 0)


def test_coverage_begins_anew_after_its_end(report_of: Callable[..., Report]) -> None:
    host = Host()
    for _ in range(2):
        host.fault(0, 1 << 20, 9, level=9)
        host.fault(0, 1 << 20, 9, level=9)
        host.event("punch", 0, HUGE, bytes_requested=2 << 20)
    assert cells(report_of(host), "coverage", "ended_by", "ranges") == [("punched", 2)]


def test_a_folio_is_one_whichever_of_its_pages_is_named(report_of: Callable[..., Report]) -> None:
    """As in 6.11: prepared at each look-up, by the gfn and pfn looked up."""
    host = Host()
    for i in (5, 7):
        host.fault(HUGE + i, (1 << 20) + i, 9)
    host.event("free", None, HUGE, 9, pfn=1 << 20, vm=None, vcpu=None)
    report = report_of(host)
    assert cells(report, "map", "gfn", "bytes", "prepared_bytes") == [(HUGE, 2 << 20, 2 << 20)]
    assert max(row["prepared_bytes"] for row in rows(report, "timeline")) == 2 << 20
    assert at_the_end(report) == (0, 0)


def test_a_page_of_1_gib_is_512_ranges(report_of: Callable[..., Report]) -> None:
    host, base = Host(), 1 << 20
    host.fault(0, base, 18, level=18)
    host.event("split", None, HUGE, 9, pfn=base + 7 * HUGE, vm=None)
    report = report_of(host)
    assert cells(report, "map", "gfn", "bytes", "state", "prepared_bytes") == [
        (0, 14 << 20, "2 MiB", 14 << 20),
        (7 * HUGE, 2 << 20, "4 KiB", 2 << 20),
        (8 * HUGE, 504 << 21, "2 MiB", 504 << 21),
    ]
    assert cells(report, "coverage", "ended_by", "ranges") == [("still covered", 511), ("split", 1)]
    host.event("free", None, 1 << 18, 18, pfn=base, vm=None, vcpu=None)
    assert at_the_end(report_of(host)) == (0, 0)


def test_initial_contents_are_prepared_memory(report_of: Callable[..., Report]) -> None:
    host = Host()
    host.event("populate", 500, 24, bytes_requested=24 * PAGE)
    host.fault(0, 100)
    report = report_of(host)
    assert at_the_end(report) == (25 * PAGE, 0)
    assert cells(report, "map", "gfn", "prepared_bytes") == [(0, 25 * PAGE)]
    assert rows(report, "map")[0]["bytes"] == 4 << 20


def test_without_the_hook_the_secure_ept_says_what_was_prepared(report_of: Callable[..., Report]) -> None:
    """TDX on a kernel without SEV-SNP: tdh_mem_page_aug() names no pfn."""
    host = Host()
    for i, order in enumerate((9, 0)):
        host.event("assign", HUGE * i, 1 << order, order, parent="gmem.fault")
        host.event("fault", HUGE * i, 1 << order, order)
    report = report_of(host, "tdx")
    assert at_the_end(report) == ((2 << 20) + PAGE, 2 << 20)
    assert cells(report, "map", "gfn", "state", "prepared_bytes") == [
        (0, "2 MiB", 2 << 20),
        (HUGE, "in part", PAGE),
    ]


def test_what_failed_is_not_counted_with_what_did_not(report_of: Callable[..., Report]) -> None:
    host = Host()
    host.fault(0, 100)
    failed = PRIVATE | int(Flag.FAILED)
    host.event("prepare", 5, 1, 0, pfn=105, parent="gmem.get", flags=failed)
    host.event("punch", 5, 0, bytes_requested=PAGE, flags=failed)
    report = report_of(host)
    assert cells(report, "vms", "preparations", "prepared_bytes", "holes") == [(1, PAGE, 0)]
    assert at_the_end(report) == (PAGE, 0)


def test_holes_by_size_and_alignment_and_the_2_mib_rule(report_of: Callable[..., Report]) -> None:
    host = Host()
    host.event("punch", 8, 1, bytes_requested=PAGE)
    host.event("punch", 16, 16, bytes_requested=64 << 10)
    host.event("punch", 33, 16, bytes_requested=64 << 10)
    host.event("punch", HUGE, HUGE, bytes_requested=2 << 20)
    host.event("punch", 2 * HUGE + 1, 511, bytes_requested=2 << 20)
    host.event("punch", 8 * HUGE - 4, 2 * HUGE, bytes_requested=(2 << 20) + 8 * PAGE)
    host.event("punch", 0, 0, bytes_requested=PAGE, flags=PRIVATE | int(Flag.FAILED))
    found = cells(
        report_of(host), "holes", "size_bytes", "alignment_bytes", "count", "freed_bytes", "whole", "rounded",
        "refused", "kept_bytes",
    )  # fmt: skip
    assert found == [
        (4 << 10, 4 << 10, 1, 4 << 10, 0, 0, 1, 4 << 10),
        (64 << 10, 4 << 10, 1, 64 << 10, 0, 0, 1, 64 << 10),
        (64 << 10, 64 << 10, 1, 64 << 10, 0, 0, 1, 64 << 10),
        (2 << 20, 4 << 10, 2, (2 << 20) - PAGE + (4 << 20), 0, 1, 1, (2 << 20) - PAGE + (2 << 20)),
        (2 << 20, 2 << 20, 1, 2 << 20, 1, 0, 0, 0),
    ]


def test_pages_prepared_twice_and_kept_after_a_hole(report_of: Callable[..., Report]) -> None:
    host = Host()
    for gfn in range(4):
        host.fault(gfn, 100 + gfn)
    host.punch(1, 2, {1: 101, 2: 102})
    host.fault(1, 101)
    # Prepared though it was: nothing had been given back.
    host.fault(3, 103)
    report = report_of(host)
    assert cells(report, "again", "preparations", "distinct_gfns", "after_free", "redundant") == [
        (6, 4, 1, 1)
    ]
    assert cells(report, "kept", "ranges", "holes", "kept_bytes", "freed_bytes") == [
        (1, 1, 2 * PAGE, 2 * PAGE)
    ]


def test_what_whole_holes_gave_back_is_not_of_those_in_part(report_of: Callable[..., Report]) -> None:
    host = Host()
    for i in range(4):
        host.fault(i, 100 + i)
    host.punch(0, HUGE, {i: 100 + i for i in range(4)})
    host.fault(0, 200)
    host.fault(1, 201)
    host.punch(0, 1, {0: 200})
    # Allocated again, but not used: what is given back was not prepared.
    host.punch(0, 1, {0: 300})
    assert cells(report_of(host), "kept", "ranges", "holes", "kept_bytes", "freed_bytes") == [
        (1, 2, PAGE, PAGE)
    ]


def test_to_and_fro(report_of: Callable[..., Report]) -> None:
    host = Host()
    host.fault(0, 1)
    host.convert(0, 1 << 14, private=True)
    for _ in range(3):
        host.convert(64, 16, private=False)
        host.convert(64, 16, private=True)
    host.convert(64, 16, private=True, no_op=True)
    report = report_of(host)
    assert cells(report, "pingpong", "gfn", "bytes", "to_private", "to_shared", "round_trips") == [
        (64, 64 << 10, 3, 3, 3)
    ]
    assert cells(report, "vms", "to_private", "to_shared", "no_op") == [(4, 3, 1)]


def test_a_stall_is_not_slow_work(report_of: Callable[..., Report]) -> None:
    host = Host()
    for i in range(20):
        host.fault(i, 100 + i)
    host.now += 20_000 * MS
    host.fault(20, 120)
    for i in range(20):
        host.fault(HUGE * 4 + i, 200 + i)
    verdicts = {row["gfn"]: row["verdict"] for row in rows(report_of(host), "stalls")}
    assert verdicts == {0: "one gap", HUGE * 4: "steady"}


def test_the_first_fault_of_a_region_has_no_gap_before_it(report_of: Callable[..., Report]) -> None:
    host = Host()
    for gfn, gap in enumerate((0, 9, 9, 9, 11, 11, 11, 100)):
        host.now += gap * MS
        host.event("fault", gfn, 1, 0, dur_ns=MS)
    # The median gap is 11 ms, and the longest less than ten of them.
    assert cells(report_of(host), "stalls", "gap_ns", "verdict") == [(100 * MS, "steady")]


def test_what_other_policies_would_have_done(report_of: Callable[..., Report]) -> None:
    host = Host()
    host.convert(0, 4 * HUGE, private=True)
    for i in range(100):
        host.fault(i, 100 + i)
    for i in range(50):
        host.fault(HUGE + i, 1000 + i)
    # The first range breaks; the pages of the hole are touched again.
    host.punch(10, 4, {10 + i: 110 + i for i in range(4)})
    for i in range(4):
        host.fault(10 + i, 500 + i)
    report = report_of(host)
    found = {row["policy"]: row for row in rows(report, "whatif")}

    def of(name: str) -> tuple[int, ...]:
        row = found[name]
        pages = row["cleared_bytes"] // PAGE
        return row["faults"], row["preparations"], pages, row["holes_refused"]

    assert of("as recorded") == (154, 154, 154, 0)
    # Two huge pages, then four small ones in the broken range.
    assert of("huge+fallback") == (6, 6, 2 * HUGE + 4, 0)
    assert of("huge only") == (2, 2, 2 * HUGE, 1)
    assert of("no small holes") == (154, 150, 150, 1)
    # All pages of the four ranges are made by the conversion; the hole's are faulted in again.
    assert of("prefault") == (4, 154 + 4 * HUGE - 150, 154 + 4 * HUGE - 150, 0)
    assert found["as recorded"]["time_ns"] == 154 * 1_000_000
    assert found["preallocated"]["time_ns"] is None
    fault, clear, prepare = 700_000, 200_000, 100_000
    assert found["no small holes"]["time_ns"] == 154 * 1_000_000 - 4 * (clear + prepare)
    assert found["prefault"]["time_ns"] == 154 * 1_000_000 - 150 * fault + (4 * HUGE - 150) * (
        clear + prepare
    )


def test_freed_pages_go_to_the_vm_that_had_them(report_of: Callable[..., Report]) -> None:
    host = Host()
    host.fault(5, 100)
    host.event("free", None, 1, 0, pfn=100, vm=None, vcpu=None)
    # Never touched by the guest; its process is known.
    host.event("free", None, 1, 0, pfn=200, vm=None, vcpu=None)
    assert cells(report_of(host), "vms", "vm", "freed_bytes", "prepared_bytes") == [(1, 2 * PAGE, PAGE)]


def test_a_page_that_changed_hands_is_not_the_first_vm_s(run_of: Callable[[Case | str], Run]) -> None:
    first, second = Host(), Host(vm=2)
    first.fault(5, 100)
    first.punch(5, 1, {5: 100})
    second.now = first.now
    # The second allocates that page, never touches it, and ends.
    second.event("free", None, 1, 0, pfn=100, vm=None, vcpu=None, pid=200, tid=201)
    machines = tuple(VirtualMachine(n, n * 100, "qemu", "snp", True, START + 2 * MS) for n in (1, 2))
    both = Case(first.rows + second.rows, header(*EVENTS), status(60, vms=machines, exit_status=None))
    report = view(run_of(both), "gmem", PLAIN).report
    assert cells(report, "vms", "vm", "freed_bytes") == [(1, PAGE), (2, PAGE)]


def test_vms_that_were_there_before_are_named_whichever_they_are(run_of: Callable[[Case | str], Run]) -> None:
    host = Host()
    host.fault(5, 100)
    machines = tuple(
        VirtualMachine(n, 100, "qemu", "snp", True, first) for n, first in ((1, None), (2, START))
    )
    made = Case(host.rows, header(*EVENTS), status(60, vms=machines, exit_status=None))
    caveats = {caveat.id: caveat.text for caveat in view(run_of(made), "gmem", PLAIN).report.caveats}
    assert "when recording began: VM 2;" in caveats["vm-before"]


def test_the_figure(run_of: Callable[[Case | str], Run], tmp_path: Path) -> None:
    host = Host()
    host.convert(0, 2 * HUGE, private=True)
    host.fault(0, HUGE, 9, level=9)
    host.convert(HUGE, 16, private=False)
    result = view(run_of(case(host, workload=("sh", "-c", "$A $B"))), "gmem", PLAIN)
    for suffix in ("png", "svg"):
        file = tmp_path / f"figure.{suffix}"
        result.draw(file)
        assert file.stat().st_size > 5000


def refused(report_of: Callable[..., Report], host: Host, kind: str = "snp", **changes: Any) -> str:
    with pytest.raises(MemtraceError) as error:
        report_of(host, kind, **changes)
    return str(error.value)


def test_runs_that_cannot_answer_say_why(
    report_of: Callable[..., Report], run_of: Callable[..., Run]
) -> None:
    empty = Host()
    with pytest.raises(MemtraceError, match=r"no events of guest_memfd: record on the host"):
        view(run_of("streamed"), "gmem", PLAIN)
    assert "no private memory in it: VM 1 cannot have any" in refused(report_of, empty, "default")
    assert "no VM used a guest_memfd" in refused(report_of, empty, "snp")
    why = (Refusal("kvm", "absent", "KVM is not loaded: modprobe kvm_amd"),)
    manifest = tuple(ProbeSite(event, None, refused=why) for event in EVENTS)
    assert refused(report_of, empty, manifest=manifest).endswith("KVM is not loaded: modprobe kvm_amd")


def test_clears_of_a_page(report_of: Callable[..., Report]) -> None:
    host = Host()
    host.fault(0, 100)
    facts = (Fact("init_on_alloc", "yes"), Fact("init_on_free", "no"))
    assert cells(report_of(host, facts=facts), "clears", "pages", "by_gmem", "per_page", "is_expected") == [
        (1, 1, 2.0, True)
    ]
    known = dataclasses.replace(header(), facts=(Fact("init_on_alloc", "unknown"),)).facts
    assert cells(report_of(host, facts=known), "clears", "per_page", "is_expected") == [(None, False)]
    alloc = {"event": "alloc", "parent": "gmem.get", "pfn": 100, "ts_ns": START + MS - 800_000, "vm": None}
    host.event("x", None, 1, 0, **alloc, flags=int(Flag.ZEROED), dur_ns=1)
    assert cells(report_of(host, facts=known), "clears", "by_allocator", "per_page") == [(1, 2.0)]


@pytest.mark.parametrize("orders", [(0,) * 4, (9,) * 4, (9, 9, 0, 0)], ids=str)
def test_clears_are_of_pages_and_not_of_folios(
    run_of: Callable[[Case | str], Run], orders: tuple[int, ...]
) -> None:
    host = Host()
    for i, order in enumerate(orders):
        pfn = (1 << 20) + i * HUGE
        of_folio = {"event": "alloc", "parent": "gmem.get", "pfn": pfn, "vm": None}
        host.event("x", None, 1 << order, order, **of_folio, flags=int(Flag.ZEROED), dur_ns=1)
        host.fault(i * HUGE, pfn, order)
    facts = (Fact("init_on_alloc", "yes"), Fact("init_on_free", "no"))
    report = view(run_of(case(host, facts=facts)), "gmem", PLAIN).report
    pages = sum(1 << order for order in orders)
    assert cells(report, "clears", "pages", "by_gmem", "by_allocator", "per_page", "is_expected") == [
        (pages, pages, pages, 2.0, False)
    ]


def test_the_allocator_s_part_is_unknown_where_it_may_clear_when_freed(
    report_of: Callable[..., Report],
) -> None:
    host = Host()
    host.fault(0, 100)
    for on_alloc, on_free, per_page in (
        ("yes", "yes", 1.0), ("yes", "unknown", None), ("no", "unknown", 1.0), ("unknown", "yes", 1.0),
    ):  # fmt: skip
        facts = (Fact("init_on_alloc", on_alloc), Fact("init_on_free", on_free))
        assert cells(report_of(host, facts=facts), "clears", "per_page") == [(per_page,)]


def seen_only(*events: str) -> dict[str, Any]:
    """A header of a run with these events."""
    manifest = tuple(ProbeSite(event, event, "fentry", event, proven=True) for event in events)
    return {"events": events, "manifest": manifest}


def test_without_what_gives_back_nobody_knows_what_is_left(
    run_of: Callable[[Case | str], Run], tmp_path: Path
) -> None:
    host = Host()
    host.fault(0, 100)
    host.event("punch", 0, 1, bytes_requested=PAGE)
    host.fault(0, 100)
    seen = tuple(event for event in EVENTS if event != "gmem.free")
    result = view(run_of(case(host, **seen_only(*seen))), "gmem", PLAIN)
    report = result.report
    assert cells(report, "again", "preparations", "after_free", "redundant") == [(2, None, None)]
    assert cells(report, "kept", "holes", "kept_bytes", "freed_bytes") == [(1, None, None)]
    assert {row["prepared_bytes"] for row in rows(report, "timeline")} == {None}
    table = report.table("map")
    assert table is not None and not table.rows
    assert table.notes == ("Not known: needs gmem.free, and gmem.prepare or gmem.assign.",)
    result.draw(tmp_path / "figure.png")


def test_without_preparations_no_size_of_page_is_known(report_of: Callable[..., Report]) -> None:
    host = Host()
    host.event("fault", 0, 1, 0)
    table = report_of(host, **seen_only("gmem.fault")).table("coverage")
    assert table is not None
    assert table.notes == ("Not known: neither gmem.prepare nor gmem.assign was seen in this run.",)


def test_holes_of_unknown_length_or_place_are_no_small_ones(report_of: Callable[..., Report]) -> None:
    host = Host()
    host.fault(0, 100)
    host.event("punch", HUGE, 5)
    host.event("punch", None, 1, bytes_requested=2 << 20)
    host.event("punch", HUGE, None, bytes_requested=2 << 20)
    shown = ("size_bytes", "alignment_bytes", "count", "asked_bytes", "freed_bytes", "refused", "kept_bytes")
    assert cells(report_of(host), "holes", *shown) == [
        (2 << 20, 2 << 20, 1, 2 << 20, None, 0, None),
        (2 << 20, None, 1, 2 << 20, PAGE, None, None),
        (None, 2 << 20, 1, None, 5 * PAGE, None, None),
    ]


def test_conversions_that_changed_nothing_may_look_like_the_others(report_of: Callable[..., Report]) -> None:
    """As where kvm_arch_pre_set_memory_attributes() cannot be probed."""
    host = Host()
    host.fault(0, 100)
    host.event("convert", 0, None, bytes_requested=PAGE, vcpu=None)
    report = report_of(host)
    assert cells(report, "vms", "to_private", "no_op") == [(1, None)]
    assert "changes-untold" in {caveat.id for caveat in report.caveats}


def test_a_failed_assignment_is_no_fallback(report_of: Callable[..., Report]) -> None:
    host = Host()
    host.fault(0, 1 << 20, 9, level=9)
    tried = dict(host.rows[1], order=0, bytes=0, flags=PRIVATE | int(Flag.FAILED))
    assert tried["event"] == "gmem.assign"
    host.rows.append(tried | {"ts_ns": tried["ts_ns"] - 1000, "dur_ns": 1000})
    host.fault(HUGE, (1 << 20) + HUGE, level=0)
    assert cells(report_of(host), "levels", "level", "calls", "fallbacks") == [(0, 1, 0), (9, 1, 0)]
