# SPDX-License-Identifier: Apache-2.0
"""What a run file says about itself, beside its rows.

Two versioned JSON documents in the parquet metadata: the *header*, fixed when
recording starts, and the *status*, written again with every flush, so that a
run that was cut short still carries its losses and counters up to the last
flush.  Both ignore unknown keys, so that older readers open newer files.
"""

from __future__ import annotations

import dataclasses
import json
import types
import typing
from dataclasses import dataclass, field
from typing import Any, TypeVar

T = TypeVar("T")


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

    ``reason``: absent, inlined, notrace, blacklisted, refused by policy,
    config missing, not allowed, failed, or avoided.
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
    offsets: tuple[int, ...] = ()
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


@dataclass(frozen=True)
class Node:
    """A NUMA node: its CPUs and the pfn ranges ``[start, end)`` of its memory."""

    nid: int
    cpus: tuple[int, ...] = ()
    pfn_ranges: tuple[tuple[int, int], ...] = ()
    present_bytes: int | None = None


@dataclass(frozen=True)
class Snapshot:
    """State at one moment: counters in pages or kB as the kernel prints them."""

    label: str
    """before_load, after_load, start, change (while recording), end; of a boot also entry (what
    firmware left unaccepted), early (saved by the initramfs) and boot (when it was collected)."""
    boottime_ns: int
    vmstat: dict[str, int] = field(default_factory=dict)
    nodes: dict[str, dict[str, int]] = field(default_factory=dict)
    """Per node ("0", "1", …): MemTotal, MemFree, Unaccepted, …, in kB."""
    took_ns: int | None = None
    """The counters were read one after the other, for so long after boottime_ns; None if not known."""


@dataclass(frozen=True)
class ClockAnchor:
    """The same moment on several clocks, ns, and how far apart the readings were taken."""

    boottime_ns: int
    monotonic_ns: int
    realtime_ns: int
    uncertainty_ns: int


@dataclass(frozen=True)
class Phase:
    """One stretch of the boot, on CLOCK_BOOTTIME; negative before that clock began."""

    name: str
    """firmware, loader, …: the words are those of traces/phases.py."""
    start_ns: int | None
    end_ns: int | None
    source: str
    """What said so: dmesg, ftrace, fpdt, systemd, …"""
    resolution_ns: int | None = None
    """How far off start and end may be; None: unknown."""
    nid: int | None = None
    cpu: int | None = None
    detail: str = ""
    """The evidence, as the source wrote it."""


@dataclass(frozen=True)
class TraceSource:
    """One file that went into an imported run, and what became of its lines."""

    name: str
    format: str
    """tracefs, dmesg, trace-cmd, perf, fpdt, systemd-analyze, memtrace, …"""
    lines: int
    rows: int = 0
    """Rows of this run made from it."""
    ignored: int = 0
    """Lines understood that say nothing memtrace keeps."""
    unparsed: int = 0
    examples: tuple[str, ...] = ()
    """The first unparsed lines."""
    clock: str = ""
    """What its stamps were read as, and why they could not be aligned if they could not."""
    offset_ns: int | None = None
    """Added to its stamps to get CLOCK_BOOTTIME; None: not aligned."""
    uncertainty_ns: int | None = None


@dataclass(frozen=True)
class RunHeader:
    """Fixed facts about a run, known before its first event."""

    tool_version: str
    command: tuple[str, ...]
    """The memtrace command line."""
    workload: tuple[str, ...] = ()
    """The traced COMMAND, empty when there was none."""
    events: tuple[str, ...] = ()
    filters: dict[str, str] = field(default_factory=dict)
    stream_all: bool = False
    tail_ns: int | None = None
    """Order-0 occurrences at least this long are streamed, not aggregated."""
    hostname: str = ""
    kernel_release: str = ""
    kernel_version: str = ""
    kernel_cmdline: str = ""
    machine: str = ""
    build_id: str | None = None
    boot_id: str | None = None
    """/proc/sys/kernel/random/boot_id: runs that have the same one are of one boot."""
    page_size: int = 4096
    config: dict[str, str] = field(default_factory=dict)
    """CONFIG_ bits that change meaning, y/n/value; absent where unknown."""
    facts: tuple[Fact, ...] = ()
    """Platform, init_on_alloc, accept mode, THP, …"""
    cpus: int = 0
    nodes: tuple[Node, ...] = ()
    sysctls: dict[str, str] = field(default_factory=dict)
    gfp_names: dict[str, int] = field(default_factory=dict)
    """__GFP_ names and their bits on this kernel."""
    manifest: tuple[ProbeSite, ...] = ()
    anchors: tuple[ClockAnchor, ...] = ()
    snapshots: tuple[Snapshot, ...] = ()
    origin: str = "recorded"
    """recorded, imported or collected."""
    phases: tuple[Phase, ...] = ()
    sources: tuple[TraceSource, ...] = ()
    """What an imported run was made from."""


@dataclass(frozen=True)
class Losses:
    """Events that did not reach the file, by cause; None where the kernel does not tell."""

    ring_full: int = 0
    kretprobe_missed: int | None = 0
    recursion: int | None = 0
    entry_without_exit: int = 0
    not_written: int = 0
    """Rows that the disk did not take."""


