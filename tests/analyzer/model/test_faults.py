# SPDX-License-Identifier: Apache-2.0
"""The staged table ``faults``: what memory a fault was of, and what of it is known."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from memtrace.tests.analyzer.gmem.host import EVENTS, MS, Host, case
from memtrace.tests.analyzer.model.traces import PLAIN, PRIVATE, fault, imported, told
from memtrace.tests.analyzer.recorded import START, Case
from memtrace.traces.reader import Run
from memtrace.traces.schema import Flag

RunOf = Callable[[Case | str], Run]


def memory_of(run: Run) -> list[Any]:
    return [memory for _, memory in told(run, "faults", "number", "memory")]


@pytest.mark.parametrize(
    ("code", "memory"),
    [
        (PRIVATE, "private"),
        (PLAIN, "unknown"),
        # The C-bit of an SEV guest, EPT, and shadow paging.
        (0x500000006, "unknown"),
        (0x182, "unknown"),
        (0x6, "unknown"),
    ],
)
def test_what_a_trace_shows_of_the_memory(tmp_path: Path, code: int, memory: str) -> None:
    with imported(tmp_path, [fault(1, 0x1000000, code)]) as run:
        columns = ("memory", "gpa", "begin_ns", "end_ns", "failed", "retried", "source")
        expected = (memory, 0x1000000, 10**9, None, None, None, "tracepoint:kvm:kvm_page_fault")
        assert told(run, "faults", *columns)[0][:-1] == expected[:-1]


def test_an_address_of_shadow_paging_is_none_of_guest_memory(tmp_path: Path) -> None:
    lines = [fault(1, 0xFFFFFFFF81A00000, 0x2), fault(2, 0x601040, 0x6), fault(3, 0x601040, 0x6, tid=3311)]
    with imported(tmp_path, lines) as run:
        assert told(run, "faults", "number", "gfn", "region_gfn") == [
            (1, None, None),
            (2, None, None),
            (3, 0x601, 0x600),
        ]


def test_a_recorded_fault_is_what_kvm_found_it_to_be(run_of: RunOf) -> None:
    host = Host()
    host.fault(5, 100)
    host.event("fault", 6, 1, 0, flags=0)
    host.event("fault", 7, 0, None, flags=int(Flag.FAILED))
    host.event("fault", 8, 0, None, flags=int(Flag.RETRIED | Flag.PRIVATE))
    assert told(run_of(case(host)), "faults", "gfn", "memory", "failed", "retried", "pages") == [
        (5, "private", False, False, 1),
        (6, "shared", False, False, 1),
        (7, "shared", True, False, 0),
        (8, "private", False, True, 0),
    ]


@pytest.mark.parametrize(
    ("kind", "expected"),
    [
        ("default", ["ordinary", "ordinary"]),
        ("snp", ["private", "shared"]),
        ("sw-protected", ["private", "unknown"]),
        ("tdx", ["private", "unknown"]),
    ],
)
def test_a_recorded_tracepoint_tells_of_an_snp_guest_alone(
    run_of: RunOf, kind: str, expected: list[str]
) -> None:
    host = Host()
    endless = {"dur_ns": None, "total_ns": None, "self_ns": None}
    host.event("fault", 5, None, None, **endless)
    host.event("fault", 6, None, None, flags=0, **endless)
    assert memory_of(run_of(case(host, kind))) == expected


def test_a_look_up_in_the_guest_memfd_shows_that_the_memory_is_private(run_of: RunOf) -> None:
    host = Host()
    endless = {"dur_ns": None, "total_ns": None, "self_ns": None, "flags": 0}
    host.event("fault", 5, None, None, **endless)
    host.event("get", 5, 1, 0, pfn=100)
    host.event("fault", 6, None, None, **endless)
    host.event("get", 7, 1, 0, pfn=101)
    host.event("fault", 8, None, None, **endless)
    host.event("get", 8, 1, 0, pfn=102, parent="gmem.prefault")
    host.event("fault", 9, None, None, **endless)
    host.event("get", 9, 1, 0, pfn=103, tid=102)
    assert memory_of(run_of(case(host, "sw-protected"))) == ["private", "unknown", "unknown", "unknown"]


def test_start_and_end_are_those_of_the_function(run_of: RunOf) -> None:
    host = Host()
    host.event("fault", 5, 1, 0)
    end = START + MS
    assert told(run_of(case(host)), "faults", "begin_ns", "end_ns", "dur_ns") == [
        (end - 100_000, end, 100_000)
    ]


def test_regions_are_of_one_size_and_no_more_than_64(run_of: RunOf) -> None:
    host = Host()
    for gfn in (0, 511, 512, 64 * 1024 - 1):
        host.event("fault", gfn, 1, 0)
    # 64 Ki pages in 64 regions of 1,024.
    assert told(run_of(case(host)), "faults", "gfn", "region_gfn", "region_pages") == [
        (0, 0, 1024),
        (511, 0, 1024),
        (512, 0, 1024),
        (64 * 1024 - 1, 63 * 1024, 1024),
    ]


def test_what_the_recorder_caused_is_left_out(run_of: RunOf) -> None:
    host = Host()
    host.event("fault", 5, 1, 0, flags=int(Flag.TRACER))
    assert "gmem.fault" in EVENTS
    assert told(run_of(case(host)), "faults", "number") == []
