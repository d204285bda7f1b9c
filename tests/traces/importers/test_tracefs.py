# SPDX-License-Identifier: Apache-2.0
"""Text of tracefs: losses, entries without returns, lines that are cut or run into each other."""

from __future__ import annotations

import pytest

from memtrace.tests.traces.importers.conftest import Import, Text

HEAD = "# tracer: nop\n#\n"
ENTRY = "  sh-7  [001] .....  {}: zu: (folio_zero_user+0x4/0x1d0)\n"
RETURN = "  sh-7  [001] .....  {}: zr: (do_huge_pmd_anonymous_page+0x17e/0x780 <- folio_zero_user)\n"


def test_lost_events_are_a_loss_of_the_run(import_: Import) -> None:
    run = import_("lost-6.12.trace_pipe")
    assert run.status.losses.ring_full == 113 + 565
    assert run.source("lost-6.12.trace_pipe").unparsed == 0


def test_what_was_open_when_events_were_lost_is_not_paired_with_what_came_after(
    import_: Import, text: Text
) -> None:
    lost = "CPU:1 [LOST 9 EVENTS]\n"
    run = import_(text(HEAD + ENTRY.format("1.000000") + lost + RETURN.format("9.000000")))
    assert [r["dur_ns"] for r in run.of("zero.user")] == [None, None]
    assert run.status.losses.entry_without_exit == 1


def test_events_that_were_overwritten_are_counted(import_: Import, text: Text) -> None:
    head = "# tracer: nop\n#\n# entries-in-buffer/entries-written: 2/502   #P:4\n#\n"
    run = import_(text(head + ENTRY.format("1.000000") + RETURN.format("1.000500")))
    assert run.status.losses.ring_full == 500
    assert run.header.cpus == 4


def test_an_entry_without_a_return_has_no_time_and_is_counted(import_: Import, text: Text) -> None:
    lines = ENTRY.format("1.000000") + RETURN.format("1.000500") + ENTRY.format("2.000000")
    run = import_(text(HEAD + lines))
    assert [r["dur_ns"] for r in run.of("zero.user")] == [500_000, None]
    assert run.status.losses.entry_without_exit == 1


def test_a_function_of_which_no_return_is_traced_has_no_time_and_is_no_loss(
    import_: Import, text: Text
) -> None:
    lines = (
        "# tracer: function\n#\n"
        "  sh-7 [001] ..... 1.000000: folio_zero_user <-do_huge_pmd_anonymous_page\n"
        "  sh-7 [001] ..... 1.000100: folio_zero_user <-do_huge_pmd_anonymous_page\n"
    )
    run = import_(text(lines))
    assert [(r["dur_ns"], r["self_ns"]) for r in run.of("zero.user")] == [(None, None)] * 2
    assert run.status.losses.entry_without_exit == 0
    assert [site.time for site in run.header.manifest] == ["unknown"]


def test_a_task_that_moves_between_cpus_keeps_its_interval(import_: Import, text: Text) -> None:
    back = RETURN.format("1.000500").replace("[001]", "[003]")
    (row,) = import_(text(HEAD + ENTRY.format("1.000000") + back)).of("zero.user")
    assert (row["dur_ns"], row["cpu"]) == (500_000, 3)


def test_time_of_something_inside_is_not_counted_twice(import_: Import, text: Text) -> None:
    lines = (
        "# tracer: function_graph\n#\n"
        "    1.000000 |   0)  sh-7  |               |  get_page_from_freelist() {\n"
        "    1.000010 |   0)  sh-7  |               |    cond_accept_memory() {\n"
        "    1.000020 |   0)  sh-7  |               |      __accept_page() {\n"
        "    1.000030 |   0)  sh-7  | # 2000.000 us |        accept_memory();\n"
        "    1.002100 |   0)  sh-7  | # 2080.000 us |      }\n"
        "    1.002110 |   0)  sh-7  | # 2100.000 us |    }\n"
        "    1.002200 |   0)  sh-7  | # 2200.000 us |  }\n"
    )
    run = import_(text(lines))
    own = {r["event"]: r["self_ns"] for r in run.rows}
    assert own == {
        "alloc": 100_000,
        "accept.burst": 20_000,
        "accept.block": 80_000,
        "accept.call": 2_000_000,
    }


