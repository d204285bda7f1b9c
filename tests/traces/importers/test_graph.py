# SPDX-License-Identifier: Apache-2.0
"""function_graph and function with what newer kernels add to them: arguments, returned values, interrupts."""

from __future__ import annotations

import pytest

from memtrace.traces.schema import Flag

from .conftest import Import, Text

GRAPH = "# tracer: function_graph\n#\n"
FUNCTION = "# tracer: function\n#\n  bash-1234 [000] d..2. 100.000100: {} <-__accept_page\n"


@pytest.mark.parametrize("size", ["0x400000", "4194304"])
def test_arguments_are_read_by_the_names_of_the_kernel_s_parameters(
    import_: Import, text: Text, size: str
) -> None:
    """The first kernels that print them have unsigned ones in base 10."""
    call = f"accept_memory(start=0x100000000, size={size})"
    lines = f"  100.000100 |   0)   sh-7   |               |  {call} {{\n"
    lines += "  100.000900 |   0)   sh-7   | ! 800.000 us  |  }\n"
    (row,) = import_(text(GRAPH + lines)).of("accept.call")
    assert (row["pfn"], row["bytes_requested"], row["dur_ns"]) == (0x100000, 4 << 20, 800_000)
    (row,) = import_(text(FUNCTION.format(call))).of("accept.call")
    assert (row["pfn"], row["bytes_requested"]) == (0x100000, 4 << 20)


@pytest.mark.parametrize("value", ["= {}", "ret={}", "get_page_from_freelist = {}", "<-__alloc_pages ret={}"])
@pytest.mark.parametrize("leaf", [True, False])
def test_an_allocation_that_returned_null_is_none(
    import_: Import, text: Text, value: str, leaf: bool
) -> None:
    """As funcgraph-retval prints it, with funcgraph-tail and funcgraph-retaddr or without."""
    name = "get_page_from_freelist(gfp_mask=0x140dca, order=0x9, alloc_flags=0x901, ac=0xffffc90000a0fd10)"
    lines = ""
    for page in ("0xffffea0004000000", "0x0"):
        comment = f"/* {value.format(page)} */"
        if leaf:
            lines += f" 0)   5.000 us    |  {name}; {comment}\n"
        else:
            lines += f" 0)               |  {name} {{\n 0)   5.000 us    |  }} {comment}\n"
    log = "[    0.097255] mem auto-init: stack:all(zero), heap alloc:off, heap free:off\n"
    run = import_(text(GRAPH + lines), text(log, "log.txt"))
    (row,) = run.of("alloc")
    assert (row["order"], row["bytes"], row["gfp"]) == (9, 2 << 20, 0x140DCA)
    assert row["flags"] & Flag.ZEROED and not row["flags"] & Flag.FAILED
    assert run.header.sources[0].unparsed == 0


def test_what_a_function_that_returns_nothing_leaves_in_its_register_is_no_error(
    import_: Import, text: Text
) -> None:
    line = " 0) ! 150.000 us  |  accept_memory(start=0x100000000, size=0x400000); /* = 0xffffffea */\n"
    (row,) = import_(text(GRAPH + line)).of("accept.call")
    assert row["error"] is None and not row["flags"] & Flag.FAILED


def test_a_hot_add_that_failed_says_why(import_: Import, text: Text) -> None:
    call = "arch_add_memory(nid=1, start=0x100000000, size=0x8000000, params=0xffffc90000a0fd10)"
    (row,) = import_(text(GRAPH + f" 0) ! 150.000 us  |  {call}; /* = -17 */\n")).of("hot.add")
    assert (row["error"], row["bytes"], row["bytes_requested"], row["nid"]) == (17, 0, 128 << 20, 1)


def test_interrupts_are_understood(import_: Import, text: Text) -> None:
    lines = (
        " 1)               |  accept_memory() {\n"
        " 1)   ==========> |\n"
        " 1)               |    smp_apic_timer_interrupt() {\n"
        " 1)   2.000 us    |    }\n"
        " 1)   <========== |\n"
        "  100.000001 |   1)    sh-7     |   ==========> |\n"
        " 1) + 15.000 us   |  }\n"
    )
    run = import_(text(GRAPH + lines))
    assert run.header.sources[0].unparsed == 0
    assert [row["dur_ns"] for row in run.of("accept.call")] == [15_000]


def test_what_ran_inside_lies_inside(import_: Import) -> None:
    """Stamps are cut to microseconds and durations are not: 7 of 191 stuck out by up to 200 ns."""
    rows = [row for row in import_("lazy-graph-6.12.trace.gz").rows if row["dur_ns"] is not None]
    inner = [row for row in rows if row["parent"]]
    assert len(inner) > 100
    for row in inner:
        assert any(
            outer["event"] == row["parent"]
            and outer["tid"] == row["tid"]
            and outer["ts_ns"] - outer["dur_ns"] <= row["ts_ns"] - row["dur_ns"]
            and row["ts_ns"] <= outer["ts_ns"]
            for outer in rows
        ), row
