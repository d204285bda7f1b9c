# SPDX-License-Identifier: Apache-2.0
"""A host's run and its guest's on one clock, against what both kernels say themselves.

The lab guest is the host; its guest accepts private memory by touching each page of it
(unaccepted_emul's clear), logs each accept, and rings a bell that the host hears at once.

Boots: 1.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from memtrace.analyzer.gmem.rows import PRIVATE
from memtrace.analyzer.views import Choice, view
from memtrace.lab import nested_guest
from memtrace.lab.spec import GuestResult
from memtrace.tests.sql import fetched
from memtrace.traces.importers.assemble import Request, run_import
from memtrace.traces.reader import open_run

pytestmark = pytest.mark.vm

Guest = Callable[..., GuestResult]
Rows = list[dict[str, Any]]
# Every event is a row, and under emulation the first checkpoint takes seconds: the rings hold all of it.
SCRIPT = "memtrace record -q -f -e gmem --ring-size 64M -o $RESULTS/host.parquet -- sh -c '{}'".format(
    nested_guest.command("$RESULTS/serial", "$RESULTS/rings")
)


def tables(host: Path, text: str, folder: Path, name: str) -> tuple[dict[str, Any], Rows]:
    """Row of the table clock, rows of accepts."""
    trace, run = folder / f"{name}.txt", folder / f"{name}.parquet"
    trace.write_text(text)
    run_import(Request((str(trace),), run, clock="boot"))
    report = view(open_run(host), "gmem", Choice(guest=run)).report
    clock, accepts = report.table("clock"), report.table("accepts")
    assert clock is not None and accepts is not None
    return dict(clock.rows[0]), [dict(row) for row in accepts.rows]


def heard_in_time(clock: dict[str, Any], folder: Path, rung: str) -> None:
    """The host heard each ring between the guest's looks at its clock before and after it."""
    heard = [int(n) for n in re.findall(r"^DOORBELL \d+ (\d+)$", (folder / "rings").read_text(), re.M)]
    rings = [tuple(map(int, line.split())) for line in rung.splitlines() if line]
    assert len(heard) == len(rings) == 32
    for at, ring in zip(heard, rings, strict=True):
        before, after = (
            t + clock["offset_ns"] + (t - clock["guest_at_ns"]) * clock["drift_ppm"] * 1e-6 for t in ring
        )
        assert before - clock["uncertainty_ns"] <= at <= after + clock["uncertainty_ns"]


def test_each_page_accepted_in_the_guest_is_one_fault_of_the_host_under_it(
    guest: Guest, tmp_path: Path
) -> None:
    result = guest(nested_guest.KERNEL, SCRIPT, files=nested_guest.files(), time_limit_s=600)
    assert result.status == 0
    told = nested_guest.printed((result.results / "serial").read_text())
    assert "end" in told
    assert told["clocksource"].strip() == "tsc"
    host = result.results / "host.parquet"
    assert open_run(host).status.losses.ring_full == 0
    clock, accepts = tables(host, told["trace"], tmp_path, "guest")

    log = [line.split() for line in told["accepts"].splitlines() if line and line[0] != "#"]
    traced = log[-len(accepts) :]
    logged = [(int(line[3], 16) >> 12, int(line[4], 16) >> 12) for line in traced]
    seen = fetched(
        f"SELECT pfn, pfn + bytes // 4096 FROM '{tmp_path / 'guest.parquet'}' "
        "WHERE event = 'accept.arch' ORDER BY ts_ns"
    )
    assert seen == logged and len(logged) > 20
    # Nothing else touches the private memory: before, it was accepted without, and never used.
    faults = fetched(
        f"SELECT gfn FROM '{host}' WHERE event = 'gmem.fault' AND {PRIVATE} AND vm = {clock['vm']}"
    )
    assert sorted(gfn for (gfn,) in faults) == [gfn for start, end in logged for gfn in range(start, end)]

    assert (clock["method"], clock["pairs"], clock["agreeing"]) == ("memory", len(logged), len(logged))
    assert clock["uncertainty_ns"] < min(row["guest_ns"] for row in accepts)
    heard_in_time(clock, result.results, told["doorbells"])
    by_time = sorted(accepts, key=lambda row: int(row["guest_at_ns"]))
    assert [row["host_faults"] for row in by_time] == [end - start for start, end in logged]
    assert all(0 < row["host_share"] < 1 for row in accepts)

    # The guest's run without accept.arch, as of kernels in which that cannot be traced.
    calls = "\n".join(line for line in told["trace"].splitlines() if "unaccepted_emul" not in line)
    clock, accepts = tables(host, calls, tmp_path, "calls")
    assert clock["pairs"] == clock["agreeing"] == len(logged)
    heard_in_time(clock, result.results, told["doorbells"])
    by_time = sorted(accepts, key=lambda row: int(row["guest_at_ns"]))
    assert [row["host_faults"] for row in by_time] == [end - start for start, end in logged]
