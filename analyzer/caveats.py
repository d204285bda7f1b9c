# SPDX-License-Identifier: Apache-2.0
"""What narrows the meaning of a report's numbers, each from facts in the run.

A caveat's id is stable; texts may change.  The order is that of weight: what may
make numbers wrong comes before what says how to read them.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from memtrace.analyzer.cells import FEW
from memtrace.analyzer.clock import by_instructions, takes_turns, turns_text
from memtrace.analyzer.facts import fact
from memtrace.analyzer.in_file import InFile, in_partials
from memtrace.analyzer.integrity import disagreements
from memtrace.analyzer.keys import Key, without_aggregates
from memtrace.analyzer.losses import sentence
from memtrace.analyzer.partials import Partials
from memtrace.analyzer.render.units import written
from memtrace.analyzer.sampling import sampling
from memtrace.analyzer.tables import Caveat, Row, Table
from memtrace.traces.lost import known_losses
from memtrace.traces.run import NOT_ASKED
from memtrace.traces.schema import COLUMN_NAMES, SCHEMA_VERSION, Flag

if TYPE_CHECKING:
    from memtrace.traces.reader import Run

VAGUE_NS = 1_000_000
"""Uncertainty of an imported file's clock at which times are no longer to be compared finely."""
_IMPORTED_KINDS = ("ftrace", "function_graph", "kprobe_event", "trace_event", "bpftrace")
_SAMPLES = "by samples of CPU time (no waits) at even intervals, which misjudge work in step with them"
HIGH_COST = 0.05
"""Share of a run's CPU time, or of its events' time, at which tracing is no longer small."""


def caveats(
    run: Run,
    events: Sequence[Row],
    main: Sequence[Row],
    keys: Sequence[Key],
    partials: Partials,
    integrity: Table,
    quiet: Sequence[tuple[str, str]] = (),
) -> tuple[Caveat, ...]:
    """All caveats of a run; ``events`` and ``main`` are cells, by event and by ``keys``.

    ``quiet``: of witnesses.py, about sites that stay silent.
    """
    found = [
        *_recording(run, in_partials(partials), integrity),
        *quiet,
        *_imported(run),
        *_sites(run),
        *_times(run, events),
        *_samples(run),
        *_aggregates(run, keys, partials),
        *_coarse(events, main),
        *_few(main),
        *_kernel(run, events),
        *_cost(run, events),
    ]
    return tuple(Caveat(id_, text) for id_, text in found)


Found = Iterator[tuple[str, str]]


def cut_short(run: Run) -> Found:
    """That the run has no end."""
    if not run.whole:
        dropped = f"; {run.dropped_bytes} bytes after it were not read" if run.dropped_bytes else ""
        yield "cut-short", f"the recorder was cut short: this is the run up to its last flush{dropped}"


def module_gone(run: Run) -> Found:
    """That events had no site any more from some moment on."""
    if run.status.gone:
        events = ", ".join(run.status.gone)
        yield "module-gone", f"a kernel module was unloaded: after that nothing was seen of {events}"


def lost(run: Run, in_file: InFile, so: str) -> Found:
    """Losses whose number is known; ``so``: what they mean here."""
    if known_losses(run.status):
        yield "losses", f"{sentence(run.status, in_file)}{so}"


def _recording(run: Run, in_file: InFile, integrity: Table) -> Found:
    yield from cut_short(run)
    if takes_turns(run.header):
        yield "clock-shared", turns_text(run.header)
    if by_instructions(run.header):
        yield (
            "clock-instructions",
            "the guest's clock counted instructions, 1 ns each: memory and waiting cost nothing, one CPU ran"
            " at a time; compare times only with each other",
        )
    if not in_file.events and not in_file.inferred:
        yield (
            "empty",
            "no occurrence was recorded: none happened, filters kept them out, or a site is silent",
        )
    if wrong := disagreements(integrity):
        yield "counters-differ", f"the file does not hold what the kernel counted: {'; '.join(wrong)}"
    yield from module_gone(run)
    yield from lost(run, in_file, "; totals are short by as much, tails perhaps by more")
    if untold := "; ".join(_untold(run)):
        yield "losses-unknown", untold
    if run.status.tasks_dropped:
        yield "tasks-full", f"{run.status.tasks_dropped} occurrences have no process: their table was full"
    missing = [name for name in COLUMN_NAMES if name not in run.columns]
    if run.schema_version != SCHEMA_VERSION or missing:
        without = f", without {', '.join(missing)}" if missing else ""
        yield "schema", f"the file has schema {run.schema_version} (current: {SCHEMA_VERSION}){without}"