def test_a_look_that_accepted_nothing_is_no_burst(import_: Import, text: Text) -> None:
    lines = (
        "  sh-7 [001] ..... 1.000000: c: (cond_accept_memory+0x0/0x160) order=0\n"
        "  sh-7 [001] ..... 1.000100: r: (get_page_from_freelist+0x1/0x2 <- cond_accept_memory) ret=0x0\n"
        "  sh-7 [001] ..... 2.000000: c: (cond_accept_memory+0x0/0x160) order=0\n"
        "  sh-7 [001] ..... 2.000100: r: (get_page_from_freelist+0x1/0x2 <- cond_accept_memory) ret=0x1\n"
    )
    assert [r["ts_ns"] for r in import_(text(HEAD + lines)).of("accept.burst")] == [2_000_100_000]


def test_compiler_suffixes_do_not_hide_a_function(import_: Import, text: Text) -> None:
    lines = (
        "  sh-7 [001] ..... 1.000000: c: (cond_accept_memory.part.0+0x0/0x160)\n"
        "  sh-7 [001] ..... 1.000100: r: (caller+0x1/0x2 <- cond_accept_memory.part.0) ret=0x1\n"
    )
    assert len(import_(text(HEAD + lines)).of("accept.burst")) == 1


@pytest.mark.parametrize(
    "line",
    [
        "  sh-7  [001] .....  1.0000",
        "  sh-7  [001] .....  1.000000: zu: (folio_zero_user+0x4",
        "  sh-7  [001] .....   sh-8  [000] .....  1.000000: zu",
        "plain nonsense",
    ],
)
def test_cut_and_interleaved_lines_are_unparsed(import_: Import, text: Text, line: str) -> None:
    run = import_(text(HEAD + ENTRY.format("1.000000") + line + "\n" + RETURN.format("1.000500")))
    (source,) = run.header.sources
    assert (source.unparsed, source.examples) == (1, (line.strip(),))
    assert len(run.of("zero.user")) == 1


def test_a_stack_trace_belongs_to_the_event_before_it(import_: Import, text: Text) -> None:
    lines = (
        "  sh-7 [001] ..... 1.000000: mm_page_alloc: page=0 pfn=0x1 order=0 gfp_flags=GFP_KERNEL\n"
        "  sh-7 [001] ..... 1.000001: <stack trace>\n"
        " => get_page_from_freelist\n"
        " => __alloc_pages_noprof\n"
        " => do_anonymous_page\n"
    )
    (row,) = import_(text(HEAD + lines)).of("alloc")
    assert row["stack"] == "do_anonymous_page;__alloc_pages_noprof;get_page_from_freelist"


@pytest.mark.parametrize("page", ["0000000000000000 pfn=0x0", "(nil) pfn=0", "          (null) pfn=0"])
def test_an_allocation_that_failed_is_none(import_: Import, text: Text, page: str) -> None:
    """The first as 6.1 and 6.12 print it where nr_hugepages is more than there is memory for."""
    line = "  bash-140 [000] ..... 10.{}: mm_page_alloc: page={} order=9 migratetype=1 gfp_flags=GFP_USER\n"
    made = line.format("475983", "00000000c15eec4c pfn=0xc00")
    run = import_(text(HEAD + made + line.format("505761", page)))
    assert [(row["pfn"], row["bytes"]) for row in run.of("alloc")] == [(0xC00, 2 << 20)]
    assert run.header.sources[0].unparsed == 0


def test_counts_are_not_taken_for_times(import_: Import, text: Text) -> None:
    """trace_clock x86-tsc and counter print whole numbers."""
    lines = "  sh-7 [001] ..... 123456789: mm_page_alloc: page=0 pfn=0x1 order=0 migratetype=0 gfp_flags=X\n"
    run = import_(text(HEAD + lines))
    (source,) = run.header.sources
    assert source.offset_ns is None
    assert "these are no times" in source.clock
