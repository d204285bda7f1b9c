# SPDX-License-Identifier: Apache-2.0
"""At which level memory was prepared: those of the RMP, and none without SNP or TDX."""

from __future__ import annotations

from collections.abc import Callable

from memtrace.analyzer.tables import Report
from memtrace.tests.analyzer.gmem.host import HUGE, PAGE, PRIVATE, Host
from memtrace.tests.analyzer.gmem.tables import cells, rows
from memtrace.traces.schema import Flag


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


def test_a_failed_assignment_is_no_fallback(report_of: Callable[..., Report]) -> None:
    host = Host()
    host.fault(0, 1 << 20, 9, level=9)
    tried = dict(host.rows[1], order=0, bytes=0, flags=PRIVATE | int(Flag.FAILED))
    assert tried["event"] == "gmem.assign"
    host.rows.append(tried | {"ts_ns": tried["ts_ns"] - 1000, "dur_ns": 1000})
    host.fault(HUGE, (1 << 20) + HUGE, level=0)
    assert cells(report_of(host), "levels", "level", "calls", "fallbacks") == [(0, 1, 0), (9, 1, 0)]