def _untold(run: Run) -> Iterator[str]:
    """What does not tell of which losses."""
    losses = run.status.losses
    without_end = ("kretprobe_missed", "entry_without_exit") if losses.entry_without_exit is None else ()
    unknown = [name for name in ("kretprobe_missed", "recursion") if getattr(losses, name) is None]
    others = tuple(name for name in unknown if name not in without_end)
    who = "saved text" if run.header.origin == "imported" else "this kernel"
    for teller, names in ((who, others), ("a run without its end", without_end)):
        if names:
            yield f"{teller} does not tell how many were lost to {' and '.join(names)}"


def _imported(run: Run) -> Found:
    sources = [s for s in run.header.sources if s.format != "memtrace"]
    if not sources:
        return
    several = "s" * (len(sources) != 1)
    yield (
        "imported",
        f"made from saved text ({len(sources)} file{several}): whatever else happened, no file of it tells",
    )
    unparsed = [f"{s.name} {s.unparsed} of {s.lines}" for s in sources if s.unparsed]
    if unparsed:
        yield "unparsed", f"lines that were not understood: {', '.join(unparsed)}; what they said is missing"
    used = [s for s in sources if s.rows or run.header.phases]
    stray = [s.name for s in used if s.offset_ns is None and s.rows]
    if stray:
        yield (
            "clock-unaligned",
            f"times are on the clock of the file, not CLOCK_BOOTTIME, in {', '.join(stray)}",
        )
    vague = [
        f"{s.name} ({written(s.uncertainty_ns, 'ns')})"
        for s in used
        if s.uncertainty_ns is not None and s.uncertainty_ns >= VAGUE_NS
    ]
    if vague:
        yield "clock-uncertain", f"CLOCK_BOOTTIME may be off by so much in {', '.join(vague)}"


def _sites(run: Run) -> Found:
    manifest = run.header.manifest
    failed = [s.event for s in manifest if s.site and s.proven is False]
    unproven = [s.event for s in manifest if s.site and s.proven is None and s.kind not in _IMPORTED_KINDS]
    absent = [s.event for s in manifest if not s.site and s.decode != NOT_ASKED]
    inferred = [s.event for s in manifest if s.site and s.count == "inferred"]
    if failed:
        yield "site-failed", f"known work was not seen at the site of {', '.join(failed)}: do not trust these"
    if unproven:
        yield "site-unproven", f"unproven (attached, not checked against known work): {', '.join(unproven)}"
    for site in (s for s in manifest if s.site and s.event == "zero.user" and s.unproven):
        yield "site-unproven-why", f"{site.event} is unproven: {site.unproven}"
    if absent:
        yield "site-absent", f"not observed at all, no site here: {', '.join(absent)}"
    asked = run.header.events
    followed = any(s.event == "alloc" and s.site for s in manifest) and not {"alloc", "zero.alloc"} & {*asked}
    if followed and any(event.startswith("accept.") for event in asked):
        yield "victims-only", "alloc was not asked for: only allocations that had to accept memory are here"
    if inferred:
        yield "inferred", f"inferred from the gfp flags of allocations, not observed: {', '.join(inferred)}"


def _times(run: Run, events: Sequence[Row]) -> Found:
    estimated = [row["event"] for row in events if row["time"] in ("estimated", "mixed")]
    marks = "marked > (at least)" if sampling(run).short else "marked ~"
    unknown = [row["event"] for row in events if row["time"] == "unknown"]
    partly = [
        f"{row['event']} ({row['time_unknown_share']:.1%})"
        for row in events
        if row["time"] != "unknown" and row["time_unknown_share"]
    ]
    if unknown:
        yield "time-unknown", f"only occurrences were seen, no time, of {', '.join(unknown)}"
    if estimated:
        how = f": {_SAMPLES}" if run.status.samples.get("period_ns") else ""
        yield "time-estimated", f"time is estimated, {marks}, of {', '.join(estimated)}{how}"
    if partly:
        yield "time-partial", f"time is unknown for a part of {', '.join(partly)}: totals are lower bounds"