@dataclass(frozen=True)
class EventCounters:
    """The kernel side's own sums for one event, to hold the file against.

    seen = streamed + aggregated + ring_full; sums are over all seen, modulo 2**64.
    """

    event: str
    seen: int
    streamed: int
    aggregated: int
    ring_full: int
    sum_order: int
    sum_pfn: int
    failed: int | None = None
    """Attempts that gave nothing; not in ``seen``, unless a row says otherwise (flag FAILED)."""


@dataclass(frozen=True)
class TaskTotal:
    """What one process cost, all occurrences of one event, streamed or aggregated."""

    event: str
    pid: int
    comm: str
    count: int
    bytes: int
    total_ns: int | None
    root: str | None = None
    """The outermost ``root.*`` event around most of its bytes, "" where most have none; None: not known."""
    zeroed_count: int | None = None
    """Of count, those that the allocator zeroes, as far as gfp and init_on_alloc tell; None: not known."""
    zeroed_bytes: int | None = None
    tracer: bool = False
    """Whether it is the recorder itself."""


@dataclass(frozen=True)
class RootTotal:
    """What one event cost for one reason: all its occurrences, less those of the recorder."""

    event: str
    root: str | None
    """The outermost ``root.*`` event around it (of a root: itself, where none is around it); None: none."""
    within: str | None
    """The innermost one around it."""
    order: int | None
    nid: int | None
    remote: bool | None
    """Whether the memory was on another node than the CPU; None if the memory's is unknown."""
    zeroed: bool
    """alloc: whether the allocator zeroes it, as far as gfp and init_on_alloc tell."""
    asked: bool | None
    """Whether the allocation asked for zeroed memory (__GFP_ZERO); None where gfp is not seen."""
    movable: bool | None
    """Whether its gfp had __GFP_MOVABLE: user memory and page cache."""
    count: int
    bytes: int
    total_ns: int | None

    @property
    def outermost(self) -> bool:
        """Whether it is a root with none around it, not even of its own kind."""
        return self.event == self.root and self.within is None


@dataclass(frozen=True)
class VirtualMachine:
    """A virtual machine that gmem events are of."""

    number: int
    """Its number in the ``vm`` column."""
    pid: int | None = None
    """The process that made it."""
    comm: str = ""
    kind: str = ""
    """KVM's type: default, sw-protected, sev, sev-es, snp, tdx, or the number."""
    private: bool | None = None
    """Whether it can have private memory; faults of one that cannot are not recorded."""
    first_ns: int | None = None
    """CLOCK_BOOTTIME when it was first met."""
    clock_offset_ns: int | None = None
    """Its kvm-clock less the host's CLOCK_BOOTTIME, as KVM had it then."""


@dataclass(frozen=True)
class TracerCost:
    """What recording itself took."""

    recorder_cpu_ns: int
    """CPU time of the recorder between start and end."""
    recorder_max_rss_bytes: int
    armed_after_ns: int
    """From the command's start to the first event that could be recorded."""
    probe_ns: int | None = None
    """Added to one page fault with its order-0 allocation, measured after the run; None: not measured."""
    file_bytes: int | None = None


@dataclass(frozen=True)
class RunStatus:
    """What was known at the last flush (or at the end, if ``complete``)."""

    complete: bool
    started_ns: int
    """CLOCK_BOOTTIME when the gate opened."""
    ended_ns: int
    """CLOCK_BOOTTIME of this status."""
    rows: int = 0
    losses: Losses = field(default_factory=Losses)
    counters: tuple[EventCounters, ...] = ()
    tasks: tuple[TaskTotal, ...] = ()
    tasks_dropped: int = 0
    """Occurrences whose process is not in ``tasks`` because the table was full."""
    roots: tuple[RootTotal, ...] = ()
    """By event, root, order and node; without those dropped."""
    samples: dict[str, int] = field(default_factory=dict)
    """Sampling sites: samples taken, per class, and ``period_ns``."""
    snapshots: tuple[Snapshot, ...] = ()
    anchors: tuple[ClockAnchor, ...] = ()
    cost: TracerCost | None = None
    exit_status: int | None = None
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
    """The header in ``text``; raises ValueError if it is not one."""
    return _build(RunHeader, json.loads(text))


def status_from_json(text: str) -> RunStatus:
    """The status in ``text``; raises ValueError if it is not one."""
    return _build(RunStatus, json.loads(text))


def _build(cls: type[T], data: Any) -> T:
    if not isinstance(data, dict):
        raise ValueError(f"{cls.__name__}: not a JSON object")
    hints = typing.get_type_hints(cls)
    known = {f.name for f in dataclasses.fields(cls)}  # type: ignore[arg-type]
    try:
        return cls(**{k: _value(hints[k], v) for k, v in data.items() if k in known})
    except TypeError as error:
        raise ValueError(f"{cls.__name__}: {error}") from error


def _value(hint: Any, value: Any) -> Any:
    if value is None:
        return None
    origin = typing.get_origin(hint)
    if origin in (typing.Union, types.UnionType):
        inner = [a for a in typing.get_args(hint) if a is not type(None)]
        return _value(inner[0], value)
    if origin is tuple:
        args = typing.get_args(hint)
        if len(args) == 2 and args[1] is Ellipsis:
            return tuple(_value(args[0], v) for v in value)
        return tuple(_value(a, v) for a, v in zip(args, value, strict=True))
    if dataclasses.is_dataclass(hint) and isinstance(hint, type):
        return _build(hint, value)
    return value
