# SPDX-License-Identifier: Apache-2.0
"""The accept view against the kernel's own log of its accepts, and its what-if against a real eager boot.

The two boots differ in ``accept_memory=`` alone.  The host lengthens the waits that
stand for acceptance, differently in each boot; the log has for each accept what was wanted
and what was spent, so that this can be taken out of a comparison of the two.

Boots: 2.
"""

import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from memtrace.analyzer.tables import Report
from memtrace.analyzer.views import Choice, view
from memtrace.lab.sizes import GIB, MIB
from memtrace.traces.reader import Run, open_run
from memtrace.traces.schema import Flag

pytestmark = pytest.mark.vm

Guest = Callable[..., Any]
PER_UNIT, PER_CALL = 2_000_000, 500_000
EMULATE = f"unaccepted_emul=768M@1G,2G@4G unaccepted_emul_cost={PER_UNIT},{PER_CALL}"
TO_ACCEPT = 768 * MIB + 2 * GIB
NODE_1 = 4 * GIB

ACCEPTS = 60
LAZY = f"""
memtrace record -q -f --stream all -e accept,alloc -a -o $RESULTS/run.parquet -- \\
    python3 -m memtrace.tests.vm.workloads.until_accepted victim 1 {ACCEPTS}
memtrace record -q -f -e accept -a -o $RESULTS/quiet.parquet -- sleep 2
cat /sys/kernel/debug/unaccepted_emul > $RESULTS/log
"""
EAGER = """
cat /sys/kernel/debug/unaccepted_emul > $RESULTS/log
memtrace record -q -f -e accept -a -o $RESULTS/run.parquet -- true
"""


@dataclass(frozen=True)
class Logged:
    """One accept, as the kernel itself logged it: CLOCK_MONOTONIC, bytes, ns."""

    at: int
    start: int
    bytes: int
    wanted: int
    spent: int


def logged(file: Path) -> list[Logged]:
    lines = [line.split() for line in file.read_text().splitlines() if not line.startswith("#")]
    return [
        Logged(int(at), int(start, 16), int(end, 16) - int(start, 16), int(wanted), int(spent))
        for _, _, at, start, end, _, wanted, spent in lines
    ]


def within(log: list[Logged], run: Run) -> list[Logged]:
    """Accepts begun while recording."""
    anchor = run.header.anchors[0]
    shift = anchor.boottime_ns - anchor.monotonic_ns
    return [a for a in log if run.status.started_ns <= a.at + shift <= run.status.ended_ns]


def rows(report: Report, name: str) -> tuple[Any, ...]:
    table = report.table(name)
    assert table is not None
    return table.rows


