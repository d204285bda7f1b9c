# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import json
import mmap
import os
import shutil
import time
import tracemalloc
from pathlib import Path
from typing import Any

from memtrace.probes.machine.state import clock_anchor, snapshot


def test_a_snapshot_has_the_counters_of_acceptance_per_node(machine: Any) -> None:
    taken = snapshot("start", machine("accept-6.12"))
    assert taken.label == "start"
    assert sum(node["Unaccepted"] for node in taken.nodes.values()) == taken.vmstat["nr_unaccepted"] * 4
    assert taken.vmstat["nr_unaccepted"] > 0


def test_what_a_kernel_does_not_print_is_absent(machine: Any) -> None:
    taken = snapshot("start", machine("debian-6.1"))
    assert "nr_unaccepted" not in taken.vmstat
    assert "Unaccepted" not in taken.nodes["0"]


def test_huge_page_pools_are_counted_per_node(machine: Any) -> None:
    taken = snapshot("start", machine("debian-6.1"))
    assert [taken.nodes[nid]["HugePages_Total"] for nid in ("0", "1")] == [4, 4]


def test_values_are_those_of_the_files(machine: Any) -> None:
    root = machine("debian-6.12")
    taken = snapshot("end", root)
    lines = (root / "proc/vmstat").read_text().splitlines()
    printed = {name: int(value) for name, value in (line.split() for line in lines)}
    assert taken.vmstat.items() <= printed.items()
    assert {"pgfault", "thp_fault_alloc", "thp_fault_fallback", "pgalloc_normal"} <= set(taken.vmstat)
    meminfo = (root / "sys/devices/system/node/node1/meminfo").read_text()
    assert ["Node", "1", "MemFree:", str(taken.nodes["1"]["MemFree"]), "kB"] in [
        line.split() for line in meminfo.splitlines()
    ]


def test_a_kernel_without_numa_is_its_own_node(machine: Any) -> None:
    root = machine("debian-6.12")
    shutil.rmtree(root / "sys/devices/system/node")
    taken = snapshot("start", root)
    assert list(taken.nodes) == ["0"]
    assert f"MemTotal: {taken.nodes['0']['MemTotal']:>14} kB" in (root / "proc/meminfo").read_text()


def test_per_node_memmap_pages_are_kept_where_the_kernel_counts_them(machine: Any) -> None:
    path = "/sys/devices/system/node/node1/vmstat"
    taken = snapshot("start", machine("debian-6.12", {path: "nr_memmap_pages 2048\nnr_free_pages 5\n"}))
    assert taken.nodes["1"]["nr_memmap_pages"] == 2048
    assert "nr_free_pages" not in taken.nodes["1"]


def test_an_empty_tree_is_an_empty_snapshot(tmp_path: Path) -> None:
    taken = snapshot("start", tmp_path)
    assert (taken.vmstat, taken.nodes) == ({}, {"0": {}})


def test_pages_touched_between_two_snapshots_are_seen() -> None:
    """4096 pages are faulted in one by one; others on the machine can only add to that."""
    size = 4096 * os.sysconf("SC_PAGE_SIZE")
    with mmap.mmap(-1, size) as area:
        area.madvise(mmap.MADV_NOHUGEPAGE)
        before = snapshot("start")
        for at in range(0, size, os.sysconf("SC_PAGE_SIZE")):
            area[at] = 1
        after = snapshot("end")
    assert after.vmstat["pgfault"] - before.vmstat["pgfault"] >= 4096
    assert after.boottime_ns > before.boottime_ns


def test_a_snapshot_is_quick_and_small() -> None:
    snapshot("warm")
    times = []
    for _ in range(50):
        start = time.perf_counter_ns()
        snapshot("start")
        times.append(time.perf_counter_ns() - start)
    assert min(times) < 2_000_000
    tracemalloc.start()
    taken = snapshot("start")
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 256 << 10
    json.dumps(taken.vmstat)


def test_an_anchor_lies_between_readings_taken_around_it() -> None:
    before = [
        time.clock_gettime_ns(c) for c in (time.CLOCK_BOOTTIME, time.CLOCK_MONOTONIC, time.CLOCK_REALTIME)
    ]
    anchor = clock_anchor()
    after = [
        time.clock_gettime_ns(c) for c in (time.CLOCK_BOOTTIME, time.CLOCK_MONOTONIC, time.CLOCK_REALTIME)
    ]
    for low, value, high in zip(
        before, (anchor.boottime_ns, anchor.monotonic_ns, anchor.realtime_ns), after, strict=True
    ):
        assert low <= value <= high
    assert 0 <= anchor.uncertainty_ns < 1_000_000


def test_two_anchors_agree_on_the_distance_of_the_clocks() -> None:
    """Boot and monotonic clocks tick alike unless the machine sleeps."""
    a, b = clock_anchor(), clock_anchor()
    apart = (a.boottime_ns - a.monotonic_ns) - (b.boottime_ns - b.monotonic_ns)
    assert abs(apart) <= a.uncertainty_ns + b.uncertainty_ns
