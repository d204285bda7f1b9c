# SPDX-License-Identifier: Apache-2.0
"""Whole pages of the gmem view: a host with a bit of everything, and a recorded kvm_page_fault trace."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from memtrace.analyzer.render import render
from memtrace.analyzer.report import Request, make
from memtrace.analyzer.views import Choice, view
from memtrace.tests.analyzer.gmem.host import HUGE, PAGE, Host, case
from memtrace.tests.analyzer.goldens import as_it_was, fits_mail
from memtrace.tests.analyzer.recorded import Case
from memtrace.traces.importers import assemble
from memtrace.traces.reader import Run

GOLDEN = Path(__file__).parent / "golden"
SAVED = Path(__file__).parents[2] / "traces" / "importers" / "data" / "gmem-fault-6.12.trace.gz"


def everything() -> Host:
    """Pages of both sizes, each end of a 2 MiB page, holes, conversions to and fro, a second preparation."""
    host, base = Host(), 1 << 20
    for i in range(6):
        host.fault(HUGE * i, base + HUGE * i, 9, level=9)
    host.event("split", None, HUGE, 9, pfn=base + HUGE, vm=None)
    host.event("punch", HUGE * 2 + 8, 0, bytes_requested=4 * PAGE)
    host.event("punch", HUGE * 3, 0, bytes_requested=2 << 20)
    for _ in range(3):
        host.convert(HUGE * 4, 16, private=False)
        host.convert(HUGE * 4, 16, private=True)
    for i in range(40):
        host.fault(HUGE * 20 + i, 5_000 + i, level=0)
    host.punch(HUGE * 20, 4, {HUGE * 20 + i: 5_000 + i for i in range(4)})
    host.fault(HUGE * 20, 6_000, level=0)
    host.event("allocate", HUGE * 30, HUGE, bytes_requested=2 << 20)
    return host


@pytest.mark.parametrize(("name", "what_if"), [("everything", False), ("everything-what-if", True)])
def test_a_host_with_everything(name: str, what_if: bool, run_of: Callable[[Case | str], Run]) -> None:
    golden = GOLDEN / f"{name}.txt"
    as_it_was(
        golden, render(view(run_of(case(everything())), "gmem", Choice(what_if=what_if)).report, "text")
    )
    fits_mail(golden)


def test_a_recorded_trace(folder: Path) -> None:
    assemble.run_import(assemble.Request((str(SAVED),), Path("run.parquet")))
    golden = GOLDEN / "kvm-page-fault.txt"
    as_it_was(golden, make(Request(("run.parquet",), view="gmem")))
    fits_mail(golden)
