# SPDX-License-Identifier: Apache-2.0
"""What a run file says about itself, beside its rows.

Two versioned JSON documents in the parquet metadata: the *header*, fixed when
recording starts, and the *status*, written again with every flush, so that a
run that was cut short still carries its losses and counters up to the last
flush.  Both ignore unknown keys, so that older readers open newer files.  The
types and ranges declared here, and in traces/totals.py for the sums in a status, are
what the gate (traces/gate.py) holds a file to.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import Annotated

from memtrace.traces import gate
from memtrace.traces.limits import (
    AtMost,
    Count,
    Cpu,
    Nid,
    Ns,
    PageSize,
    Pfn,
    Pid,
    SignedNs,
    Status,
    Sum64,
    VmNumber,
)
from memtrace.traces.totals import EventCounters, Losses, RootTotal, TaskTotal


@dataclass(frozen=True)
class Fact:
    """A three-valued statement with the evidence for it.

    ``value`` is "yes", "no" or "unknown" (or a short text such as "lazy").
    """

    name: str
    value: str
    evidence: str = ""


@dataclass(frozen=True)
class Refusal:
    """Why a better site was not used.

    ``reason``: absent, unused, not loaded, not known, inlined, thunked, notrace, blacklisted,
    refused by policy, config missing, not allowed, failed, or avoided.
    """

    candidate: str
    reason: str
    detail: str = ""


NOT_ASKED = "not asked for"
"""``decode`` of an event that the recording was not to see."""
LEFT_TO_ALLOCATOR = "init_on_alloc clears huge pages already, and this kernel's faults leave it at that"
"""``unproven`` of zero.user: transparent huge pages are cleared once, as zero.alloc."""


@dataclass(frozen=True)
class ProbeSite:
    """One line of the probe manifest: a logical event and the site that serves it here."""

    event: str
    site: str | None
    """Name in the ``site`` column, e.g. ``rawtp:kmem:mm_page_alloc``; None if no site exists."""
    kind: str | None = None
    """fentry, kprobe, rawtp, tracepoint, callsite, sampling, inferred; of imported rows ftrace,
    function_graph, kprobe_event, trace_event, bpftrace."""
    function: str | None = None
    offsets: tuple[Count, ...] = ()
    """Call-site offsets, bytes; ``decode`` says in which functions."""
    decode: str = ""
    """What the columns are taken from, in words."""
    inclusive_of: tuple[str, ...] = ()
    """Traced events whose time is inside this one's ``total_ns``."""
    time: str = "exact"
    """exact, estimated or unknown."""
    count: str = "exact"
    """exact, inferred or unknown."""
    proven: bool | None = None
    """True or False after known work (selftest or liveness check); None: attached, unproven."""
    unproven: str = ""
    """Why ``proven`` is None, in words; empty where nothing was tried (or by older recorders)."""
    refused: tuple[Refusal, ...] = ()
    beside: str | None = None
    """A second site of the event, which sees what the first does not."""


@dataclass(frozen=True)
class Node:
    """A NUMA node: its CPUs and the pfn ranges ``[start, end)`` of its memory."""

    nid: Nid
    cpus: tuple[Cpu, ...] = ()
    pfn_ranges: tuple[tuple[Pfn, Pfn], ...] = ()
    present_bytes: Count | None = None


@dataclass(frozen=True)
class Snapshot:
    """State at one moment: counters in pages or kB as the kernel prints them."""

    label: str
    """before_load, after_load, start, change (while recording), end; of a boot also entry (what
    firmware left unaccepted), early (saved by the initramfs) and boot (when it was collected)."""
    boottime_ns: SignedNs
    vmstat: dict[str, Sum64] = field(default_factory=dict)
    nodes: dict[str, dict[str, Sum64]] = field(default_factory=dict)
    """Per node ("0", "1", …): MemTotal, MemFree, Unaccepted, …, in kB."""
    took_ns: Ns | None = None
    """The counters were read one after the other, for so long after boottime_ns; None if not known."""


@dataclass(frozen=True)
class ClockAnchor:
    """The same moment on several clocks, ns, and how far apart the readings were taken."""

    boottime_ns: SignedNs
    monotonic_ns: SignedNs
    realtime_ns: SignedNs
    uncertainty_ns: Ns


@dataclass(frozen=True)
class Phase:
    """One stretch of the boot, on CLOCK_BOOTTIME; negative before that clock began."""

    name: str
    """firmware, loader, …: the words are those of traces/phases.py."""
    start_ns: SignedNs | None
    end_ns: SignedNs | None
    source: str
    """What said so: dmesg, ftrace, fpdt, systemd, …"""
    resolution_ns: Ns | None = None
    """How far off start and end may be; None: unknown."""
    nid: Nid | None = None
    cpu: Cpu | None = None
    detail: str = ""
    """The evidence, as the source wrote it."""


@dataclass(frozen=True)
class TraceSource:
    """One file that went into an imported run, and what became of its lines."""

    name: str
    format: str
    """tracefs, dmesg, trace-cmd, perf, fpdt, systemd-analyze, memtrace, …"""
    lines: Count
    rows: Count = 0
    """Rows of this run made from it."""
    ignored: Count = 0
    """Lines understood that say nothing memtrace keeps."""
    unparsed: Count = 0
    examples: tuple[str, ...] = ()
    """The first unparsed lines."""
    clock: str = ""
    """What its stamps were read as, and why they could not be aligned if they could not."""
    offset_ns: SignedNs | None = None
    """Added to its stamps to get CLOCK_BOOTTIME; None: not aligned."""
    uncertainty_ns: Ns | None = None


