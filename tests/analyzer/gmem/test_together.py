# SPDX-License-Identifier: Apache-2.0
"""A host and a guest on one clock: the offset is known, and must come out within its uncertainty."""

from __future__ import annotations

import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from memtrace.analyzer.tables import Report
from memtrace.analyzer.views import Choice, view
from memtrace.errors import MemtraceError
from memtrace.tests.analyzer.cases import Case, Row, header, status, write
from memtrace.tests.analyzer.gmem.test_gmem_view import HUGE, MS, PAGE, Host, case, rows
from memtrace.traces.reader import Run
from memtrace.traces.run import ClockAnchor

OFFSET = 987_654_321_123
"""The host's clock less the guest's."""
Guest = Callable[..., Path]


def accept(begun: int, ended: int, pfn: int, pages: int) -> Row:
    """A guest's accept.call, by the host's clock."""
    length = ended - begun
    return {
        "ts_ns": ended - OFFSET, "dur_ns": length, "count": 1, "total_ns": length, "self_ns": length,
        "event": "accept.call", "site": "fentry:accept_memory", "cpu": 0, "pid": 1, "tid": 1, "comm": "init",
        "pfn": pfn, "bytes": pages * PAGE, "bytes_requested": pages * PAGE, "flags": 0,
    }  # fmt: skip


@pytest.fixture
def guest(tmp_path: Path) -> Guest:
    def make(accepts: list[Row], shift: int = 0, **changes: Any) -> Path:
        path = tmp_path / "guest.parquet"
        done = status(1, started_ns=1, ended_ns=100_000 * MS, **changes)
        for row in accepts:
            row["ts_ns"] += shift
        write(Case(accepts, header("accept.call"), done), path)
        return path

    return make


def pair(accepts: int = 20) -> tuple[Host, list[Row]]:
    """A host whose guest accepts 4 MiB at a time, each with a conversion and 16 faults inside."""
    host, found, chance = Host(), [], random.Random(1)
    for i in range(accepts):
        begun = host.now + chance.randrange(MS)
        host.now = begun
        host.convert(2 * HUGE * i, 2 * HUGE, private=True)
        for k in range(16):
            host.fault(2 * HUGE * i + k, 100_000 * i + k, prepare=False)
        ended = host.now + chance.randrange(1, MS)
        found.append(accept(begun, ended, 2 * HUGE * i, 2 * HUGE))
        host.now = ended + chance.randrange(5 * MS)
    # Touched again later, without a guest's accept.
    host.fault(3, 4, prepare=False)
    return host, found


def report_of(run_of: Callable[[Case], Run], host: Host, path: Path, **changes: Any) -> Report:
    return view(run_of(case(host, **changes)), "gmem", Choice(guest=path)).report


def test_the_offset_is_found_by_memory(run_of: Callable[[Case], Run], guest: Guest) -> None:
    host, accepts = pair()
    report = report_of(run_of, host, guest(accepts))
    (clock,) = rows(report, "clock")
    assert (clock["method"], clock["pairs"], clock["agreeing"], clock["vm"]) == ("memory", 20, 20, 1)
    # The first of 16 faults may be anywhere in its accept.
    assert abs(clock["offset_ns"] - OFFSET) <= clock["uncertainty_ns"] < min(r["dur_ns"] for r in accepts) / 2
    found = rows(report, "accepts")
    assert [(row["host_faults"], row["host_converts"]) for row in found] == [(16, 1)] * 20
    assert {row["host_fault_ns"] for row in found} == {16 * MS}
    assert found[0]["guest_ns"] == max(row["dur_ns"] for row in accepts)
    assert found[0]["host_share"] == pytest.approx((16 * MS + 100_000) / found[0]["guest_ns"])


def test_a_few_strange_pairs_do_not_move_it(run_of: Callable[[Case], Run], guest: Guest) -> None:
    host, accepts = pair()
    # Memory that the host had touched before, and accepts that came long after.
    for i in range(3):
        accepts[i]["ts_ns"] += 7_000 * MS
    (clock,) = rows(report_of(run_of, host, guest(accepts)), "clock")
    assert (clock["pairs"], clock["agreeing"]) == (20, 17)
    assert abs(clock["offset_ns"] - OFFSET) <= clock["uncertainty_ns"]


def test_a_guest_of_another_boot_is_refused(run_of: Callable[[Case], Run], guest: Guest) -> None:
    host, accepts = pair()
    chance = random.Random(2)
    for row in accepts:
        row["ts_ns"] = chance.randrange(10**6 * MS)
    with pytest.raises(MemtraceError, match=r"not of a VM in .* or of another boot"):
        report_of(run_of, host, guest(accepts))


def test_without_common_memory_the_wall_clocks_serve_and_say_so(
    run_of: Callable[[Case], Run], guest: Guest, tmp_path: Path
) -> None:
    host, _ = pair()
    away = [accept(host.now, host.now + MS, 10**6, 512)]
    there = (ClockAnchor(1000, 0, 5 * 10**18, 40),)
    here = (ClockAnchor(1000 + OFFSET, 0, 5 * 10**18, 60),)
    path = guest(away, anchors=there)
    report = report_of(run_of, host, path, anchors=here)
    (clock,) = rows(report, "clock")
    assert (clock["method"], clock["offset_ns"], clock["uncertainty_ns"]) == ("wall clock", OFFSET, 100)
    late = (ClockAnchor(1000 + OFFSET, 0, 6 * 10**18, 60),)
    with pytest.raises(MemtraceError, match=r"not recorded at the same time"):
        report_of(run_of, host, path, anchors=late)
    with pytest.raises(MemtraceError, match=r"cannot be put on the clock"):
        report_of(run_of, host, path, anchors=())


def test_a_guest_that_accepted_nothing(run_of: Callable[[Case], Run], guest: Guest) -> None:
    host, _ = pair()
    with pytest.raises(MemtraceError, match=r"no accept\.call: record `-e accept` in the guest"):
        report_of(run_of, host, guest([]))
