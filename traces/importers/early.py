# SPDX-License-Identifier: Apache-2.0
"""Counters that a shell saved during the boot: files one after another, ``==> PATH <==`` above each.

/proc/uptime gives the moment, to 10 ms; /proc/vmstat and nodeN/meminfo the counters.
"""

from __future__ import annotations

import re
from collections.abc import Iterable

from memtrace.traces.importers.parsed import Given, Parsed
from memtrace.traces.run import Snapshot

NAME = "early"
_HEAD = re.compile(r"==> (/\S+) <==")
_NODE = re.compile(r"/sys/devices/system/node/node(\d+)/meminfo")
_KB = re.compile(r"(?:Node \d+ )?(\w+(?:\(\w+\))?):\s+(\d+)")
_UPTIME = re.compile(r"(\d+)\.(\d\d) ")
_KEPT = ("nr_unaccepted", "nr_free_pages", "nr_memmap")


def recognise(head: list[str]) -> int:
    """How many of the first lines are of this format."""
    return len(head) if any(_HEAD.fullmatch(line.strip()) for line in head[:1]) else 0


def parse(lines: Iterable[str], given: Given) -> Parsed:
    """One snapshot; without /proc/uptime it has no moment, and is not kept."""
    parsed = Parsed(NAME, clock="boot", clock_evidence="/proc/uptime, to 10 ms")
    path = ""
    at_ns: int | None = None
    vmstat: dict[str, int] = {}
    nodes: dict[str, dict[str, int]] = {}
    machine: dict[str, int] = {}
    for raw in lines:
        parsed.lines += 1
        line = raw.rstrip("\n")
        if head := _HEAD.fullmatch(line.strip()):
            path = head[1]
        elif path == "/proc/uptime" and (uptime := _UPTIME.match(line)):
            at_ns = int(uptime[1]) * 10**9 + int(uptime[2]) * 10**7
        elif path == "/proc/vmstat" and len(words := line.split()) == 2 and words[1].isdigit():
            if words[0].startswith(_KEPT):
                vmstat[words[0]] = int(words[1])
        elif value := _KB.match(line):
            node = _NODE.fullmatch(path)
            (nodes.setdefault(node[1], {}) if node else machine)[value[1]] = int(value[2])
        elif line.strip():
            parsed.not_understood(line)
            continue
        parsed.used += 1
    if at_ns is None:
        parsed.notes.append("no /proc/uptime in it: a snapshot without a moment is not kept")
    else:
        # CONFIG_NUMA=n has no node directories: the machine is its one node.
        parsed.snapshots = [Snapshot("early", at_ns, vmstat, nodes or {"0": machine})]
    return parsed
