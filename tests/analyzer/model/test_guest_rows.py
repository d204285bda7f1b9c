# SPDX-License-Identifier: Apache-2.0
"""The staged table ``guest_rows``: whose a page was that the kernel gives back."""

from __future__ import annotations

from collections.abc import Callable

from memtrace.tests.analyzer.gmem.host import Host, case
from memtrace.tests.analyzer.model.traces import told
from memtrace.tests.analyzer.recorded import Case
from memtrace.traces.reader import Run
from memtrace.traces.schema import Flag

RunOf = Callable[[Case | str], Run]


def freed(run: Run) -> list[tuple[int | None, int | None]]:
    rows = told(run, "guest_rows", "ts_ns", "event", "vm", "gfn")
    return [(vm, gfn) for _, event, vm, gfn in rows if event == "gmem.free"]


def test_a_page_is_that_of_its_last_look_up(run_of: RunOf) -> None:
    host = Host(vm=2)
    nobody = {"vm": None, "vcpu": None, "pid": 7}
    host.event("get", 512 + 3, 512, 9, pfn=1024)
    host.event("free", None, 512, 9, pfn=1024, **nobody)
    # Given back since.
    host.event("free", None, 1, 0, pfn=1024, **nobody)
    # Of VM 1, whose process it is.
    host.event("free", None, 1, 0, pfn=5000, **(nobody | {"pid": 100}))
    assert freed(run_of(case(host))) == [(2, 512 + 3), (None, None), (1, None)]


def test_rows_of_the_recorder_and_of_others_are_left_out(run_of: RunOf) -> None:
    host = Host()
    host.event("get", 5, 1, 0)
    host.event("get", 6, 1, 0, flags=int(Flag.TRACER))
    host.event("x", 7, 1, 0, event="alloc", parent="gmem.get")
    host.event("x", 8, 1, 0, event="alloc", parent=None)
    assert told(run_of(case(host)), "guest_rows", "gfn", "event", "pages", "asked") == [
        (5, "gmem.get", 1, None),
        (7, "alloc", 1, None),
    ]
