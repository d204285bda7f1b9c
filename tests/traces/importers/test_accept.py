# SPDX-License-Identifier: Apache-2.0
"""Acceptance from saved text, held against the kernel's own log of it."""

from __future__ import annotations

import statistics

import pytest

from memtrace.tests.traces.importers.conftest import Import, Text, accepts
from memtrace.traces.schema import Flag

MIB = 1 << 20
BANNER = "[    0.000000] Linux version 6.12.0 (a@b) (gcc 12.2.0) #1 SMP {} Debian 6.12-1\n"


def test_probes_saw_each_accept_since_they_were_there(import_: Import) -> None:
    calls = import_("lazy-accept-6.12.trace", clock="boot").of("accept.call")
    log = accepts("lazy-accept-6.12.log.gz")[-len(calls) :]
    assert len(calls) == 143
    # Units accepted before are left out, and one unit behind the range is added.
    for call, entry in zip(calls, log, strict=True):
        start = call["pfn"] * 4096
        assert start <= entry["start"] < entry["end"] <= start + 6 * MIB
    assert {r["parent"] for r in calls} == {"accept.block"}
    # Entry and return cost under emulation; the accept itself is inside.
    assert all(r["dur_ns"] >= e["spent_ns"] for r, e in zip(calls, log, strict=True))
    assert sum(r["dur_ns"] for r in calls) == pytest.approx(sum(e["spent_ns"] for e in log), rel=0.08)


def test_what_was_asked_for_is_not_said_to_be_accepted(import_: Import) -> None:
    """accept_memory() may do less or more; only accept.arch, not traced here, tells."""
    calls = import_("lazy-accept-6.12.trace", clock="boot").of("accept.call")
    assert {r["bytes"] for r in calls} == {None}
    assert {r["bytes_requested"] for r in calls} == {4 * MIB}


def test_a_block_has_the_page_frame_of_its_call(import_: Import) -> None:
    run = import_("lazy-accept-6.12.trace", clock="boot")
    blocks, calls = run.of("accept.block"), run.of("accept.call")
    assert [r["pfn"] for r in blocks] == [r["pfn"] for r in calls]
    # Their order is that of the allocation that waited, which is not traced here.
    assert {(r["bytes"], r["order"]) for r in blocks} == {(4 * MIB, None)}


def test_an_accept_from_elsewhere_has_no_end(import_: Import, text: Text) -> None:
    """Only what is freed next is ended by that; memblock and kexec do not free what they accept."""
    lines = (
        "# tracer: function\n"
        "  swapper-1 [000] ..... 1.000000: accept_memory <-memblock_alloc_range_nid\n"
        "  swapper-1 [000] ..... 1.900000: __free_pages_ok <-__free_pages_core\n"
        "  swapper-1 [000] ..... 2.000000: accept_memory <-__free_pages_core\n"
        "  swapper-1 [000] ..... 2.002000: __free_pages_ok <-__free_pages_core\n"
    )
    calls = import_(text(lines)).of("accept.call")
    assert [r["dur_ns"] for r in calls] == [None, 2_000_000]
    assert [bool(r["flags"] & Flag.ESTIMATED) for r in calls] == [False, True]


def test_platform_and_call_end_together_and_nest(import_: Import, text: Text) -> None:
    lines = (
        "# tracer: function\n"
        "  init-1 [000] ..... 2.000000: accept_memory <-__free_pages_core\n"
        "  init-1 [000] ..... 2.000500: tdx_accept_memory <-accept_memory\n"
        "  init-1 [000] ..... 2.002000: __free_pages_ok <-__free_pages_core\n"
    )
    run = import_(text(lines))
    (call,), (arch,) = run.of("accept.call"), run.of("accept.arch")
    assert (call["dur_ns"], call["self_ns"], call["parent"]) == (2_000_000, 500_000, None)
    assert (arch["dur_ns"], arch["self_ns"], arch["parent"]) == (1_500_000, 1_500_000, "accept.call")


