# SPDX-License-Identifier: Apache-2.0
"""Attaches a site for each wanted event: builds the ladders, compiles the programs, climbs each ladder."""

from __future__ import annotations

import contextlib
import dataclasses
import os
from collections.abc import Collection
from dataclasses import dataclass

from memtrace.errors import MemtraceError
from memtrace.probes.machine.topology import online_cpus
from memtrace.probes.programs.compiler import source
from memtrace.probes.programs.module import Module
from memtrace.probes.programs.obtain import obtain
from memtrace.probes.programs.refusal import RefusedError
from memtrace.probes.recorder.buffers import memory_bytes
from memtrace.probes.recorder.contexts import contexts, keys, tasks_now
from memtrace.probes.recorder.fewer import without_kprobes, without_refused_fentry
from memtrace.probes.recorder.layouts import declarations
from memtrace.probes.recorder.maps import SAMPLE_ORDERS
from memtrace.probes.recorder.watched import for_victims, victims_only, watched_events
from memtrace.probes.sites import sampler
from memtrace.probes.sites.ladder import Ladder, climb, together
from memtrace.probes.sites.system import System
from memtrace.probes.topics import accept, zero
from memtrace.probes.topics.event import Event
from memtrace.probes.topics.events import SITE_MACROS, TOPICS
from memtrace.probes.topics.events import numbers as numbers_of
from memtrace.traces.histogram import BUCKETS, bucket_of
from memtrace.traces.run import NOT_ASKED, ProbeSite, Refusal

DEFAULT_TAIL_NS = 100_000
FEWEST_SUMMED = 2
"""Number of events whose order 0 is always summed in the kernel: alloc and zero.alloc.

Those that zero page by page (zero.page and zero.free) come after these where they are watched."""


@dataclass(frozen=True)
class Filters:
    """The filters that an event must pass to be recorded; an empty one passes all."""

    pids: tuple[int, ...] = ()
    follow: bool = False
    """Whether only the listed processes, those added later, and all that these fork are recorded."""
    cpus: tuple[int, ...] = ()
    comm: str | None = None
    min_order: int = 0


@dataclass(frozen=True)
class Shape:
    """What is streamed, what is aggregated, and how time is sampled."""

    stream_all: bool = False
    stacks: bool = False
    tail_ns: int = DEFAULT_TAIL_NS
    sample_hz: int = sampler.DEFAULT_HZ
    avoid: tuple[str, ...] = ()
    """Kinds of sites not to use (fentry, kprobe, callsite, rawtp, sampling)."""
    compiling: bool = True
    """Whether programs that are not kept are compiled."""

    @property
    def buckets(self) -> int:
        """Number of aggregate buckets: those below the tail threshold, and one for unknown durations."""
        return min(int(bucket_of([self.tail_ns])[0]) + 2, BUCKETS + 1)


@dataclass(frozen=True)
class Attached:
    """A module whose sites are chosen and attached, with the gate still closed."""

    module: Module
    manifest: tuple[ProbeSite, ...]
    site_names: tuple[str, ...]
    """Name of each site, by its number."""
    sampling: bool
    summed: int = FEWEST_SUMMED
    """Number of events that have aggregate cells (MT_AGG_EVENTS)."""
    guests: bool = False
    """Whether records are GUEST_RECORDs (MT_GMEM)."""
    kept: bool = False
    """Whether the programs were kept from an earlier time."""

    def sees(self, event: str) -> bool:
        """Return whether ``event`` has a site."""
        return any(site.event == event and site.site for site in self.manifest)


