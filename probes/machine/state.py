# SPDX-License-Identifier: Apache-2.0
"""What the counters and the clocks say at one moment.

They are read right after the programs are loaded and while they run, so reading
is quick (about one read per file) and allocates little: only the counters that
matter to acceptance, zeroing, allocation and hotplug are kept.
"""

from __future__ import annotations

import os
import time
from pathlib import Path

from memtrace.probes.machine.sources import Root, names, under
from memtrace.traces.run import ClockAnchor, Snapshot

_VMSTAT = (
    b"nr_free_pages",
    b"nr_unaccepted",
    b"nr_memmap",
    b"nr_anon_",
    b"nr_balloon_pages",
    b"pgfault",
    b"pgmajfault",
    b"pgalloc_",
    b"allocstall_",
    b"pgfree",
    b"pgscan_",
    b"pgsteal_",
    b"pgmigrate_",
    b"compact_",
    b"numa_",
    b"thp_fault_",
    b"thp_split_page",
    b"thp_zero_page_alloc",
    b"htlb_buddy_alloc_",
    b"balloon_",
)
_NODE_VMSTAT = (b"nr_memmap",)
_MEMINFO = (
    b"MemTotal",
    b"MemFree",
    b"MemUsed",
    b"Unaccepted",
    b"AnonPages",
    b"AnonHugePages",
    b"Shmem",
    b"FilePages",
    b"Mapped",
    b"Slab",
    b"KernelStack",
    b"PageTables",
    b"HugePages_",
    b"Balloon",
)
_BIG = 1 << 16


def snapshot(label: str, root: Root = "/", *, watermarks: bool = False) -> Snapshot:
    """Read the counters now.

    With ``watermarks``, nodes also have WatermarkMin and WatermarkLow, kB, summed over the
    node's zones; reading them takes longer the more CPUs there are.

    ``vmstat`` is in pages or events as /proc/vmstat prints them.  ``nodes`` has,
    per node, the kB of nodeN/meminfo, HugePages_* in huge pages, and nr_memmap_*
    in pages where nodeN/vmstat has them.  What a kernel does not print is absent.
    """
    boottime = time.clock_gettime_ns(time.CLOCK_BOOTTIME)
    vmstat = _pick(_read(under(root, "/proc/vmstat")), _VMSTAT)
    nodes = _nodes(root)
    if watermarks:
        for nid, marks in _watermarks(_read(under(root, "/proc/zoneinfo"))).items():
            nodes.setdefault(nid, {}).update(marks)
    took = time.clock_gettime_ns(time.CLOCK_BOOTTIME) - boottime
    return Snapshot(label, boottime, vmstat, nodes, took)


def clock_anchor(tries: int = 16) -> ClockAnchor:
    """Read CLOCK_BOOTTIME, CLOCK_MONOTONIC and CLOCK_REALTIME at one moment, ns.

    The other two are read between two readings of CLOCK_BOOTTIME, ``tries`` times.
    The tightest bracket is kept: ``boottime_ns`` is its middle and
    ``uncertainty_ns`` its width.
    """
    read = time.clock_gettime_ns
    best: tuple[int, int, int, int] | None = None
    for _ in range(max(1, tries)):
        before = read(time.CLOCK_BOOTTIME)
        monotonic = read(time.CLOCK_MONOTONIC)
        realtime = read(time.CLOCK_REALTIME)
        after = read(time.CLOCK_BOOTTIME)
        if best is None or after - before < best[0]:
            best = (after - before, before, monotonic, realtime)
    assert best is not None
    width, before, monotonic, realtime = best
    return ClockAnchor(before + width // 2, monotonic, realtime, width)


def _nodes(root: Root) -> dict[str, dict[str, int]]:
    base = "/sys/devices/system/node"
    nids = sorted(int(name.removeprefix("node")) for name in names(root, base, r"node\d+"))
    if not nids:
        # With CONFIG_NUMA=n there are no node directories: the whole machine is node 0.
        return {"0": _meminfo(_read(under(root, "/proc/meminfo")))}
    out = {}
    for nid in nids:
        values = _meminfo(_read(under(root, f"{base}/node{nid}/meminfo")))
        values.update(_pick(_read(under(root, f"{base}/node{nid}/vmstat")), _NODE_VMSTAT))
        out[str(nid)] = values
    return out


def _watermarks(zoneinfo: bytes) -> dict[str, dict[str, int]]:
    """Return the min and low watermarks of /proc/zoneinfo by node, summed over its zones, kB."""
    kb = os.sysconf("SC_PAGE_SIZE") // 1024
    found: dict[str, dict[str, int]] = {}
    marks: dict[str, int] = {}
    for line in zoneinfo.splitlines():
        words = line.split()
        if words[:1] == [b"Node"]:
            marks = found.setdefault(words[1].rstrip(b",").decode(), {"WatermarkMin": 0, "WatermarkLow": 0})
        elif len(words) == 2 and words[0] in (b"min", b"low"):
            marks["Watermark" + words[0].decode().title()] += int(words[1]) * kb
    return found


def _read(path: Path) -> bytes:
    try:
        fd = os.open(path, os.O_RDONLY)
    except OSError:
        return b""
    try:
        chunks = []
        while chunk := os.read(fd, _BIG):
            chunks.append(chunk)
        return b"".join(chunks)
    except OSError:
        return b""
    finally:
        os.close(fd)


def _pick(text: bytes, prefixes: tuple[bytes, ...]) -> dict[str, int]:
    out = {}
    for line in text.splitlines():
        if line.startswith(prefixes):
            name, _, value = line.partition(b" ")
            out[name.decode()] = int(value)
    return out


def _meminfo(text: bytes) -> dict[str, int]:
    """Parse ``Node 0 MemTotal: 5466316 kB`` or ``MemTotal: 5466316 kB`` into {"MemTotal": 5466316}."""
    out = {}
    for line in text.splitlines():
        words = line.split()
        if words and words[0] == b"Node":
            words = words[2:]
        if len(words) >= 2 and words[0].startswith(_MEMINFO):
            out[words[0].rstrip(b":").decode()] = int(words[1])
    return out