@pytest.fixture(scope="module")
def boots(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """The results of a lazy and of an eager boot."""
    from memtrace.lab.guest import run_guest
    from memtrace.lab.spec import GuestSpec

    found = {}
    for name, script, mode in (("lazy", LAZY, ""), ("eager", EAGER, " accept_memory=eager")):
        spec = GuestSpec(
            "accept-6.12", script, memory=(2 * GIB, 2 * GIB), append=EMULATE + mode, time_limit_s=600
        )
        found[name] = run_guest(spec, tmp_path_factory.mktemp(name)).results
    return found


def test_calls_bytes_and_progress_are_those_of_the_log(boots: dict[str, Path]) -> None:
    run = open_run(boots["lazy"] / "run.parquet")
    report = view(run, "accept").report
    log = within(logged(boots["lazy"] / "log"), run)
    assert len(log) >= ACCEPTS
    for nid, own in enumerate(([a for a in log if a.start < NODE_1], [a for a in log if a.start >= NODE_1])):
        calls = [row for row in rows(report, "calls") if row["nid"] == nid and row["size_bytes"]]
        assert sum(row["calls"] for row in calls) == len(own)
        assert sum(row["bytes"] for row in calls) == sum(a.bytes for a in own)
    spent = sum(a.spent for a in log)
    assert spent <= sum(row["total_ns"] for row in rows(report, "calls")) < 1.1 * spent
    machine = rows(report, "progress")[0]
    assert machine["fell_bytes"] == machine["seen_bytes"] == sum(a.bytes for a in log)


def test_every_allocation_is_there_and_those_that_waited_among_them(boots: dict[str, Path]) -> None:
    allocs = [
        row
        for batch in open_run(boots["lazy"] / "run.parquet").batches(["event", "flags"])
        for row in batch.to_pylist()
        if row["event"] == "alloc"
    ]
    waited = sum(bool(row["flags"] & Flag.VICTIM) for row in allocs)
    assert 0 < waited < len(allocs)


def test_the_task_that_touches_fresh_memory_is_the_first_victim(boots: dict[str, Path]) -> None:
    run = open_run(boots["lazy"] / "run.parquet")
    report = view(run, "accept").report
    first = rows(report, "victims")[0]
    assert (first["comm"], first["order"]) == ("victim", 0)
    assert first["stalls"] > 20 and first["cgroup"] is not None
    worst = next(row for row in rows(report, "worst") if row["comm"] == "victim")
    assert re.search("handle_mm_fault|do_anonymous_page", worst["stack"])
    bursts = rows(report, "bursts")
    assert sum(row["stalls"] for row in bursts) == sum(row["stalls"] for row in rows(report, "victims"))


def test_the_commands_window_is_contaminated_and_a_quiet_one_is_not(boots: dict[str, Path]) -> None:
    run = open_run(boots["lazy"] / "run.parquet")
    (row,) = rows(view(run, "accept").report, "window")
    log = within(logged(boots["lazy"] / "log"), run)
    length = run.status.ended_ns - run.status.started_ns
    assert row["verdict"] == "contaminated"
    assert row["wall_share"] >= sum(a.spent for a in log if a.start >= NODE_1) / length * 0.8
    # Before the victim has started, nothing need be accepted: the log says when that was.  Half of that
    # time is looked at, for a call begins before its accept is logged, by as long as a busy host lets it.
    anchor = run.header.anchors[0]
    first = min(a.at for a in log) + anchor.boottime_ns - anchor.monotonic_ns
    before = Choice(window=(run.status.started_ns, (run.status.started_ns + first) // 2))
    (row,) = rows(view(run, "accept", before).report, "window")
    assert (row["verdict"], row["accepts"]) == ("clean", 0)

    quiet = open_run(boots["lazy"] / "quiet.parquet")
    accepted = within(logged(boots["lazy"] / "log"), quiet)
    (row,) = rows(view(quiet, "accept").report, "window")
    assert row["verdict"] == "clean" if not accepted else row["accepts"] == len(accepted)


def test_the_eager_what_if_is_what_the_eager_boot_took(boots: dict[str, Path]) -> None:
    run = open_run(boots["lazy"] / "run.parquet")
    lazy, eager = (logged(boots[name] / "log") for name in ("lazy", "eager"))
    serial = rows(view(run, "accept", Choice(what_if=True)).report, "eager")[0]
    # What was accepted before recording is known of this platform: no two bounds.
    assert serial["accept_ns"] == serial["accept_max_ns"]
    assert serial["bytes"] == pytest.approx(TO_ACCEPT, rel=0.02)
    assert sum(a.bytes for a in eager) == TO_ACCEPT
    seen = within(lazy, run)
    slowed = sum(a.spent for a in seen) / sum(a.wanted for a in seen)
    assert serial["accept_ns"] / slowed == pytest.approx(sum(a.wanted for a in eager), rel=0.2)
    print(
        f"eager what-if {serial['accept_ns'] / 1e9:.3f} s of CPU time; the eager boot spent"
        f" {sum(a.spent for a in eager) / 1e9:.3f} s (wanted {sum(a.wanted for a in eager) / 1e9:.3f} s);"
        f" the lazy boot's accepts took {slowed:.2f} of what was wanted"
    )


def test_an_eager_boot_is_not_applicable(boots: dict[str, Path]) -> None:
    run = open_run(boots["eager"] / "run.parquet")
    (table,) = view(run, "accept").report.tables
    assert table.rows[0]["applicable"] == "no" and "accepted eagerly" in table.notes[0]