def attach(system: System, events: tuple[str, ...], filters: Filters, shape: Shape) -> Attached:
    """Compile the programs and attach them; raises MemtraceError if none of ``events`` can be seen.

    The kprobe programs are compiled only if some event needs them.  On most kernels fentry
    serves, and compiling takes most of the time until recording starts.
    """
    sampling = sampler.macros(system) if shape.sample_hz else None
    ladders = _ladders(system, sampling is not None)
    if "fentry" not in shape.avoid:
        ladders = without_refused_fentry(ladders)
    watched = watched_events(ladders, events)
    macros = system.macros() | _numbers(watched, filters, shape) | (sampling or {})
    if victims_only(events):
        macros["MT_VICTIMS_ONLY"] = "1"
        ladders = tuple(for_victims(ladder) for ladder in ladders)
    if _any_of(accept.EVENTS, watched):
        macros["MT_ACCEPT"] = "1"
    if _any_of(zero.EVENTS, watched):
        macros["MT_ALL_CGROUPS"] = "1"
    if "kprobe" in shape.avoid:
        macros["MT_HOT_FENTRY"] = "1"
    macros |= together(ladder for ladder in ladders if ladder.event in watched)
    if any(c.kind == "callsite" for ladder in ladders for c in ladder.candidates):
        macros["MT_CALLSITES"] = "1"
    text = source(_sources(ladders, watched, sampling is not None), declarations("MT_GMEM" in macros))
    entries = _entries(system, int(macros["MT_AGG_EVENTS"]), shape)
    if "fentry" not in shape.avoid:
        fewer = tuple(without_kprobes(ladder) for ladder in ladders)
        attached = _attach(text, macros, entries, fewer, watched, shape, sampling is not None)
        if not any(_could_be_better(ladder, attached, watched) for ladder in ladders):
            return _seen(attached, events)
        attached.module.close()
    macros["MT_KPROBES"] = "1"
    return _seen(_attach(text, macros, entries, ladders, watched, shape, sampling is not None), events)


def _entries(system: System, summed: int, shape: Shape) -> dict[str, int]:
    """Return the sizes of the maps that are sized to the machine (MT_SIZED in BPF C)."""
    return {
        "mt_open": contexts(memory_bytes(), tasks_now()),
        "mt_task_table": keys(memory_bytes(), system.cpus),
        "mt_rings": system.cpus,
        "mt_cpus": system.cpus,
        "mt_cells": system.cpus * summed * system.nids * 4 * shape.buckets,
        "mt_sample_cells": system.nids * SAMPLE_ORDERS * 2,
    }


def _any_of(events: tuple[Event, ...], watched: tuple[str, ...]) -> bool:
    return any(event.name in watched for event in events)


def _attach(
    text: str,
    macros: dict[str, str],
    entries: dict[str, int],
    ladders: tuple[Ladder, ...],
    watched: tuple[str, ...],
    shape: Shape,
    can_sample: bool,
) -> Attached:
    subjects = dict.fromkeys(event.partition(".")[0] for event in watched)
    made_for = f"{os.uname().release}: {', '.join(subjects)}"
    programs = obtain(text, macros, made_for, compiling=shape.compiling)
    module = Module(programs.compiled, programs.variant, entries)
    try:
        attached = _climb(module, ladders, watched, shape, can_sample)
        summed, guests = int(macros["MT_AGG_EVENTS"]), "MT_GMEM" in macros
        return dataclasses.replace(attached, summed=summed, guests=guests, kept=programs.kept)
    except BaseException:
        module.close()
        raise


def _seen(attached: Attached, events: tuple[str, ...]) -> Attached:
    """Return ``attached`` if it sees any of ``events``, else close it and raise MemtraceError with why."""
    if any(site.site for site in attached.manifest if site.event in events):
        return attached
    attached.module.close()
    refused = [r for s in attached.manifest for r in s.refused]
    if len({r.detail for r in refused}) == 1 and refused[0].detail:
        raise MemtraceError(f"none of these events can be seen: {refused[0].detail}")
    reasons = "; ".join(dict.fromkeys(f"{r.candidate}: {r.reason}" for r in refused))
    raise MemtraceError(f"this kernel lets none of the events be seen ({reasons}): see `memtrace doctor`")


def _could_be_better(ladder: Ladder, attached: Attached, watched: tuple[str, ...]) -> bool:
    """Return whether the ladder has a kprobe, not compiled so far, above the site that was found."""
    chosen = next(site.site for site in attached.manifest if site.event == ladder.event)
    for candidate in ladder.candidates:
        if candidate.site == chosen:
            return False
        if candidate.kind == "kprobe" and not candidate.standalone and ladder.event in watched:
            return True
    return False


