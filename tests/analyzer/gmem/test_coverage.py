# SPDX-License-Identifier: Apache-2.0
"""Memory in 2 MiB pages: what ended it, and what is prepared at the end."""

from __future__ import annotations

from collections.abc import Callable

from memtrace.analyzer.tables import Report
from memtrace.tests.analyzer.gmem.host import HUGE, PAGE, Host, seen_only
from memtrace.tests.analyzer.gmem.tables import at_the_end, cells, rows


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


def test_without_preparations_no_size_of_page_is_known(report_of: Callable[..., Report]) -> None:
    host = Host()
    host.event("fault", 0, 1, 0)
    table = report_of(host, **seen_only("gmem.fault")).table("coverage")
    assert table is not None
    assert table.notes == ("Not known: neither gmem.prepare nor gmem.assign was seen in this run.",)