def _aggregates(run: Run, keys: Sequence[Key], partials: Partials) -> Found:
    words = ", ".join(without_aggregates(keys))
    aggregated = int(partials.count[partials.having(Flag.AGGREGATED)].sum())
    if words and aggregated:
        share = written(aggregated / int(partials.count.sum()), "share")
        yield (
            "aggregated",
            f"{share} of the occurrences were summed, inferred or sampled, without {words}: unknown there"
            f"{_keeping(run, keys)}",
        )


def _keeping(run: Run, keys: Sequence[Key]) -> str:
    """What keeps a key that the run lacks; nothing where the run was asked for all there is."""
    if any(key.column == "stack" for key in keys) and "--stacks" not in run.header.command:
        return " (`record --stacks` keeps it)"
    return "" if run.header.stream_all else " (`record --stream all` keeps it)"


def _coarse(events: Sequence[Row], main: Sequence[Row]) -> Found:
    known = sum(row["durations"] for row in events)
    if known and main and not any(row["durations"] for row in main):
        yield "no-quantiles", "too many groups for histograms: p50, p90, p99 and max are not given for them"


def _samples(run: Run) -> Found:
    """That the CPU clock was not sampled as often as asked."""
    found = sampling(run)
    if found.short:
        yield (
            "samples-missing",
            f"only {found.taken:.0%} of the clock samples were taken (throttled, or virtual CPUs that did"
            " not run): estimated times are lower bounds, marked >",
        )


def _few(main: Sequence[Row]) -> Found:
    few = sum(0 < row["durations"] < FEW for row in main)
    if few:
        yield "few", f"{few} of {len(main)} rows rest on fewer than {FEW} durations: their p99 says little"


def _kernel(run: Run, events: Sequence[Row]) -> Found:
    init = fact(run.header, "init_on_alloc")
    seen = {row["event"] for row in events}
    if init == "yes":
        yield (
            "init-on-alloc",
            "init_on_alloc is on: the allocator clears all pages it hands out, not only __GFP_ZERO",
        )
    elif init == "unknown" and seen & {"alloc", "zero.alloc"}:
        yield (
            "init-on-alloc",
            "whether init_on_alloc is on is unknown: the allocator clears all pages or only __GFP_ZERO ones",
        )
    if fact(run.header, "init_on_free") == "unknown" and seen & {"alloc", "zero.alloc"}:
        yield (
            "init-on-free",
            "whether init_on_free is on is unknown, and so what the allocator clears of what it allocates",
        )
    if fact(run.header, "pid_namespace") == "own":
        yield (
            "pid-namespace",
            "recorded from a PID namespace (a container): processes have its numbers, those outside it none",
        )
    if not run.header.config:
        yield (
            "config-unknown",
            "the kernel's configuration is unknown: what it changes here could not be checked",
        )


def _cost(run: Run, events: Sequence[Row]) -> Found:
    cost = run.status.cost
    if cost is None:
        yield "cost-unknown", "what recording itself took is unknown"
        return
    window = (run.status.ended_ns - run.status.started_ns) * run.header.cpus
    if window > 0 and cost.recorder_cpu_ns / window >= HIGH_COST:
        yield "cost-recorder", f"the recorder took {cost.recorder_cpu_ns / window:.1%} of all CPU time"
    if cost.probe_ns is None:
        yield "cost-probe", "what tracing adds to an event was not measured; it is inside measured times"
        return
    for row in (row for row in events if row["event"] == "alloc" and row["time"] in ("exact", "mixed")):
        mean = row["total_ns"] / row["count"] if row["count"] and row["total_ns"] else math.inf
        if cost.probe_ns >= HIGH_COST * mean:
            yield (
                "cost-probe",
                f"tracing adds about {cost.probe_ns} ns to a page fault, in and around its alloc:"
                f" the mean alloc here took {mean:.0f} ns",
            )
