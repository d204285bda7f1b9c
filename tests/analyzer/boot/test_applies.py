# SPDX-License-Identifier: Apache-2.0
"""Where there is nothing to accept the view says why, and never prints a zero or an empty table for it."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence

import pytest

from memtrace.analyzer.tables import Report
from memtrace.analyzer.views import view
from memtrace.tests.analyzer.recorded import START, Case, header, status
from memtrace.traces.reader import Run
from memtrace.traces.run import Fact, Phase, Snapshot

RunOf = Callable[[Case | str], Run]
NONE_LEFT = Snapshot("start", START, {"nr_unaccepted": 0}, {"0": {"Unaccepted": 0}})
OLD_KERNEL = Snapshot("start", START, {"pgfault": 1}, {"0": {"MemFree": 5}})


def report(run_of: RunOf, facts: Sequence[Fact], snapshot: Snapshot) -> Report:
    made = dataclasses.replace(
        header("alloc"), facts=tuple(facts), snapshots=(snapshot,), phases=(Phase("core", 0, 5, "dmesg"),)
    )
    return view(run_of(Case((), made, status())), "boot").report


@pytest.mark.parametrize(
    ("facts", "snapshot", "because"),
    [
        (
            [
                Fact("virtualized", "kvm"),
                Fact("confidential", "plain", "CPUID has no such leaf"),
                Fact("lazy_accept", "no", "nr_unaccepted is 0"),
            ],
            NONE_LEFT,
            "this is no confidential guest: its memory needs no acceptance (CPUID has no such leaf)",
        ),
        (
            [Fact("hyperv_paravisor", "yes", "CPUID 0x4000000C")],
            NONE_LEFT,
            "a paravisor accepts memory for this guest, where no kernel probe sees (CPUID 0x4000000C)",
        ),
        ([], OLD_KERNEL, "this kernel knows no unaccepted memory: /proc/vmstat has no nr_unaccepted"),
    ],
    ids=["plain", "paravisor", "old kernel"],
)
def test_not_applicable_because(
    run_of: RunOf, facts: Sequence[Fact], snapshot: Snapshot, because: str
) -> None:
    found = report(run_of, facts, snapshot)
    assert dict(found.heading)["acceptance"] == f"not applicable, because {because}"
    assert "not-applicable" in {caveat.id for caveat in found.caveats}
    assert {table.name for table in found.tables} == {"phases"}
    (phase,) = found.tables[0].rows
    assert phase["phase"] == "core" and phase["calls"] is None


def test_an_eager_confidential_guest_is_not_called_plain(run_of: RunOf) -> None:
    facts = [Fact("confidential", "TDX"), Fact("lazy_accept", "no", "accept_memory=eager")]
    found = report(run_of, facts, NONE_LEFT)
    assert dict(found.heading)["acceptance"].startswith("unknown: nothing was left to accept")
    assert found.table("balance") is not None


def test_an_emulated_platform_has_memory_to_accept_on_any_guest(run_of: RunOf) -> None:
    facts = (Fact("confidential", "plain"), Fact("lazy_accept", "no", "accept_memory=eager"))
    made = dataclasses.replace(
        header("alloc"), facts=facts, snapshots=(NONE_LEFT,), kernel_cmdline="unaccepted_emul=1G@1G"
    )
    found = view(run_of(Case((), made, status())), "boot").report
    assert dict(found.heading)["acceptance"].startswith("unknown: nothing was left to accept")


def test_both_views_give_the_same_reason(run_of: RunOf) -> None:
    facts = (Fact("hyperv_paravisor", "yes", "CPUID 0x4000000C"),)
    made = dataclasses.replace(header("alloc"), facts=facts, snapshots=(NONE_LEFT,))
    run = run_of(Case((), made, status()))
    (table,) = view(run, "accept").report.tables
    assert table.notes == (dict(view(run, "boot").report.heading)["acceptance"],)
