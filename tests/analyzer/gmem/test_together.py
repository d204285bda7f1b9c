# SPDX-License-Identifier: Apache-2.0
"""A host's and a guest's run on one clock: what is accepted is not what was asked for."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from memtrace.analyzer.tables import Table
from memtrace.analyzer.views import Choice, view
from memtrace.errors import MemtraceError
from memtrace.tests.analyzer.gmem.host import MS, Host, case
from memtrace.tests.analyzer.recorded import START, Case, Row, header, status, streamed
from memtrace.traces.reader import Run

OFFSET, DRIFT_PPM = 46_855_157_924, 25
BLOCK, UNIT = 1024, 512
PAUSE, LONG = 200 * MS, 100 * MS
RunOf = Callable[[Case | str], Run]


def host_ns(guest_ns: int) -> int:
    return guest_ns + OFFSET + (guest_ns - START) * DRIFT_PPM // 10**6


def accepts(count: int, *, arch: bool) -> tuple[list[Row], list[Row]]:
    """Rows of a guest that accepts blocks from gfn 0x10000 on, each with the unit behind it, and of its host.

    So the first unit of each block but the first is accepted by the call before, long before.
    The host sees one fault for each 64 pages, evenly over the accept but for 50 us at both ends.
    """
    inside: list[Row] = []
    outside: list[Row] = []
    for n in range(count):
        begun = START + n * PAUSE
        ended = begun + LONG
        asked = 0x10000 + n * BLOCK
        low, high = asked + (UNIT if n else 0), asked + BLOCK + UNIT
        size = {"bytes": None, "bytes_requested": BLOCK * 4096}
        inside.append(streamed("accept.call", None, LONG, ts_ns=ended, pfn=asked, **size))
        if arch:
            within = {"parent": "accept.call", "pfn": low, "bytes": (high - low) * 4096}
            inside.append(streamed("accept.arch", None, LONG - 2000, ts_ns=ended - 1000, **within))
        gfns = range(low, high, 64)
        slot = (LONG - 100_000) // len(gfns)
        for k, gfn in enumerate(gfns):
            host = Host()
            end = host_ns(begun + 50_000 + k * slot) + slot - 1000
            host.event("fault", gfn, 1, 0, ts_ns=end, dur_ns=slot - 2000, pfn=gfn)
            outside += host.rows
    return inside, outside


def tables(run_of: RunOf, inside: list[Row], outside: list[Row]) -> tuple[Table, Table]:
    guest = run_of(Case(inside, header("accept.call", "accept.arch"), status(60, exit_status=None)))
    host = Host()
    host.rows = outside
    report = view(run_of(case(host)), "gmem", Choice(guest=guest.path)).report
    clock, table = report.table("clock"), report.table("accepts")
    assert clock is not None and table is not None
    return clock, table


def joined(
    run_of: RunOf, inside: list[Row], outside: list[Row]
) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    clock, table = tables(run_of, inside, outside)
    return dict(clock.rows[0]), sorted(
        (dict(row) for row in table.rows), key=lambda row: int(row["guest_at_ns"])
    )


@pytest.mark.parametrize("arch", [True, False])
def test_the_clocks_differ_by_what_was_accepted_not_by_what_was_asked_for(run_of: RunOf, arch: bool) -> None:
    clock, found = joined(run_of, *accepts(20, arch=arch))
    assert (clock["method"], clock["pairs"], clock["agreeing"]) == ("memory", 20, 20)
    for at in (START, START + 20 * PAUSE):
        told = at + clock["offset_ns"] + (at - clock["guest_at_ns"]) * clock["drift_ppm"] * 1e-6
        assert abs(told - host_ns(at)) <= clock["uncertainty_ns"]
    # Closer than the pause between accepts, by which the ranges asked for would be wrong.
    assert clock["uncertainty_ns"] < LONG
    assert [row["host_faults"] for row in found] == [24] + [16] * 19
    assert [row["bytes"] for row in found] == [BLOCK * 4096] * 20


def test_a_clock_that_jumped_is_said_to_have_and_followed(run_of: RunOf) -> None:
    """1 ms, after 15 of 20 accepts."""
    inside, outside = accepts(20, arch=True)
    jumped, jump = START + 15 * PAUSE, MS
    for row in outside:
        row["ts_ns"] += jump if row["ts_ns"] > host_ns(jumped) else 0
    clock, table = tables(run_of, inside, outside)
    assert [(row["pairs"], row["agreeing"]) for row in clock.rows] == [(15, 15), (5, 5)]
    assert clock.notes[1].startswith("One line does for each of 2 stretches: between them a clock jumped")
    for accept in table.rows:
        at, least = accept["guest_at_ns"], max(r["uncertainty_ns"] for r in clock.rows)
        assert abs(accept["host_at_ns"] - host_ns(at) - (jump if at >= jumped else 0)) <= least


def test_a_run_of_another_guest_is_refused(run_of: RunOf, tmp_path: Path) -> None:
    inside, outside = accepts(20, arch=True)
    for n, row in enumerate(outside):
        row["ts_ns"] += (n // 16 * 7919 % 20) * 3 * PAUSE
    with pytest.raises(MemtraceError, match=r"is not of a VM in .* or of another boot"):
        joined(run_of, inside, outside)


def test_a_trace_of_the_host_that_names_no_vm_is_not_enough(run_of: RunOf) -> None:
    inside, outside = accepts(3, arch=True)
    for row in outside:
        row |= {"vm": None, "dur_ns": None, "total_ns": None, "self_ns": None}
    with pytest.raises(MemtraceError, match=r"does not tell how long faults took, or of which VM they were"):
        joined(run_of, inside, outside)


def test_a_guest_s_run_without_accepts_says_so(run_of: RunOf) -> None:
    _, outside = accepts(3, arch=True)
    with pytest.raises(MemtraceError, match=r"has no accept.call: record `-e accept` in the guest"):
        joined(run_of, [streamed()], outside)


def test_an_accept_of_unknown_length_is_left_out_and_said_to_be(run_of: RunOf) -> None:
    inside, outside = accepts(20, arch=False)
    unknown = streamed("accept.call", None, LONG, ts_ns=START, pfn=0, bytes=None, bytes_requested=None)
    guest = run_of(Case([*inside, unknown], header("accept.call"), status(60, exit_status=None)))
    host = Host()
    host.rows = outside
    table = view(run_of(case(host)), "gmem", Choice(guest=guest.path)).report.table("accepts")
    assert table is not None and len(table.rows) == 20
    assert table.notes[-1] == "Left out, as their length is not known: accepts 1."


def test_conversions_that_the_host_did_not_record_are_not_none(run_of: RunOf) -> None:
    inside, outside = accepts(20, arch=True)
    guest = run_of(Case(inside, header("accept.call", "accept.arch"), status(60, exit_status=None)))
    host = Host()
    host.rows = outside
    made = case(host, events=("gmem.fault",))
    table = view(run_of(made), "gmem", Choice(guest=guest.path)).report.table("accepts")
    assert table is not None
    assert (
        {row["host_converts"] for row in table.rows}
        == {None}
        == {row["host_convert_ns"] for row in table.rows}
    )
    assert all(row["host_share"] > 0.5 for row in table.rows)
    assert table.notes[0].endswith("of host faults under them.")
