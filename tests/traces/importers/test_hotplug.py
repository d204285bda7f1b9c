# SPDX-License-Identifier: Apache-2.0
"""512 MiB added to node 1, from saved text: the tables that a live recording has."""

from __future__ import annotations

from collections import Counter

from memtrace.tests.traces.importers.conftest import Import, Text
from memtrace.traces.schema import Flag

MIB = 1 << 20
SIZE, BLOCK = 512 * MIB, 128 * MIB


def test_the_fixture_gives_what_its_text_says(import_: Import) -> None:
    run = import_("hotplug-kaslr-6.12.txt")
    (add,) = run.of("hot.add")
    assert (add["bytes"], add["nid"], add["pfn"], add["parent"]) == (SIZE, 1, 0x100000, "hot.request")
    assert add["dur_ns"] == 7_432_982_000 - 7_375_768_000
    memmap = run.of("hot.memmap")
    assert [(r["bytes"], r["nid_requested"]) for r in memmap] == [(2 * MIB, 1)] * 4
    online = run.of("hot.online")
    assert [(r["bytes"], r["bytes_requested"], r["nid"]) for r in online] == [(BLOCK, BLOCK, 1)] * 4
    assert [r["pfn"] for r in online] == [0x100000, 0x108000, 0x110000, 0x118000]


def test_with_kaslr_the_address_of_the_memmap_tells_no_node(import_: Import) -> None:
    assert {(r["pfn"], r["nid"]) for r in import_("hotplug-kaslr-6.12.txt").of("hot.memmap")} == {
        (None, None)
    }


def test_the_node_of_a_request_by_memory_group_is_not_taken_for_a_node(import_: Import) -> None:
    """Its text has nid=0 flags=0x6: a group; the range is known to be on node 1 from hot.add."""
    (request,) = import_("hotplug-kaslr-6.12.txt").of("hot.request")
    assert (request["nid"], request["bytes"]) == (1, SIZE)


def test_exclusive_times_add_up_to_the_outermost(import_: Import) -> None:
    run = import_("hotplug-kaslr-6.12.txt")
    (request,) = run.of("hot.request")
    assert sum(r["self_ns"] for r in run.rows) == request["total_ns"]


def test_lines_of_the_script_around_it_are_counted_as_unparsed(import_: Import) -> None:
    run = import_("hotplug-kaslr-6.12.txt")
    (source,) = run.header.sources
    assert source.lines == 211
    assert source.unparsed == 39
    assert source.examples[1] == "@@SNAP before"
    # 172 lines of trace: 18 make rows with the 18 returns beside them, 128 count the pages
    # given in hot.online, and 8 are of a wrapper of the function that serves hot.memmap.
    assert source.ignored == 8
    assert source.rows == len(run.rows) == 18


def test_memmap_of_added_memory_lands_on_the_node_that_has_memory(import_: Import) -> None:
    run = import_("hotplug-memmap-off-6.12.trace", "hotplug-memmap-off-6.12.dmesg.gz", clock="boot")
    memmap = run.of("hot.memmap")
    assert [(r["bytes"], r["nid_requested"], r["nid"]) for r in memmap] == [(2 * MIB, 1, 0)] * 4
    assert {r["parent"] for r in memmap} == {"hot.section"}
    assert sum(r["bytes"] for r in run.of("hot.online")) == SIZE


def test_memmap_on_memory_takes_two_mib_of_each_block(import_: Import) -> None:
    run = import_("hotplug-memmap-on-6.12.trace", "hotplug-memmap-on-6.12.dmesg.gz", clock="boot")
    events = Counter(r["event"] for r in run.rows)
    assert events["hot.memmap"] == 0
    assert [(r["bytes"], r["nid"]) for r in run.of("hot.add")] == [(BLOCK, 1)] * 4
    assert [(r["bytes"], r["nid"]) for r in run.of("hot.altmap")] == [(2 * MIB, 1)] * 4
    assert [r["bytes"] for r in run.of("hot.online")] == [BLOCK - 2 * MIB] * 4
    assert {r["parent"] for r in run.of("hot.online")} == {"hot.block"}


def test_a_failed_add_is_marked(import_: Import, text: Text) -> None:
    path = text(
        "  sh-9 [000] ..... 1.000000: a: (arch_add_memory+0x4/0x50) nid=1 start=0x100000000 size=0x8000000\n"
        "  sh-9 [000] ..... 1.000500: b: (add_memory_resource+0xff/0x2c0 <- arch_add_memory) ret=-12\n"
    )
    (add,) = import_(path).of("hot.add")
    assert add["flags"] & Flag.FAILED
    assert (add["error"], add["bytes"], add["bytes_requested"]) == (12, 0, 128 * MIB)
    assert add["dur_ns"] == 500_000


def test_an_error_printed_unsigned_is_the_same_error(import_: Import, text: Text) -> None:
    path = text(
        "  sh-9 [000] ..... 1.000000: a: (offline_pages+0x4/0x50) pfn=0x100000 nr=32768\n"
        "  sh-9 [000] ..... 1.000500: b: (memory_subsys_offline+0xf/0xc <- offline_pages) ret=0xfffffff0\n"
    )
    (offline,) = import_(path).of("hot.offline")
    assert (offline["error"], offline["bytes"], offline["bytes_requested"]) == (16, 0, BLOCK)
