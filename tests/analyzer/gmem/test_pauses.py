# SPDX-License-Identifier: Apache-2.0
"""What the gmem view says of traces of kvm_page_fault: pauses, and no private memory without evidence."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from memtrace.analyzer.tables import Report
from memtrace.analyzer.views import PLAIN, view
from memtrace.tests.analyzer.gmem.host import MS, Host
from memtrace.tests.analyzer.gmem.tables import cells, rows
from memtrace.tests.analyzer.model.traces import PRIVATE, fault, imported

SECOND = 10**9
GIB = 1 << 30
FOUR = [fault(100, 0), fault(100.5, 0x1000), fault(140.5, GIB, tid=2212, vcpu=1), fault(140.6, GIB + 0x1000)]
"""Two vCPUs, and 40 s between two regions."""


def page_of(folder: Path, lines: list[str]) -> Report:
    with imported(folder, lines) as run:
        return view(run, "gmem", PLAIN).report


def exits(line: str) -> list[str]:
    """The fault between its exit to KVM and its return, as where kvm:kvm_exit is traced too."""
    head, event, _ = line.partition("kvm_page_fault:")
    exit_ = f"{head}kvm_exit: vcpu 0 reason npf rip 0x0 info1 0x0000000100000006 info2 0x0 intr_info 0x0"
    return [exit_, head + event + _, f"{head}kvm_entry: vcpu 0, rip 0x0"]


@pytest.mark.parametrize("lines", [FOUR, [each for line in FOUR for each in exits(line)]])
def test_a_pause_is_one_whatever_the_regions_around_it(tmp_path: Path, lines: list[str]) -> None:
    report = page_of(tmp_path, lines)
    assert cells(
        report, "pauses", "task", "at_ns", "pause_ns", "before_start", "after_start", "after_vcpu"
    ) == [(2211, SECOND // 2, 40 * SECOND, "0x1000", "0x40000000", 1)]
    assert cells(report, "stalls", "start", "faults", "gap_ns", "gap_at_ns", "busy_ns", "verdict") == [
        ("0x40000000", 2, 40 * SECOND, SECOND // 2, None, "one gap"),
        ("0x0", 2, SECOND // 2, 0, None, "few"),
    ]


def test_a_pause_of_one_vm_is_one_although_another_goes_on(tmp_path: Path) -> None:
    other = [fault(100 + n / 10, n << 12, tid=3311) for n in range(420)]
    report = page_of(tmp_path, sorted(FOUR + other, key=lambda line: float(line.split()[4].rstrip(":"))))
    assert cells(report, "pauses", "task", "pause_ns") == [(2211, 40 * SECOND)]
    assert {row["verdict"] for row in rows(report, "stalls") if row["task"] == 3311} == {"steady"}


def test_several_pauses_are_gaps(tmp_path: Path) -> None:
    report = page_of(tmp_path, [fault(at, 0) for at in (100, 130, 160, 160.1)])
    assert cells(report, "pauses", "pause_ns") == [(30 * SECOND,), (30 * SECOND,)]
    assert cells(report, "stalls", "gap_ns", "pauses", "paused_ns", "verdict") == [
        (30 * SECOND, 2, 60 * SECOND, "gaps")
    ]


def test_of_few_faults_without_a_long_pause_nothing_is_said(tmp_path: Path) -> None:
    report = page_of(tmp_path, [fault(at, 0) for at in (100, 100.001, 100.5)])
    assert cells(report, "pauses", "pause_ns") == []
    assert cells(report, "stalls", "verdict") == [("few",)]


def test_a_fault_without_a_place_is_in_no_region_and_still_ends_a_pause(tmp_path: Path) -> None:
    report = page_of(tmp_path, [fault(100, 0xFFFFFFFF81000000, 0x2), fault(120, 0x7F0012345000, 0x6)])
    assert cells(report, "stalls", "start", "bytes", "faults", "gap_ns") == [(None, None, 2, 20 * SECOND)]
    assert "faults-unplaced" in {caveat.id for caveat in report.caveats}


def test_the_page_has_the_private_faults_that_the_rows_have(tmp_path: Path) -> None:
    lines = [
        fault(1, 0, PRIVATE),
        fault(2, 0x1000),
        fault(3, 0, tid=3311),
        fault(4, 0, 0x500000006, tid=3311),
    ]
    report = page_of(tmp_path, lines)
    columns = ("task", "faults", "private_faults", "shared_faults", "ordinary_faults", "unknown_faults")
    assert cells(report, "vms", *columns) == [(2211, 2, 1, None, 0, 1), (3311, 2, None, None, 0, 2)]
    assert "of 3 of 4 faults" in next(c.text for c in report.caveats if c.id == "memory-untold")


def test_the_faults_of_an_ordinary_vm_are_ordinary(report_of: Callable[..., Report]) -> None:
    host = Host()
    endless: dict[str, Any] = {"dur_ns": None, "total_ns": None, "self_ns": None, "flags": 0}
    for gfn in range(3):
        host.event("fault", gfn, None, None, **endless)
    report = report_of(host, "default")
    columns = ("faults", "private_faults", "shared_faults", "ordinary_faults", "unknown_faults", "failed")
    assert cells(report, "vms", *columns) == [(3, 0, 0, 3, 0, None)]
    texts = {caveat.id: caveat.text for caveat in report.caveats}
    assert (
        texts["vm-without-private"] == "without private memory, so that these faults are ordinary ones: VM 1"
    )
    assert "memory-untold" not in texts


def test_a_recorded_pause_goes_from_end_to_start(report_of: Callable[..., Report]) -> None:
    host = Host()
    for gfn in (0, 1, 1 << 20):
        host.now += 5000 * MS
        host.event("fault", gfn, 1, 0, dur_ns=MS)
    assert cells(report_of(host), "pauses", "vm", "pause_ns") == [(1, 5000 * MS), (1, 5000 * MS)]
