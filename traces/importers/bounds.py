# SPDX-License-Identifier: Apache-2.0
"""What a file says of its machine, held against what can be; rows have their own limits (rows.py)."""

from __future__ import annotations

from dataclasses import replace

from memtrace.traces.importers.parsed import Parsed
from memtrace.traces.run import Phase

MOST_LOST = 2**60
"""Events that a tracer can have lost: 36 years of one each nanosecond."""
MOST_CPUS = 2**15 - 1
_AGES_NS = 2**60
_PHYSICAL = 2**52
_NODES = 2**10


def hold(parsed: Parsed) -> None:
    """Drops what can't be, and counts each as a line that was not understood."""
    if not 0 <= parsed.lost <= MOST_LOST:
        _refuse(parsed, f"(events lost: {parsed.lost})")
        parsed.lost = 0
    if not 0 <= parsed.cpus <= MOST_CPUS:
        _refuse(parsed, f"(CPUs: {parsed.cpus})")
        parsed.cpus = 0
    for phase in parsed.phases:
        if not _possible(phase):
            _refuse(parsed, phase.detail or phase.name)
    parsed.phases = [phase for phase in parsed.phases if _possible(phase)]
    _hold_boot(parsed)


def _hold_boot(parsed: Parsed) -> None:
    boot = parsed.boot
    if boot.cpus > MOST_CPUS:
        _refuse(parsed, f"(CPUs: {boot.cpus})")
        boot = replace(boot, cpus=0)
    for node in boot.nodes:
        if node.nid >= _NODES or any(end > _PHYSICAL for _, end in node.pfn_ranges):
            _refuse(parsed, f"(node {node.nid}: {node.pfn_ranges})")
            boot = replace(boot, nodes=tuple(n for n in boot.nodes if n is not node))
    if any(end > _PHYSICAL for _, end in boot.unaccepted):
        _refuse(parsed, "(unaccepted memory beyond what can be addressed)")
        boot = replace(boot, unaccepted=())
    parsed.boot = boot


def _possible(phase: Phase) -> bool:
    times = (phase.start_ns, phase.end_ns, phase.resolution_ns)
    return all(ns is None or abs(ns) <= _AGES_NS for ns in times)


def _refuse(parsed: Parsed, what: str) -> None:
    parsed.used -= 1
    parsed.not_understood(what)
