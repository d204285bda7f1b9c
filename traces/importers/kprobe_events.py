# SPDX-License-Identifier: Apache-2.0
"""/sys/kernel/tracing/kprobe_events: which function a probe of a user's name is on.

It makes no rows; it lets other files of the import be understood whose text
names the probe and not the function (trace-cmd and perf print addresses).
"""

from __future__ import annotations

from collections.abc import Iterable

from memtrace.traces.importers.bodies import probe_list
from memtrace.traces.importers.parsed import Given, Parsed

NAME = "kprobe_events"


def recognise(head: list[str]) -> int:
    """How many of the first lines are of this format."""
    return sum(probe_list(line) is not None for line in head)


def parse(lines: Iterable[str], given: Given) -> Parsed:
    """Counts the lines; their meaning went into ``given`` before the other files were read."""
    parsed = Parsed(NAME, clock="none", clock_evidence="no stamps in it")
    for line in lines:
        parsed.lines += 1
        if probe_list(line):
            parsed.used += 1
        elif line.strip():
            parsed.not_understood(line)
        else:
            parsed.ignored += 1
    return parsed


def probes(lines: Iterable[str]) -> dict[str, tuple[str, bool]]:
    """Probe event to function, and whether it fires at the return."""
    return dict(found for line in lines if (found := probe_list(line)))
