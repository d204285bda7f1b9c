# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import os
import re
import shutil
from pathlib import Path
from typing import Any

import pytest

from memtrace.probes.machine.sources import KernelLog, kernel_log
from memtrace.probes.machine.topology import (
    merge,
    nodes,
    online_cpus,
    parse_cpulist,
    separate,
)
from memtrace.traces.run import Node

GIB = 1 << 18
"""Pages of 4 KiB in a GiB."""


def ranges(root: Path, log: KernelLog | None = None) -> dict[int, tuple[tuple[int, int], ...]]:
    return {n.nid: n.pfn_ranges for n in nodes(root, 4096, log)}


@pytest.mark.parametrize(("text", "cpus"), [("0-2,5,8-9\n", (0, 1, 2, 5, 8, 9)), ("0", (0,)), ("\n", ())])
def test_cpu_lists(text: str, cpus: tuple[int, ...]) -> None:
    assert parse_cpulist(text) == cpus


def test_two_nodes_side_by_side(machine: Any) -> None:
    found = nodes(machine("debian-6.12"), 4096)
    assert [(n.nid, n.cpus, n.pfn_ranges) for n in found] == [
        (0, (0,), ((0, GIB),)),
        (1, (1,), ((GIB, 2 * GIB),)),
    ]
    assert found[0].present_bytes == (3998 + 258048) * 4096


def test_a_node_on_both_sides_of_the_pci_hole_has_two_ranges(machine: Any) -> None:
    assert ranges(machine("accept-6.12")) == {0: ((0, GIB),), 1: ((GIB, 2 * GIB), (4 * GIB, 5 * GIB))}


def test_a_node_that_lies_between_two_parts_of_another(machine: Any) -> None:
    """Node 0 has 2 GiB below 4 GiB, 1 GiB above, and a DIMM above node 1."""
    found = ranges(machine("interleaved-6.12"))
    assert found[1] == ((5 * GIB, 6 * GIB),)
    assert found[0] == ((0, 2 * GIB), (4 * GIB, 5 * GIB), (6 * GIB, 6 * GIB + GIB // 2))


def without_blocks(machine: Any, name: str, changes: dict[str, None] | None = None) -> Path:
    """A recorded machine as CONFIG_MEMORY_HOTPLUG=n would show it."""
    path = "/sys/devices/system/memory/block_size_bytes"
    root: Path = machine(name, {path: None, **(changes or {})})
    return root


def test_without_memory_blocks_the_zones_tell(machine: Any) -> None:
    found = ranges(without_blocks(machine, "debian-6.12"))
    assert found == {0: ((1, GIB),), 1: ((GIB, GIB + 262109),)}


def test_where_zones_overlap_the_boots_own_ranges_decide(machine: Any) -> None:
    found = ranges(without_blocks(machine, "interleaved-6.12"))
    assert found[1] == ((5 * GIB, 6 * GIB),)
    assert found[0] == ((1, 5 * GIB), (6 * GIB, 6 * GIB + GIB // 2))


def test_where_nothing_decides_an_overlap_is_nobodys(machine: Any) -> None:
    found = ranges(without_blocks(machine, "interleaved-6.12", {"/dev/kmsg": None}))
    assert found[1] == ()
    assert not any(start < 6 * GIB and end > 5 * GIB for start, end in found[0])


def test_a_block_that_two_nodes_share_is_split_where_the_boot_says(machine: Any) -> None:
    """A block is linked below each node that has a page in it (drivers/base/node.c)."""
    root = machine("debian-6.12", {"/sys/devices/system/node/node1/memory7/": ""})
    (root / "sys/devices/system/node/node0/memory8").mkdir()
    log = KernelLog(("  node   0: [mem 0x0-0x40ffffff]", "  node   1: [mem 0x41000000-0x7fffffff]"), True)
    assert ranges(root, log) == {0: ((0, 0x41000),), 1: ((0x41000, 2 * GIB),)}


def test_a_machine_with_one_node_is_all_its(machine: Any) -> None:
    root = machine("debian-6.12")
    shutil.rmtree(root / "sys/devices/system/node/node1")
    (node,) = nodes(root, 4096)
    assert (node.nid, node.pfn_ranges[0][0]) == (0, 0)


def test_without_numa_the_zones_and_cpus_make_one_node(machine: Any) -> None:
    root = machine("accept-6.12")
    shutil.rmtree(root / "sys/devices/system/node")
    (root / "proc/zoneinfo").write_text(
        "Node 0, zone   Normal\n  spanned  100\n  present  90\n  start_pfn: 50\n"
    )
    assert nodes(root, 4096) == (Node(0, (0, 1), ((0, 150),), 90 * 4096),)


def test_a_node_without_memory_keeps_its_cpus(machine: Any) -> None:
    root = machine("debian-6.12", {"/sys/devices/system/node/node2/cpulist": "2-3\n"})
    last = nodes(root, 4096)[-1]
    assert last == Node(2, (2, 3), (), 0)


def test_nothing_to_read_is_one_node_without_ranges(tmp_path: Path) -> None:
    assert nodes(tmp_path, 4096) == (Node(0, (), (), None),)


def test_merge_joins_what_touches_or_overlaps() -> None:
    assert merge([(5, 9), (0, 2), (2, 4), (8, 12), (3, 3)]) == ((0, 4), (5, 12))


def test_separate_gives_a_disputed_range_to_whom_the_arbiter_names() -> None:
    claims = {0: [(0, 10)], 1: [(5, 15)], 2: [(6, 7)]}
    assert separate(claims) == {0: ((0, 5),), 1: ((10, 15),), 2: ()}
    assert separate(claims, {1: [(5, 8)]}) == {0: ((0, 5),), 1: ((5, 8), (10, 15)), 2: ()}


def test_an_arbiter_cannot_give_what_nobody_claims() -> None:
    assert separate({0: [(0, 4)], 1: [(8, 9)]}, {1: [(0, 9)]}) == {0: ((0, 4),), 1: ((8, 9),)}


def test_the_running_machine_agrees_with_its_boot() -> None:
    """Every range the boot printed lies in the node it printed it for."""
    log = kernel_log()
    page = os.sysconf("SC_PAGE_SIZE")
    printed = [re.match(r"^ +node +(\d+): \[mem 0x(\w+)-0x(\w+)\]", line) for line in log.lines]
    rows = [(int(m[1]), int(m[2], 16) // page, int(m[3], 16) // page) for m in printed if m]
    if not rows:
        pytest.skip("the kernel log does not say")
    here = nodes()
    for nid, *edges in rows:
        for pfn in edges:
            assert [n.nid for n in here if any(s <= pfn < e for s, e in n.pfn_ranges)] == [nid]


def test_the_running_machines_cpus_are_each_on_one_node() -> None:
    cpus = sorted(cpu for node in nodes() for cpu in node.cpus)
    assert cpus == list(online_cpus())
