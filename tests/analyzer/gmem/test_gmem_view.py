# SPDX-License-Identifier: Apache-2.0
"""The gmem view on generated events: conversions, stalls, policies, VMs, and runs that cannot answer."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from memtrace.analyzer.tables import Report
from memtrace.analyzer.views import PLAIN, view
from memtrace.errors import MemtraceError
from memtrace.tests.analyzer.gmem.host import EVENTS, HUGE, MS, PAGE, PRIVATE, Host, case, seen_only
from memtrace.tests.analyzer.gmem.tables import at_the_end, cells, rows
from memtrace.tests.analyzer.recorded import START, Case, header, status
from memtrace.traces.reader import Run
from memtrace.traces.run import ProbeSite, Refusal, VirtualMachine
from memtrace.traces.schema import Flag


def test_what_failed_is_not_counted_with_what_did_not(report_of: Callable[..., Report]) -> None:
    host = Host()
    host.fault(0, 100)
    failed = PRIVATE | int(Flag.FAILED)
    host.event("prepare", 5, 1, 0, pfn=105, parent="gmem.get", flags=failed)
    host.event("punch", 5, 0, bytes_requested=PAGE, flags=failed)
    report = report_of(host)
    assert cells(report, "vms", "preparations", "prepared_bytes", "holes") == [(1, PAGE, 0)]
    assert at_the_end(report) == (PAGE, 0)


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
    why = (Refusal("kvm", "not loaded", "KVM is not loaded: modprobe kvm_amd"),)
    manifest = tuple(ProbeSite(event, None, refused=why) for event in EVENTS)
    assert refused(report_of, empty, manifest=manifest).endswith("KVM is not loaded: modprobe kvm_amd")


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


def test_conversions_that_changed_nothing_may_look_like_the_others(report_of: Callable[..., Report]) -> None:
    """As where kvm_arch_pre_set_memory_attributes() cannot be probed."""
    host = Host()
    host.fault(0, 100)
    host.event("convert", 0, None, bytes_requested=PAGE, vcpu=None)
    report = report_of(host)
    assert cells(report, "vms", "to_private", "no_op") == [(1, None)]
    assert "changes-untold" in {caveat.id for caveat in report.caveats}
