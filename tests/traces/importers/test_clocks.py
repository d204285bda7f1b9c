# SPDX-License-Identifier: Apache-2.0
"""Files on one clock: by the clock's name, a marker, the log's line, a shared moment; or not at all."""

from __future__ import annotations

import gzip
import re

import pytest

from memtrace.errors import MemtraceError
from memtrace.tests.traces.importers.conftest import DATA, Import, Text

EVENT = "  sh-7 [001] ..... {}: mm_page_alloc: page=0 pfn=0x1 order=0 migratetype=0 gfp_flags=GFP_KERNEL\n"
STABLE = "[    2.200000] sched_clock: Marking stable (2164131554, 25928796)->(2229725421, -39665071)\n"
BANNER = "[    0.000000] Linux version 6.12.0 (a@b) #1\n"


def test_without_anything_to_go_by_a_file_is_not_aligned_and_says_so(import_: Import, text: Text) -> None:
    run = import_(text(EVENT.format("5.000000")))
    (source,) = run.header.sources
    assert (source.offset_ns, source.uncertainty_ns) == (None, None)
    assert "guessed: trace_clock's default" in source.clock
    assert "not aligned, because nothing in the files relates it to CLOCK_BOOTTIME" in source.clock
    # Its rows keep the stamps they have.
    assert run.rows[0]["ts_ns"] == 5_000_000_000


@pytest.mark.parametrize("clock", ["boot", "mono", "uptime"])
def test_clocks_that_are_boottime_need_no_anchor(import_: Import, text: Text, clock: str) -> None:
    (source,) = import_(text(EVENT.format("5.000000")), clock=clock).header.sources
    assert source.offset_ns == 0


def test_the_command_line_in_the_log_names_the_clock(import_: Import, text: Text) -> None:
    log = text(f"{BANNER}[    0.000000] Command line: ro trace_clock=mono quiet\n", "dmesg.txt")
    source = import_(text(EVENT.format("5.000000")), log).source("trace.txt")
    assert source.offset_ns == 0
    assert "command line: trace_clock=mono" in source.clock


def test_a_marker_relates_any_clock_to_boottime(import_: Import, text: Text) -> None:
    marker = "  sh-7 [001] ..... 6.000000: tracing_mark_write: memtrace: boottime_ns=4000000000\n"
    run = import_(text(EVENT.format("5.000000") + marker))
    (source,) = run.header.sources
    assert source.offset_ns == -2_000_000_000
    assert run.rows[0]["ts_ns"] == 3_000_000_000


def test_the_log_relates_the_scheduler_clock_to_boottime(import_: Import, text: Text) -> None:
    """tick_raw 2229725421 was CLOCK_MONOTONIC 2164131554."""
    run = import_(text(EVENT.format("5.000000")), text(BANNER + STABLE, "dmesg.txt"))
    assert run.source("trace.txt").offset_ns == 2164131554 - 2229725421
    assert run.source("dmesg.txt").offset_ns == -25928796


def test_two_ways_to_align_a_recording_agree(import_: Import, text: Text) -> None:
    """A marker written in the guest, and its kernel's line on the stable clock."""
    marked = import_("lazy-graph-6.12.trace.gz").header.sources[0].offset_ns
    log = gzip.decompress((DATA / "lazy-graph-6.12.dmesg.gz").read_bytes()).decode()
    stable = re.search(r"Marking stable \((\d+), -?\d+\)->\((\d+)", log)
    assert marked is not None and stable is not None
    assert abs(marked - (int(stable[1]) - int(stable[2]))) < 1_000_000


def test_a_moment_that_both_saw_aligns_what_nothing_else_does(import_: Import, text: Text) -> None:
    trace = text(
        "# tracer: function\n"
        "  pgdatinit0-30 [001] ..... 1.000000: deferred_init_memmap <-kthread\n"
        "  pgdatinit0-30 [001] ..... 1.040000: deferred_init_memmap_chunk <-padata_mt_helper\n"
        "  swapper/0-1   [000] ..... 1.060000: memblock_discard <-page_alloc_init_late\n"
        + EVENT.format("5.000000")
    )
    log = text(BANNER + "[    0.650000] node 0 deferred pages initialised in 60ms\n" + STABLE, "dmesg.txt")
    run = import_(trace, log, clock="mono_raw")
    source = run.source("trace.txt")
    assert "deferred done on node 0, seen by both" in source.clock
    offset = 650_000_000 - 25_928_796 - 1_050_000_000
    assert source.offset_ns == pytest.approx(offset, abs=2_000)
    assert source.uncertainty_ns == pytest.approx(10_000_000, abs=20_000)


def test_files_that_disagree_on_what_both_saw_say_by_how_much(import_: Import) -> None:
    run = import_("eager-boot-6.12.trace.gz", "eager-boot-6.12.dmesg.gz")
    for source in run.header.sources:
        assert source.uncertainty_ns is not None and source.uncertainty_ns > 100_000_000
        assert "off another file on what both saw" in source.clock


def test_a_clock_that_does_not_exist_is_refused(import_: Import, text: Text) -> None:
    with pytest.raises(MemtraceError, match=r"--clock wall: give one of local, global") as refusal:
        import_(text(EVENT.format("5.000000")), clock="wall")
    assert refusal.value.exit_code == 2


def test_a_graph_without_times_keeps_durations_and_order_only(import_: Import) -> None:
    run = import_("thp-graph-default-6.12.trace")
    assert "no times, only durations" in run.header.sources[0].clock
    stamps = [r["ts_ns"] for r in run.of("zero.user")]
    assert stamps == sorted(stamps)
