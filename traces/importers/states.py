# SPDX-License-Identifier: Apache-2.0
"""What files say of the machine and its counters, put into an imported run's header."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

from memtrace.errors import MemtraceError
from memtrace.traces.importers.parsed import BootFacts, Parsed
from memtrace.traces.run import Node, RunHeader, Snapshot

_MACHINE = (
    *("hostname", "kernel_release", "kernel_version", "kernel_cmdline", "machine", "build_id", "boot_id"),
    *("page_size", "config", "facts", "cpus", "nodes", "sysctls"),
)


def tell_clock(files: Sequence[Parsed]) -> None:
    """Gives tracefs' files the trace_clock that the machine file has seen, where none was given."""
    facts = [f for file in files if file.header for f in file.header.facts if f.name == "trace_clock"]
    for file in files:
        if file.format == "tracefs" and file.clock is None and facts and facts[0].value != "unknown":
            file.clock, file.clock_evidence = facts[0].value, facts[0].evidence


def completed(header: RunHeader, files: Sequence[Parsed], boot: BootFacts, merged: bool) -> RunHeader:
    """The header with the snapshots of all files, and the machine file's knowledge where there is one.

    Where a recorded run was merged, what that knows of the machine stays.  Raises
    MemtraceError if the two are of different boots.
    """
    known = next((file.header for file in files if file.header is not None), None)
    snapshots = [*header.snapshots, *(s for file in files for s in file.snapshots)]
    if known is not None:
        snapshots += known.snapshots
    nodes = boot.nodes or header.nodes
    if (entry := _entry(boot, nodes)) is not None:
        snapshots.insert(0, entry)
    header = dataclasses.replace(header, snapshots=tuple(snapshots))
    if known is None:
        return header
    if merged and header.boot_id and known.boot_id and header.boot_id != known.boot_id:
        raise MemtraceError("--merge: the run was recorded in another boot; give one of this boot")
    machine = {} if merged else {name: getattr(known, name) for name in _MACHINE}
    return dataclasses.replace(
        header,
        **machine,
        anchors=(*header.anchors, *known.anchors),
        origin="collected",
        sources=(*header.sources, *known.sources),
    )


def _entry(boot: BootFacts, nodes: Sequence[Node]) -> Snapshot | None:
    """What firmware left unaccepted on each node, as a snapshot at the kernel's start."""
    if not boot.unaccepted or not nodes:
        return None
    kb = {str(node.nid): {"Unaccepted": _overlap(boot.unaccepted, node) // 1024} for node in nodes}
    return Snapshot("entry", 0, {}, kb)


def _overlap(ranges: Sequence[tuple[int, int]], node: Node) -> int:
    """Bytes of ``ranges`` that are the node's, pages being of 4 KiB."""
    own = [(start << 12, end << 12) for start, end in node.pfn_ranges]
    return sum(max(0, min(end, e) - max(start, s)) for start, end in ranges for s, e in own)
