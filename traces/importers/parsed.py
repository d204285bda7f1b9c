# SPDX-License-Identifier: Apache-2.0
"""What a format's parser hands on: stamps, moments, what the boot log says, and what became of each line."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import NamedTuple

from memtrace.traces.run import Fact, Node, Phase, RunHeader, Snapshot

ENTRY, RETURN, POINT, LOSS = 0, 1, 2, 3
"""A function was entered; it returned; an event without length; the tracer lost events of a CPU here."""

EXAMPLES = 3
"""Unparsed lines that are kept."""
_EXAMPLE_LENGTH = 160


class Stamp(NamedTuple):
    """One line of a trace that says something memtrace keeps."""

    ts_ns: int
    """On the file's own clock."""
    kind: int
    """ENTRY, RETURN, POINT or LOSS."""
    what: str
    """Function, or event without its system; without suffixes such as .part.0."""
    how: str
    """ftrace, function_graph, kprobe_event, trace_event or bpftrace."""
    cpu: int | None
    tid: int | None
    pid: int | None
    comm: str | None
    args: str
    """``name=value`` words, as printed."""
    dur_ns: int | None = None
    """Of a RETURN whose tracer printed how long it took; finer than the difference of stamps."""
    stack: str | None = None
    """Root first, joined by ';'."""


@dataclass(frozen=True)
class Moment:
    """Something that several sources can see happen: bounds on the file's clock."""

    lo_ns: int
    hi_ns: int
    evidence: str


@dataclass(frozen=True)
class Relation:
    """The same instant on two clocks of the kernel, as one line tells it."""

    clock: str
    at_ns: int
    boottime_ns: int
    uncertainty_ns: int
    evidence: str


@dataclass(frozen=True)
class BootFacts:
    """What a boot log says of kernel and machine; empty where it says nothing."""

    release: str = ""
    version: str = ""
    cmdline: str = ""
    machine: str = ""
    cpus: int = 0
    nodes: tuple[Node, ...] = ()
    facts: tuple[Fact, ...] = ()
    unaccepted: tuple[tuple[int, int], ...] = ()
    """Physical ranges ``[start, end)``, bytes, that firmware left unaccepted; empty where not told."""


@dataclass
class Parsed:
    """One file, read.  Counts of lines add up: lines = used + ignored + unparsed."""

    format: str
    lines: int = 0
    used: int = 0
    """Lines that became stamps, phases, facts or losses."""
    ignored: int = 0
    """Lines understood that say nothing memtrace keeps."""
    unparsed: int = 0
    examples: list[str] = field(default_factory=list)
    stamps: list[Stamp] = field(default_factory=list)
    lost: int = 0
    """Events that the tracer says it lost."""
    clock: str | None = None
    """Name of the clock of the stamps, in the words of trace_clock; printk for a log; None: not said."""
    clock_evidence: str = ""
    moments: dict[str, Moment] = field(default_factory=dict)
    relations: list[Relation] = field(default_factory=list)
    phases: list[Phase] = field(default_factory=list)
    """On the file's own clock."""
    boot: BootFacts = field(default_factory=BootFacts)
    log: list[tuple[int, str]] = field(default_factory=list)
    """Lines of a kernel log, with their stamps."""
    snapshots: list[Snapshot] = field(default_factory=list)
    """On CLOCK_BOOTTIME."""
    header: RunHeader | None = None
    """All that is known of the machine, where a file says it."""
    cpus: int = 0
    notes: list[str] = field(default_factory=list)
    """What the user should be told of this file."""

    def loss(self, cpu: int, count: int) -> None:
        """Counts lost events: what was open on that CPU is not to be paired with what comes after."""
        self.lost += count
        self.stamps.append(Stamp(0, LOSS, "", "", cpu, None, None, None, ""))

    def not_understood(self, line: str) -> None:
        """Counts a line, and keeps the first ones."""
        self.unparsed += 1
        if len(self.examples) < EXAMPLES:
            self.examples.append(line.strip()[:_EXAMPLE_LENGTH])


@dataclass(frozen=True)
class Given:
    """What is known beside the file: options, and files that explain others."""

    clock: str | None = None
    """Of the trace files, as the user says."""
    boot: int | None = None
    """Which boot of a log with several, from 1; None: the last."""
    probes: Mapping[str, tuple[str, bool]] = field(default_factory=dict)
    """Probe event to its function, and whether it fires at the return (from kprobe_events)."""
