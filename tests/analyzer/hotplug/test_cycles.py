# SPDX-License-Identifier: Apache-2.0
"""What adding and removing a range again and again costs in free memory."""

from __future__ import annotations

from memtrace.tests.analyzer.hotplug.recorded import (
    BLOCK,
    added,
    case,
    hot,
    taken,
)
from memtrace.tests.analyzer.hotplug.tables import RunOf, report_of, rows_of


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


def test_cycles_with_no_snapshot_between_them_have_a_net_loss_only(run_of: RunOf) -> None:
    rows = []
    for i in range(2):
        rows += [*added(100 * i), hot("remove", 100 * i + 50, 100 * i + 60, 2 * BLOCK)]
    report = report_of(run_of, case(rows, taken(-1, 900_000), taken(300, 899_998)))
    assert rows_of(report, "cycles", "lost_bytes", "memmap_pages") == [(None, None)] * 2
    table = report.table("cycles")
    assert table is not None
    assert table.notes[0] == "net over 2 cycles: +2048 bytes, +1024 a cycle"
