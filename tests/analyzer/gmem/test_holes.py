# SPDX-License-Identifier: Apache-2.0
"""Holes: by size and alignment, what they gave back and what they left prepared."""

from __future__ import annotations

from collections.abc import Callable

from memtrace.analyzer.tables import Report
from memtrace.tests.analyzer.gmem.host import HUGE, PAGE, PRIVATE, Host
from memtrace.tests.analyzer.gmem.tables import cells
from memtrace.traces.schema import Flag


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