def test_bytes_of_a_call_are_what_the_platform_accepted_inside(import_: Import, text: Text) -> None:
    head = "  sh-7 [001] ..... "
    lines = (
        f"{head}1.000000: am: (accept_memory+0x0/0x9) start=0x100000000 size=0x400000\n"
        f"{head}1.000100: ta: (tdx_accept_memory+0x0/0x9) start=0x100200000 end=0x100600000\n"
        f"{head}1.000900: tr: (accept_memory+0x5/0x9 <- tdx_accept_memory)\n"
        f"{head}1.001000: ar: (__accept_page+0x5/0x9 <- accept_memory)\n"
        f"{head}2.000000: am: (accept_memory+0x0/0x9) start=0x100000000 size=0x400000\n"
        f"{head}2.000010: ar: (__accept_page+0x5/0x9 <- accept_memory)\n"
    )
    run = import_(text(lines), text(BANNER.format("PREEMPT_DYNAMIC"), "log.txt"))
    calls = run.of("accept.call")
    assert [(r["bytes"], r["bytes_requested"]) for r in calls] == [(4 * MIB, 4 * MIB), (0, 4 * MIB)]
    assert [r["self_ns"] for r in calls] == [200_000, 10_000]
    (arch,) = run.of("accept.arch")
    assert (arch["pfn"], arch["flags"] & Flag.IRQ_OFF) == (0x100200, Flag.IRQ_OFF)


def test_a_block_without_anything_around_it_is_the_victim(import_: Import) -> None:
    run = import_("lazy-accept-6.12.trace", clock="boot")
    assert all(r["flags"] & Flag.VICTIM for r in run.of("accept.block"))
    assert not any(r["flags"] & Flag.VICTIM for r in run.of("accept.call"))


def test_a_graph_of_long_calls_nests_by_time(import_: Import) -> None:
    """tracing_thresh prints returns alone; 76 accepts in 39 bursts, all in allocations."""
    run = import_("lazy-graph-6.12.trace.gz")
    log = accepts("lazy-graph-6.12.log.gz")[-76:]
    calls, blocks, bursts = (run.of(f"accept.{part}") for part in ("call", "block", "burst"))
    assert (len(calls), len(blocks), len(bursts)) == (76, 76, 39)
    assert {r["parent"] for r in calls} == {"accept.block"}
    assert {r["parent"] for r in blocks} == {"accept.burst"}
    assert {r["parent"] for r in bursts} == {"alloc"}
    assert sum(r["bytes"] for r in bursts) == 76 * 4 * MIB
    assert sum(r["dur_ns"] for r in calls) == pytest.approx(sum(e["spent_ns"] for e in log), rel=0.08)


def test_the_victims_of_acceptance_are_the_allocations_around_it(import_: Import) -> None:
    run = import_("lazy-graph-6.12.trace.gz")
    victims = [r for r in run.rows if r["flags"] & Flag.VICTIM]
    assert {r["event"] for r in victims} == {"alloc"}
    assert len(victims) == 39
    assert all(r["self_ns"] < r["total_ns"] for r in victims)


def test_an_eager_boot_shows_all_accepts_but_those_before_the_tracer(import_: Import) -> None:
    run = import_("eager-boot-6.12.trace.gz", "eager-boot-6.12.dmesg.gz")
    log = accepts("eager-boot-6.12.log.gz")
    calls = run.of("accept.call")
    assert len(log) == 699
    assert len(calls) == 670


def test_the_end_of_an_accept_at_boot_is_estimated_by_the_call_after_it(import_: Import) -> None:
    calls = import_("eager-boot-6.12.trace.gz", "eager-boot-6.12.dmesg.gz").of("accept.call")
    assert all(r["flags"] & Flag.ESTIMATED for r in calls)
    (site,) = {r["site"] for r in calls}
    assert site == "ftrace:accept_memory"
    spent = [e["spent_ns"] for e in accepts("eager-boot-6.12.log.gz")[-len(calls) :]]
    traced = sum(r["dur_ns"] for r in calls)
    assert sum(spent) <= traced * 1.001
    assert traced == pytest.approx(sum(spent), rel=0.05)
    assert statistics.median(r["dur_ns"] for r in calls) == pytest.approx(statistics.median(spent), rel=0.05)