def _climb(
    module: Module, ladders: tuple[Ladder, ...], watched: tuple[str, ...], shape: Shape, can_sample: bool
) -> Attached:
    sites = []
    # Unused names are unique too: parquet writes a dictionary with duplicates at three times the cost.
    names = [f"unused:{macro}" for macro in SITE_MACROS]
    for ladder in ladders:
        if ladder.event not in watched:
            sites.append(ProbeSite(ladder.event, None, time="unknown", count="unknown", decode=NOT_ASKED))
            continue
        site, candidates = climb(ladder, module, shape.avoid)
        for candidate in candidates:
            names[SITE_MACROS.index(candidate.macro)] = candidate.site
        sites.append(site)
    wants_samples = any(s.kind in ("rawtp", "inferred", "sampling") for s in sites)
    refused: Refusal | None = None
    sampling = False
    if can_sample and wants_samples and "sampling" not in shape.avoid:
        try:
            module.attach_cpu_clock("mt_sample", shape.sample_hz, online_cpus())
            sampling = True
        except RefusedError as error:
            refused = Refusal("cpu-clock sampling", error.reason, error.detail)
    manifest = tuple(_with_sampling(s, sampling, refused) for s in sites)
    return Attached(module, manifest, tuple(names), sampling)


def sample(attached: Attached, shape: Shape, cpus: Collection[int]) -> None:
    """Sample the clock of CPUs that came online too, where that of the others is."""
    if attached.sampling:
        with contextlib.suppress(RefusedError):
            attached.module.attach_cpu_clock("mt_sample", shape.sample_hz, cpus)


def _with_sampling(site: ProbeSite, sampling: bool, refused: Refusal | None) -> ProbeSite:
    if site.kind == "rawtp" and sampling:
        return dataclasses.replace(
            site,
            time="estimated",
            decode=site.decode + "; time: sampled CPU clock with the allocator on the stack",
        )
    if site.kind in ("inferred", "sampling") and not sampling:
        reasons = site.refused + ((refused,) if refused else ())
        if site.kind == "sampling":
            return dataclasses.replace(site, site=None, kind=None, time="unknown", refused=reasons)
        return dataclasses.replace(site, time="unknown", refused=reasons)
    return site


def _ladders(system: System, sampling: bool) -> tuple[Ladder, ...]:
    """Return one ladder per event, in the order of EVENTS."""
    return tuple(ladder for topic in TOPICS for ladder in topic.ladders(system, sampling))


def _sources(ladders: tuple[Ladder, ...], watched: tuple[str, ...], sampling: bool) -> tuple[str, ...]:
    """Return the names of the BPF C files to compile.

    Topics with nothing to attach are left out, because compiling takes a while.
    """
    useful = {ladder.event for ladder in ladders if ladder.candidates and ladder.event in watched}
    topics = (topic for topic in TOPICS if useful & {event.name for event in topic.EVENTS})
    chosen = (name for topic in topics for name in topic.SOURCES)
    return (*(("sites/sampler",) if sampling else ()), *chosen, "bpf/calibrate", "bpf/targets", "bpf/nest")


def _numbers(events: tuple[str, ...], filters: Filters, shape: Shape) -> dict[str, str]:
    numbers = {
        "MT_TAIL_NS": f"{shape.tail_ns}ULL",
        "MT_AGG_BUCKETS": str(shape.buckets),
        "MT_AGG_EVENTS": str(FEWEST_SUMMED),
        **numbers_of(events),
    }
    if shape.stream_all or shape.stacks:
        numbers["MT_STREAM_ALL"] = "1"
    if shape.stacks:
        numbers["MT_STACKS"] = "1"
    if filters.min_order:
        numbers["MT_MIN_ORDER"] = str(filters.min_order)
    if filters.cpus:
        numbers["MT_CPUS"] = "1"
    if filters.follow:
        numbers["MT_TARGETS"] = "1"
    if filters.comm is not None:
        padded = os.fsencode(filters.comm)[:15].ljust(16, b"\0")
        numbers["MT_COMM_A"] = f"{int.from_bytes(padded[:8], 'little')}ULL"
        numbers["MT_COMM_B"] = f"{int.from_bytes(padded[8:], 'little')}ULL"
    return numbers
