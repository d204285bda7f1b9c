# SPDX-License-Identifier: Apache-2.0
"""Hotplug with known answers: what was added, where its struct pages are, what cycles of it cost.

Boots: 7, and one more where long tests are run.
"""

import statistics
from pathlib import Path

import pytest

from memtrace.lab.sizes import GIB, MIB
from memtrace.lab.spec import PlugDimm, ResizeVirtioMem, Step, UnplugDimm, VirtioMem
from memtrace.tests.sql import fetched
from memtrace.tests.vm.conftest import Guest
from memtrace.tests.vm.hotplug import ADDED, BLOCK, RECORD, check_ledger, columns, phases, report_of, rows

pytestmark = pytest.mark.vm

SIZE = 512 * MIB
# 64 bytes for each 4 KiB page.
MEMMAP = SIZE // 64
PAGE = 4096


@pytest.mark.parametrize(
    ("kernel", "on_memory"),
    [
        ("debian-6.12", "N"),
        ("debian-6.12", "Y"),
        # Preemptible: programs are skipped now and then, which the run says, and a count may be short.
        pytest.param("debian-7.3", "N", marks=pytest.mark.long),
    ],
)
def test_struct_pages_of_a_node_without_memory(guest: Guest, kernel: str, on_memory: str) -> None:
    # The first checkpoint takes long under emulation, and no snapshot is taken meanwhile.
    work = "wait_for_checkpoints; lab-mark plug; wait_blocks 4; online online_movable 1; sleep 1.5"
    result = guest(
        kernel,
        ADDED + RECORD.format(events="hotplug,zero", work=work),
        memory=(2 * GIB, 0),
        append=f"memhp_default_state=offline memory_hotplug.memmap_on_memory={on_memory}",
        steps=(Step("plug", PlugDimm("dimm", 1, SIZE)),),
        time_limit_s=600,
    )
    report = report_of(result.results / "run.parquet")
    inside = on_memory == "Y"
    onlined = SIZE - (MEMMAP if inside else 0)

    (add,) = rows(report, "adds")
    assert columns([add], "origin", "nid", "bytes", "blocks", "onlined_bytes", "result", "accepts") == [
        ("ACPI DIMM", 1, SIZE, 4, onlined, "online", 0)
    ]
    assert (add["end_pfn"] - add["pfn"]) * PAGE == SIZE
    check_ledger(report)
    spent = phases(report, 1)
    assert (spent["memmap_zero"] or 0) > (spent["memmap"] or 0) if not inside else not spent["memmap_zero"]

    blocks = rows(report, "blocks")
    first = add["pfn"]
    assert sorted(columns(blocks, "pfn", "nid", "bytes")) == [
        (first + i * BLOCK // PAGE, 1, BLOCK) for i in range(4)
    ]
    left = BLOCK - (2 * MIB if inside else 0)
    assert columns(blocks, "onlined_bytes", "contiguous_bytes") == [(left, left)] * 4
    assert all(block["gap_ns"] > 0 for block in blocks)

    matrix = columns(rows(report, "memmap"), "nid_requested", "nid", "where", "bytes", "misplaced")
    if inside:
        assert matrix == [(1, 1, "in the block", MEMMAP, False)]
    else:
        assert matrix == [(1, 0, "allocated", MEMMAP, True)]
    (witness,) = rows(report, "witnesses")
    outside = 0 if inside else MEMMAP
    assert witness == {
        "add": 1, "needed_bytes": MEMMAP, "allocated_bytes": outside, "in_block_bytes": MEMMAP - outside,
        "counted_bytes": MEMMAP, "counted_over": None, "verdict": "agree",
    }  # fmt: skip

    counters = {(row["nid"], row["counter"]): row for row in rows(report, "nodes")}
    for counter in ("MemTotal", "MemFree"):
        assert columns([counters[1, counter]], "change_bytes", "rest_pages") == [(onlined, 0)]
    assert counters[0, "MemFree"]["explained_bytes"] == -outside
    if not inside:
        (dip,) = rows(report, "dip")
        assert dip["samples"] >= 1
        assert 0 < dip["low_bytes"] < dip["lowest_bytes"] < dip["before_bytes"]
    else:
        assert not rows(report, "dip")
    assert not rows(report, "refusals")


def test_an_older_kernel_honours_the_setting_for_one_block_only(guest: Guest) -> None:
    work = "lab-mark big; wait_blocks 4; lab-mark small; wait_blocks 5; online online_movable 1; sleep 1.5"
    result = guest(
        "debian-6.1",
        ADDED + RECORD.format(events="hotplug", work=work),
        memory=(2 * GIB, 0),
        append="memhp_default_state=offline memory_hotplug.memmap_on_memory=1",
        steps=(Step("big", PlugDimm("big", 1, SIZE)), Step("small", PlugDimm("small", 1, BLOCK))),
        time_limit_s=600,
    )
    report = report_of(result.results / "run.parquet")
    check_ledger(report)
    assert columns(rows(report, "adds"), "nid", "bytes", "blocks", "onlined_bytes") == [
        (1, SIZE, 4, SIZE),
        (1, BLOCK, 1, BLOCK - 2 * MIB),
    ]
    matrix = columns(rows(report, "memmap"), "add", "nid", "where", "bytes")
    assert matrix == [(2, 1, "in the block", 2 * MIB)]
    absent = next(caveat.text for caveat in report.caveats if caveat.id == "site-absent")
    assert "hot.memmap (notrace)" in absent
    # nr_memmap_pages came with 6.10: nothing is left to say where the other 8 MiB are.
    assert columns(rows(report, "witnesses"), "allocated_bytes", "counted_bytes", "verdict") == [
        (None, None, "unknown"),
        (None, None, "agree (no allocated, counted)"),
    ]


@pytest.mark.parametrize("mode", ["eager", "lazy"])
def test_acceptance_of_what_is_added(guest: Guest, mode: str) -> None:
    work = "lab-mark plug; wait_blocks 12; online online 1; sleep 1.5"
    result = guest(
        "accept-6.12",
        ADDED + RECORD.format(events="hotplug,accept.call", work=work),
        memory=(2 * GIB, 2 * GIB),
        append=f"unaccepted_emul=768M@1G,2G@4G,1G@6G unaccepted_emul_cost=100000 accept_memory={mode}"
        " memhp_default_state=offline",
        steps=(Step("plug", PlugDimm("dimm", 1, GIB)),),
        time_limit_s=600,
    )
    report = report_of(result.results / "run.parquet")
    check_ledger(report)
    (add,) = rows(report, "adds")
    assert columns([add], "nid", "bytes", "blocks", "onlined_bytes") == [(1, GIB, 8, GIB)]
    unaccepted = [row["change_bytes"] for row in rows(report, "nodes") if row["counter"] == "Unaccepted"]
    onlining, elsewhere = accepts(result.results / "run.parquet")
    if mode == "eager":
        assert (onlining, add["accepts"]) == (256, 256)
        assert (phases(report, 1)["accept"] or 0) > 0
        assert unaccepted == []
    else:
        # Struct pages and others may come from memory of the node that is accepted for them.
        assert onlining == 0
        (rise,) = unaccepted
        assert GIB - elsewhere * 4 * MIB <= rise <= GIB
        assert rise % (4 * MIB) == 0


def accepts(path: Path) -> tuple[int, int]:
    """Calls of accept_memory() directly inside onlining, and elsewhere."""
    ((onlining, elsewhere),) = fetched(
        "SELECT count(*) FILTER (parent = 'hot.online'),"
        " count(*) FILTER (parent IS DISTINCT FROM 'hot.online')"
        f" FROM '{path}' WHERE event = 'accept.call'"
    )
    return onlining, elsewhere


CYCLES = 20


def test_what_cycles_of_adding_and_removing_cost(guest: Guest) -> None:
    # Emulated, the first checkpoint of a recording takes seconds, and no snapshot is taken meanwhile.
    cycle = "lab-mark plug-$i; wait_blocks 1; sleep .3; [ $i = 0 ] && sleep 5; lab-mark unplug-$i; sleep .3"
    names = [f"d{i}" for i in range(CYCLES)]
    result = guest(
        "debian-6.12",
        ADDED + RECORD.format(events="hotplug", work=f"for i in $(seq 0 {CYCLES - 1}); do {cycle}; done"),
        memory=(2 * GIB, 0),
        append="memhp_default_state=online_movable",
        steps=tuple(
            step
            for i, name in enumerate(names)
            for step in (
                Step(f"plug-{i}", PlugDimm(name, 1, BLOCK)),
                Step(f"unplug-{i}", UnplugDimm(name)),
            )
        ),
        time_limit_s=600,
    )
    report = report_of(result.results / "run.parquet")
    adds = rows(report, "adds")
    assert columns(adds, "bytes", "result", "blocks") == [(BLOCK, "removed", 1)] * CYCLES
    found = rows(report, "cycles")
    assert [row["cycle"] for row in found] == list(range(1, CYCLES + 1))
    assert {row["alone"] for row in found} == {True}
    # The struct pages themselves always come back, and the witnesses see each add apart.
    assert {row["memmap_pages"] for row in found} == {0}
    assert columns(rows(report, "witnesses"), "counted_bytes", "counted_over", "verdict") == [
        (2 * MIB, None, "agree")
    ] * CYCLES  # fmt: skip
    # A leak of one cycle's struct pages or more would show: the rest of the guest stays below that.
    lost = [row["lost_bytes"] for row in found]
    assert all(size is not None for size in lost)
    assert abs(statistics.median(lost)) < 2 * MIB


def test_a_virtio_mem_device_brings_a_part_of_a_block_online(guest: Guest) -> None:
    size = 3 * BLOCK + 64 * MIB
    script = (
        ADDED
        + RECORD.format(events="hotplug", work="lab-mark grow; wait_blocks 4; sleep 1.5")
        + "\nmemtrace record -q -f -a -e alloc.contig -o $RESULTS/shrink.parquet -- lab-mark shrink\n"
    )
    result = guest(
        "debian-6.12",
        script,
        memory=(2 * GIB, 0),
        append="memhp_default_state=online",
        modules=("virtio_mem",),
        virtio_mem=(VirtioMem("vm0", 1, GIB),),
        steps=(Step("grow", ResizeVirtioMem("vm0", size)), Step("shrink", ResizeVirtioMem("vm0", BLOCK))),
        time_limit_s=600,
    )
    report = report_of(result.results / "run.parquet")
    check_ledger(report)
    adds = rows(report, "adds")
    assert {row["origin"] for row in adds} == {"virtio-mem"}
    assert sum(row["bytes"] for row in adds) == 4 * BLOCK
    blocks = rows(report, "blocks")
    assert sorted(columns(blocks, "bytes", "onlined_bytes")) == [(BLOCK, 64 * MIB)] + [(BLOCK, BLOCK)] * 3
    assert sum(row["partly_online"] for row in rows(report, "firsts")) == 1
    # The device adds its blocks one after the other, faster than snapshots are taken: nr_memmap_pages
    # counts those without one between them together, and all of them together are what was needed.
    found = rows(report, "witnesses")
    assert {row["verdict"] for row in found} == {"agree"}
    assert columns(found, "needed_bytes", "allocated_bytes") == [(2 * MIB, 2 * MIB)] * 4
    groups = {row["counted_over"] or row["add"]: row["counted_bytes"] for row in found}
    assert sum(groups.values()) == 8 * MIB
    totals = [row for row in rows(report, "nodes") if (row["nid"], row["counter"]) == (1, "MemTotal")]
    assert sum(row["change_bytes"] for row in totals) == size
    assert {row["rest_pages"] for row in totals} == {0}
    # What it gives back it takes from the allocator, range by range.
    ((taken, nodes, distinct, ranges),) = fetched(
        "SELECT sum(bytes), list(DISTINCT nid), count(DISTINCT pfn), count(*)"
        f" FROM '{result.results / 'shrink.parquet'}' WHERE event = 'alloc.contig' AND dur_ns > 0"
    )
    assert (taken, nodes, distinct) == (size - BLOCK, [1], ranges)