@dataclass(frozen=True)
class RunHeader:
    """Fixed facts about a run, known before its first event."""

    tool_version: str
    command: tuple[str, ...]
    """The memtrace command line."""
    workload: tuple[str, ...] = ()
    """The traced COMMAND, empty when there was none."""
    events: Annotated[tuple[str, ...], AtMost(4096)] = ()
    filters: dict[str, str] = field(default_factory=dict)
    stream_all: bool = False
    tail_ns: Ns | None = None
    """Order-0 occurrences at least this long are streamed, not aggregated."""
    hostname: str = ""
    kernel_release: str = ""
    kernel_version: str = ""
    kernel_cmdline: str = ""
    machine: str = ""
    build_id: str | None = None
    boot_id: str | None = None
    """/proc/sys/kernel/random/boot_id: runs that have the same one are of one boot."""
    page_size: PageSize = 4096
    config: dict[str, str] = field(default_factory=dict)
    """CONFIG_ bits that change meaning, y/n/value; absent where unknown."""
    facts: Annotated[tuple[Fact, ...], AtMost(4096)] = ()
    """Platform, init_on_alloc, accept mode, THP, …"""
    cpus: Cpu = 0
    nodes: Annotated[tuple[Node, ...], AtMost(1024)] = ()
    sysctls: dict[str, str] = field(default_factory=dict)
    gfp_names: dict[str, Count] = field(default_factory=dict)
    """__GFP_ names and their bits on this kernel."""
    manifest: Annotated[tuple[ProbeSite, ...], AtMost(4096)] = ()
    anchors: tuple[ClockAnchor, ...] = ()
    snapshots: tuple[Snapshot, ...] = ()
    origin: str = "recorded"
    """recorded, imported or collected."""
    phases: tuple[Phase, ...] = ()
    sources: tuple[TraceSource, ...] = ()
    """What an imported run was made from."""


@dataclass(frozen=True)
class VirtualMachine:
    """A virtual machine that gmem events are of."""

    number: VmNumber
    """Its number in the ``vm`` column."""
    pid: Pid | None = None
    """The process that made it."""
    comm: str = ""
    kind: str = ""
    """KVM's type: default, sw-protected, sev, sev-es, snp, tdx, or the number."""
    private: bool | None = None
    """Whether it can have private memory; faults of one that cannot are not recorded."""
    first_ns: Ns | None = None
    """CLOCK_BOOTTIME when it was first met."""
    clock_offset_ns: SignedNs | None = None
    """Its kvm-clock less the host's CLOCK_BOOTTIME, as KVM had it then."""


@dataclass(frozen=True)
class TracerCost:
    """What recording itself took."""

    recorder_cpu_ns: Count
    """CPU time of the recorder between start and end."""
    recorder_max_rss_bytes: Count
    armed_after_ns: SignedNs
    """From the command's start to the first event that could be recorded."""
    probe_ns: SignedNs | None = None
    """Added to one page fault with its order-0 allocation, measured after the run; None: not measured."""
    file_bytes: Count | None = None
    programs_kept: bool | None = None
    """Whether the BPF programs were kept from an earlier time (else they were compiled); None: not told."""


@dataclass(frozen=True)
class RunStatus:
    """What was known at the last flush (or at the end, if ``complete``)."""

    complete: bool
    started_ns: SignedNs
    """CLOCK_BOOTTIME when the gate opened."""
    ended_ns: SignedNs
    """CLOCK_BOOTTIME of this status."""
    rows: Count = 0
    losses: Losses = field(default_factory=Losses)
    counters: Annotated[tuple[EventCounters, ...], AtMost(4096)] = ()
    tasks: Annotated[tuple[TaskTotal, ...], AtMost(1 << 20)] = ()
    tasks_dropped: Count = 0
    """Occurrences whose process is not in ``tasks`` because the table was full."""
    roots: tuple[RootTotal, ...] = ()
    """By event, root, order and node; without those dropped."""
    samples: dict[str, Count] = field(default_factory=dict)
    """Sampling sites: samples taken, per class, and ``period_ns``."""
    snapshots: tuple[Snapshot, ...] = ()
    anchors: tuple[ClockAnchor, ...] = ()
    cost: TracerCost | None = None
    exit_status: Status | None = None
    """Exit status of the traced COMMAND."""
    vms: tuple[VirtualMachine, ...] = ()
    """The virtual machines met (gmem events)."""
    gone: tuple[str, ...] = ()
    """Events whose kernel module was unloaded while recording: after that nothing was seen."""
    stopped_by: str = ""
    """duration, command, SIGINT, SIGTERM, disk full, …"""


def to_json(value: RunHeader | RunStatus) -> str:
    """Compact JSON of a header or status."""
    return json.dumps(value, default=vars, separators=(",", ":"))


def header_from_json(text: str) -> RunHeader:
    """The header in ``text``; raises gate.Refused, a ValueError, if it is not one."""
    return gate.document(RunHeader, text)


def status_from_json(text: str) -> RunStatus:
    """The status in ``text``; raises gate.Refused, a ValueError, if it is not one."""
    return gate.document(RunStatus, text)
