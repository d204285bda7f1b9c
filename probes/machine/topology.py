# SPDX-License-Identifier: Apache-2.0
"""CPUs and NUMA nodes: which pfn belongs to which node.

The memory blocks linked below /sys/devices/system/node/nodeN are the better
source: they are exact, but only in units of one block, and need
CONFIG_MEMORY_HOTPLUG.  Without them the zones of /proc/zoneinfo serve: they are
exact at their edges, but the spans of two nodes may overlap.  Where two nodes
claim the same pfn, the boot's own "Early memory node ranges" decide.  A pfn that
stays disputed belongs to no node: unknown, never a guess.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Mapping, Sequence
from itertools import pairwise

from memtrace.probes.machine.sources import KernelLog, Root, kernel_log, names, read_text
from memtrace.traces.run import Node

Range = tuple[int, int]
"""Half-open range of pfns, ``[start, end)``."""

_EARLY_NODE = re.compile(r"^\s*node +(\d+): \[mem 0x([0-9a-f]+)-0x([0-9a-f]+)\]")


def parse_cpulist(text: str) -> tuple[int, ...]:
    """Return the CPUs in a kernel list such as ``0-3,8,10-11``."""
    cpus: list[int] = []
    for part in text.strip().split(","):
        if part:
            low, _, high = part.partition("-")
            cpus.extend(range(int(low), int(high or low) + 1))
    return tuple(cpus)


def online_cpus(root: Root = "/") -> tuple[int, ...]:
    """Return the CPUs that are online, from sysfs or else from /proc/stat."""
    text = read_text(root, "/sys/devices/system/cpu/online")
    if text:
        return parse_cpulist(text)
    stat = read_text(root, "/proc/stat") or ""
    return tuple(int(n) for n in re.findall(r"^cpu(\d+) ", stat, re.MULTILINE))


def merge(ranges: Iterable[Range]) -> tuple[Range, ...]:
    """Return ``ranges`` sorted, with those that touch or overlap joined and empty ones dropped."""
    out: list[Range] = []
    for start, end in sorted(r for r in ranges if r[0] < r[1]):
        if out and start <= out[-1][1]:
            out[-1] = (out[-1][0], max(out[-1][1], end))
        else:
            out.append((start, end))
    return tuple(out)


def separate(
    claims: Mapping[int, Sequence[Range]], arbiter: Mapping[int, Sequence[Range]] | None = None
) -> dict[int, tuple[Range, ...]]:
    """Return disjoint ranges per node from ``claims``, which may overlap.

    A pfn that exactly one node claims belongs to that node.  A pfn that several
    claim goes to the claimant that ``arbiter`` alone names there, else to no node.
    """
    arbiter = arbiter or {}
    every = [r for ranges in (*claims.values(), *arbiter.values()) for r in ranges]
    edges = sorted({edge for r in every for edge in r})
    won: dict[int, list[Range]] = {nid: [] for nid in claims}
    for start, end in pairwise(edges):
        claimants = _covering(claims, start)
        if len(claimants) > 1:
            claimants = [nid for nid in _covering(arbiter, start) if nid in claimants]
        if len(claimants) == 1:
            won[claimants[0]].append((start, end))
    return {nid: merge(ranges) for nid, ranges in won.items()}


def _covering(ranges: Mapping[int, Sequence[Range]], pfn: int) -> list[int]:
    return [nid for nid, have in ranges.items() if any(s <= pfn < e for s, e in have)]


def zone_spans(zoneinfo: str) -> tuple[dict[int, list[Range]], dict[int, int]]:
    """Return from /proc/zoneinfo the pfn spans of each node's zones, and each node's present pages."""
    spans: dict[int, list[Range]] = {}
    present: dict[int, int] = {}
    nid = -1
    spanned = 0
    for line in zoneinfo.splitlines():
        header = re.match(r"Node (\d+), zone", line)
        if header:
            nid, spanned = int(header[1]), 0
            spans.setdefault(nid, [])
            present.setdefault(nid, 0)
            continue
        words = line.split()
        if len(words) != 2:
            continue
        if words[0] == "spanned":
            spanned = int(words[1])
        elif words[0] == "present":
            present[nid] += int(words[1])
        elif words[0] == "start_pfn:" and spanned:
            spans[nid].append((int(words[1]), int(words[1]) + spanned))
    return spans, present


def block_ranges(root: Root, nid: int, page_size: int) -> tuple[Range, ...]:
    """Return the pfn ranges of the online memory blocks linked below node ``nid``; empty if none are."""
    size = read_text(root, "/sys/devices/system/memory/block_size_bytes")
    if not size:
        return ()
    pages = int(size, 16) // page_size
    ranges = []
    for name in names(root, f"/sys/devices/system/node/node{nid}", r"memory\d+"):
        # phys_index and the name are the same number, in hexadecimal and decimal
        # (drivers/base/memory.c: phys_index_show), so no file need be opened.
        index = int(name.removeprefix("memory"))
        ranges.append((index * pages, (index + 1) * pages))
    return merge(ranges)


def early_ranges(log: KernelLog, page_size: int) -> dict[int, list[Range]]:
    """Return what the boot printed as "Early memory node ranges" (mm/mm_init.c: free_area_init)."""
    out: dict[int, list[Range]] = {}
    for line in log.lines:
        match = _EARLY_NODE.match(line)
        if match:
            start, last = int(match[2], 16), int(match[3], 16)
            out.setdefault(int(match[1]), []).append((start // page_size, (last + 1) // page_size))
    return out


def nodes(root: Root = "/", page_size: int | None = None, log: KernelLog | None = None) -> tuple[Node, ...]:
    """Return the online NUMA nodes, with disjoint pfn ranges.

    A machine with one node gets one range from 0 to the end of memory: every pfn
    is that node's.  ``present_bytes`` is what the zones say is present, without
    holes; None if /proc/zoneinfo cannot be read.
    """
    page_size = page_size or os.sysconf("SC_PAGE_SIZE")
    zoneinfo = read_text(root, "/proc/zoneinfo") or ""
    spans, present = zone_spans(zoneinfo)
    nids = sorted(
        int(name.removeprefix("node")) for name in names(root, "/sys/devices/system/node", r"node\d+")
    )
    nids = nids or sorted(spans) or [0]
    claims: dict[int, Sequence[Range]] = {nid: block_ranges(root, nid, page_size) for nid in nids}
    if not any(claims.values()):
        claims = {nid: spans.get(nid, ()) for nid in nids}
    if len(nids) == 1:
        end = max((r[1] for ranges in (*claims.values(), *spans.values()) for r in ranges), default=0)
        owned: Mapping[int, Sequence[Range]] = {nids[0]: ((0, end),) if end else ()}
    else:
        owned = _owned(claims, log, root, page_size)
    return tuple(
        Node(
            nid,
            _cpus_of(root, nid, len(nids) == 1),
            tuple(owned[nid]),
            present.get(nid, 0) * page_size if spans else None,
        )
        for nid in nids
    )


def _owned(
    claims: Mapping[int, Sequence[Range]], log: KernelLog | None, root: Root, page_size: int
) -> Mapping[int, Sequence[Range]]:
    flat = sorted(r for ranges in claims.values() for r in ranges)
    if all(a[1] <= b[0] for a, b in pairwise(flat)):
        return {nid: merge(ranges) for nid, ranges in claims.items()}
    return separate(claims, early_ranges(log or kernel_log(root), page_size))


def _cpus_of(root: Root, nid: int, only: bool) -> tuple[int, ...]:
    text = read_text(root, f"/sys/devices/system/node/node{nid}/cpulist")
    if text is not None:
        return parse_cpulist(text)
    return online_cpus(root) if only else ()
