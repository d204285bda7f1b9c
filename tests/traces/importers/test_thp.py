# SPDX-License-Identifier: Apache-2.0
"""One workload, 8 MiB of huge pages touched, through each tool's text: four folios cleared."""

from __future__ import annotations

import pytest

from memtrace.tests.traces.importers.conftest import DATA, Import, Text
from memtrace.traces.schema import Flag

PROBED = ["thp-kprobe-tgid-6.12.trace", "thp-kprobe-noirq-6.12.trace"]
ADDRESSES = [
    "thp-trace-cmd-6.12.txt",
    "thp-trace-cmd-ns-6.12.txt",
    "thp-perf-6.12.txt",
    "thp-perf-fields-6.12.txt",
]
RAW = "thp-trace-cmd-raw-6.12.txt"
GRAPHS = ["thp-graph-abstime-6.12.trace", "thp-graph-default-6.12.trace", "thp-graph-latency-6.12.trace"]
GRAPHS += ["thp-trace-cmd-graph-6.12.txt"]
PROBES = "thp.kprobe_events"


@pytest.mark.parametrize("name", [*PROBED, *ADDRESSES, RAW, *GRAPHS])
def test_four_folios_are_cleared(import_: Import, name: str) -> None:
    run = import_(name, PROBES)
    cleared = run.of("zero.user")
    assert len(cleared) == 4
    assert all(r["dur_ns"] > 1_000_000 for r in cleared)
    assert {r["self_ns"] == r["total_ns"] == r["dur_ns"] for r in cleared} == {True}
    assert run.source(name).unparsed == 0


@pytest.mark.parametrize("name", [*PROBED, *ADDRESSES, RAW])
def test_each_huge_page_is_allocated_once_though_two_probes_saw_it(import_: Import, name: str) -> None:
    huge = [r for r in import_(name, PROBES).of("alloc") if r["order"] == 9]
    assert len(huge) == 4
    assert all(r["bytes"] == 2 << 20 and r["pfn"] % 512 == 0 and r["dur_ns"] for r in huge)


@pytest.mark.parametrize("name", [*PROBED, *ADDRESSES, RAW, *GRAPHS])
def test_every_line_is_accounted_for(import_: Import, name: str) -> None:
    source = import_(name, PROBES).source(name)
    assert source.lines == len((DATA / name).read_text().splitlines())
    assert source.ignored + source.unparsed < source.lines


@pytest.mark.parametrize("name", GRAPHS)
def test_a_graph_gives_durations_to_the_nanosecond(import_: Import, name: str) -> None:
    cleared = import_(name).of("zero.user")
    expected = {True: 3_643_757, False: 3_786_050}[name.startswith("thp-trace-cmd")]
    assert cleared[0]["dur_ns"] == expected


def test_the_process_is_known_only_where_the_text_has_it(import_: Import) -> None:
    with_it, without = (import_(name).of("zero.user")[0] for name in PROBED)
    assert (with_it["pid"], with_it["tid"], with_it["comm"]) == (215, 215, "python3")
    assert (without["pid"], without["tid"]) == (None, 215)


def test_an_allocation_says_whether_it_was_to_be_zeroed(import_: Import, text: Text) -> None:
    """By its gfp flags, where the kernel's log says what else zeroes; else that is not known."""
    assert not any(r["flags"] & Flag.ZEROED for r in import_(PROBED[0]).of("alloc"))
    log = "[    0.097255] mem auto-init: stack:all(zero), heap alloc:off, heap free:off\n"
    allocs = import_(PROBED[0], text(log)).of("alloc")
    zeroed = [bool(r["flags"] & Flag.ZEROED) for r in allocs]
    said = (DATA / PROBED[0]).read_text()
    assert sum(zeroed) == sum("__GFP_ZERO" in line for line in said.splitlines() if "mm_page_alloc:" in line)
    assert {r["gfp"] is not None for r in allocs} == {True}


@pytest.mark.parametrize("name", ["thp-trace-cmd-6.12.txt", "thp-perf-6.12.txt"])
def test_probes_without_names_of_functions_are_told_and_not_dropped_in_silence(
    import_: Import, name: str
) -> None:
    run = import_(name)
    assert run.of("zero.user") == []
    assert {r["event"] for r in run.rows} == {"alloc"}
    ((_, note),) = run.outcome.notes
    assert "probes (gpf, gpf_r, zu, zu1) name no function; add the kprobe_events file" in note


def test_call_chains_name_the_function_and_are_kept(import_: Import) -> None:
    run = import_("thp-perf-callchains-6.12.txt")
    cleared = run.of("zero.user")
    assert len(cleared) == 4
    frames = cleared[0]["stack"].split(";")
    assert frames[0] == "asm_exc_page_fault"
    assert frames[-2:] == ["do_huge_pmd_anonymous_page", "folio_zero_user"]


def test_perf_header_tells_the_clock(import_: Import) -> None:
    source = import_("thp-perf-callchains-6.12.txt").source("thp-perf-callchains-6.12.txt")
    assert source.clock.startswith("mono (clockid: monotonic (1))")
    assert source.offset_ns == 0
