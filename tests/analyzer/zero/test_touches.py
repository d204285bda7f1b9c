# SPDX-License-Identifier: Apache-2.0
"""The first clear of a frame against later ones."""

from __future__ import annotations

import pytest

from memtrace.tests.analyzer.recorded import START, Case, aggregated, header, status, streamed
from memtrace.tests.analyzer.zero.tables import RunOf, report, rows


def test_the_first_clear_of_a_frame_is_told_from_later_ones(run_of: RunOf) -> None:
    cleared = [
        streamed("zero.user", 9, ns, pfn=pfn, ts_ns=START + i)
        for i, (pfn, ns) in enumerate([(512, 9000), (512, 1000), (1024, 7000), (512, 3000)])
    ]
    (row,) = rows(run_of(Case(cleared, header("zero.user"), status())), "touches")
    assert (row["first_bytes"], row["again_bytes"]) == (4 << 20, 4 << 20)
    assert row["first_ns_per_4kib"] == pytest.approx(16000 / 1024)
    assert row["again_ns_per_4kib"] == pytest.approx(4000 / 1024)


def test_clears_streamed_for_their_length_say_nothing_of_first_touches(run_of: RunOf) -> None:
    found = [
        streamed("zero.user", 9, 9000, pfn=512),
        streamed("zero.alloc", 0, 200_000, pfn=7),
        aggregated("zero.alloc", 100, 300),
    ]
    run = run_of(Case(found, header("zero.user", "zero.alloc"), status()))
    assert [(row["event"], row["order"]) for row in rows(run, "touches")] == [("zero.user", 9)]
    table = report(run).table("touches")
    assert table is not None and "order 0, which was summed in the kernel" in table.notes[-1]
