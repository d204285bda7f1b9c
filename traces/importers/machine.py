# SPDX-License-Identifier: Apache-2.0
"""What ``memtrace boot collect`` found out about the machine: a run's header, as JSON.

Facts, topology, configuration, counters and clocks, and what could not be read.
"""

from __future__ import annotations

from collections.abc import Iterable

from memtrace.errors import MemtraceError
from memtrace.traces.importers.parsed import Given, Parsed
from memtrace.traces.run import header_from_json

NAME = "machine"
_BEGIN = '{"tool_version":'


def recognise(head: list[str]) -> int:
    """How many of the first lines are of this format."""
    return len(head) if head and head[0].startswith(_BEGIN) else 0


def parse(lines: Iterable[str], given: Given) -> Parsed:
    """The header; raises MemtraceError if it is none."""
    parsed = Parsed(NAME, clock="boot", clock_evidence="CLOCK_BOOTTIME of the counters")
    text = "".join(lines)
    parsed.lines = parsed.used = text.count("\n")
    try:
        parsed.header = header_from_json(text)
    except ValueError as error:
        raise MemtraceError(f"the machine file is damaged ({error}); collect it again") from error
    return parsed
