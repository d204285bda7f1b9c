# SPDX-License-Identifier: Apache-2.0
"""Several files of one boot, and perhaps a recorded run, made into one run."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from memtrace import __version__
from memtrace.errors import MemtraceError
from memtrace.traces.importers import clocks, formats, kprobe_events, marks, rows, source, states
from memtrace.traces.importers.clocks import Alignment
from memtrace.traces.importers.formats import Input
from memtrace.traces.importers.matching import sites_in
from memtrace.traces.importers.occurrence import Occurrence, Paired
from memtrace.traces.importers.pairing import pair
from memtrace.traces.importers.parsed import BootFacts, Given, Parsed
from memtrace.traces.importers.topics import EVENTS, SITES
from memtrace.traces.reader import open_run
from memtrace.traces.run import Losses, Phase, ProbeSite, RunHeader, RunStatus, TraceSource
from memtrace.traces.schema import Flag
from memtrace.traces.writer import RunWriter

if TYPE_CHECKING:
    import pyarrow as pa

    from memtrace.traces.reader import Run


_CUT = "(the compressed file ends early: the rest is missing)"


@dataclass(frozen=True)
class Request:
    """What is to be imported, and where to."""

    files: tuple[str, ...]
    """``FILE`` or ``FORMAT:FILE``."""
    output: Path
    overwrite: bool = False
    merge: Path | None = None
    clock: str | None = None
    boot: int | None = None
    argv: tuple[str, ...] = ()


@dataclass(frozen=True)
class Outcome:
    """What was written, and what to tell."""

    sources: tuple[TraceSource, ...]
    notes: tuple[tuple[str, str], ...]
    """File, and something the user should know of it."""
    rows: int
    events: tuple[tuple[str, int], ...]
    """Imported rows by event."""
    lost: int
    phases: int


@dataclass(frozen=True)
class _File:
    """One file, read, paired and aligned."""

    input: Input
    parsed: Parsed
    paired: Paired
    alignment: Alignment


def run_import(request: Request) -> Outcome:
    """Reads the files and writes the run.

    Raises MemtraceError for files that cannot be read or told, options that mean
    nothing here, and an output that cannot be written.
    """
    if request.clock is not None and request.clock not in clocks.CLOCKS:
        raise MemtraceError(f"--clock {request.clock}: give one of {', '.join(clocks.CLOCKS)}", 2)
    inputs = [formats.recognise(word) for word in request.files]
    parsed = read(inputs, request)
    boot = boot_facts(parsed)
    files = pair_and_align(inputs, parsed, boot)
    merged = open_run(request.merge) if request.merge is not None else None
    try:
        return _write(request, files, boot, merged)
    finally:
        if merged is not None:
            merged.close()


def read(inputs: Sequence[Input], request: Request) -> list[Parsed]:
    """Each file read; those that explain others first."""
    probes: dict[str, tuple[str, bool]] = {}
    for one in inputs:
        if one.format.name == kprobe_events.NAME:
            probes |= kprobe_events.probes(source.Text(one.path))
    given = Given(clock=request.clock, boot=request.boot, probes=probes)
    return [_read_one(one, given) for one in inputs]


def _read_one(one: Input, given: Given) -> Parsed:
    text = source.Text(one.path)
    parsed = one.format.parse(text, given)
    if text.cut:
        parsed.lines += 1
        parsed.not_understood(_CUT)
    return parsed


def boot_facts(parsed: Sequence[Parsed]) -> BootFacts:
    """What the boot logs say; the first that says something counts."""
    found = BootFacts()
    for file in parsed:
        for field in dataclasses.fields(BootFacts):
            if not getattr(found, field.name) and (value := getattr(file.boot, field.name)):
                found = dataclasses.replace(found, **{field.name: value})
    return found


def pair_and_align(inputs: Sequence[Input], parsed: list[Parsed], boot: BootFacts) -> list[_File]:
    """Intervals of each file, and its place on CLOCK_BOOTTIME."""
    states.tell_clock(parsed)
    chosen = sites_in(file.stamps for file in parsed)
    paired = [pair(file.stamps, chosen) for file in parsed]
    for file, pairs in zip(parsed, paired, strict=True):
        file.used -= pairs.dropped
        file.ignored += pairs.dropped
        file.moments |= marks.moments(pairs.marks)
        file.phases += marks.phases(pairs.marks)
    alignments = clocks.align(parsed, boot.cmdline)
    return [_File(*each) for each in zip(inputs, parsed, paired, alignments, strict=True)]


def _write(request: Request, files: list[_File], boot: BootFacts, merged: Run | None) -> Outcome:
    tables = _tables(files, boot, merged)
    sources = tuple(_source(file, len(table)) for file, table in zip(files, tables, strict=True))
    if merged is not None:
        sources = (*sources, _merged_source(merged))
    header = _header(request, files, boot, merged, tables, sources)
    header = states.completed(header, [file.parsed for file in files], boot, merged is not None)
    status = _status(files, merged, tables)
    with RunWriter(request.output, header, overwrite=request.overwrite) as writer:
        for table in tables:
            writer.write(table)
        if merged is not None:
            for batch in _batches(merged):
                writer.write(batch)
        writer.close(status)
        written = writer.rows
    notes = [(str(file.input.path), note) for file in files for note in file.parsed.notes]
    return Outcome(
        sources, tuple(notes), written, _by_event(tables), status.losses.ring_full, len(header.phases)
    )


def _tables(files: list[_File], boot: BootFacts, merged: Run | None) -> list[pa.Table]:
    """The rows of each file; beside a merged run, those before it where it has the event too."""
    nodes = boot.nodes or (merged.header.nodes if merged is not None else ())
    every = [occurrence for file in files for occurrence in file.paired.occurrences]
    around = rows.Surroundings(
        rows.Places(nodes, rows.added(every)),
        rows.direct_map_base(boot.cmdline),
        any(fact.name == "init_on_alloc" and fact.value == "yes" for fact in boot.facts),
        frozenset(name for o in every for name in (o.topic.event, o.site))
        | {stamp.what for file in files for stamp in file.parsed.stamps},
    )
    tables = []
    for file in files:
        table, garbled = rows.table(file.paired.occurrences, file.alignment.shift_ns, around)
        tables.append(table)
        for occurrence in garbled:
            file.parsed.not_understood(f"{occurrence.site}: {occurrence.entry} {occurrence.back}")
    if merged is not None:
        both = {site.event for site in merged.header.manifest if site.site}
        started = merged.status.started_ns
        tables = [_before(table, both, started) for table in tables]
    return tables


def _before(table: pa.Table, events: set[str], started_ns: int) -> pa.Table:
    import pyarrow as pa
    import pyarrow.compute as pc

    counted_twice = pc.and_(
        pc.is_in(table["event"].cast(pa.string()), value_set=pa.array(sorted(events), pa.string())),
        pc.greater_equal(table["ts_ns"], started_ns),
    )
    return table.filter(pc.invert(counted_twice))


def _batches(run: Run) -> Iterator[pa.Table]:
    import pyarrow as pa

    return (pa.Table.from_batches([batch]) for batch in run.batches())


def _source(file: _File, made: int) -> TraceSource:
    parsed, alignment = file.parsed, file.alignment
    return TraceSource(
        name=file.input.path.name,
        format=parsed.format,
        lines=parsed.lines,
        rows=made,
        ignored=parsed.ignored,
        unparsed=parsed.unparsed,
        examples=tuple(parsed.examples),
        clock=alignment.clock,
        offset_ns=alignment.offset_ns,
        uncertainty_ns=alignment.uncertainty_ns,
    )


def _merged_source(run: Run) -> TraceSource:
    since = f"CLOCK_BOOTTIME, recorded from {run.status.started_ns / 1e9:.6f} s on"
    return TraceSource(
        run.path.name, "memtrace", 0, rows=run.rows, clock=since, offset_ns=0, uncertainty_ns=0
    )


def _header(
    request: Request,
    files: list[_File],
    boot: BootFacts,
    merged: Run | None,
    tables: list[pa.Table],
    sources: tuple[TraceSource, ...],
) -> RunHeader:
    phases = tuple(_placed(phase, file.alignment) for file in files for phase in file.parsed.phases)
    sites = _manifest(files)
    if merged is not None:
        return _merged_header(merged.header, request, boot, phases, sources, sites)
    return RunHeader(
        tool_version=__version__,
        command=request.argv,
        events=tuple(name for name, _ in _by_event(tables)),
        stream_all=True,
        kernel_release=boot.release,
        kernel_version=boot.version,
        kernel_cmdline=boot.cmdline,
        machine=boot.machine,
        facts=boot.facts,
        cpus=boot.cpus or max((file.parsed.cpus for file in files), default=0),
        nodes=boot.nodes,
        manifest=sites,
        origin="imported",
        phases=phases,
        sources=sources,
    )


def _merged_header(
    old: RunHeader,
    request: Request,
    boot: BootFacts,
    phases: tuple[Phase, ...],
    sources: tuple[TraceSource, ...],
    sites: tuple[ProbeSite, ...],
) -> RunHeader:
    """The recorded run's header, with what the files add."""
    if boot.release and old.kernel_release and boot.release != old.kernel_release:
        raise MemtraceError(
            f"--merge: the run is of kernel {old.kernel_release} and the files are of {boot.release};"
            " give files of the same boot"
        )
    known = {fact.name for fact in old.facts if fact.value != "unknown"}
    facts = (*(f for f in old.facts if f.name in known), *(f for f in boot.facts if f.name not in known))
    return dataclasses.replace(
        old,
        command=request.argv,
        events=tuple(dict.fromkeys((*old.events, *(site.event for site in sites)))),
        kernel_cmdline=old.kernel_cmdline or boot.cmdline,
        facts=facts,
        nodes=old.nodes or boot.nodes,
        manifest=(*old.manifest, *sites),
        origin="imported",
        phases=(*old.phases, *phases),
        sources=(*old.sources, *sources),
    )


def _placed(phase: Phase, alignment: Alignment) -> Phase:
    def moved(ns: int | None) -> int | None:
        return None if ns is None else alignment.place(ns)

    return dataclasses.replace(phase, start_ns=moved(phase.start_ns), end_ns=moved(phase.end_ns))


def _manifest(files: list[_File]) -> tuple[ProbeSite, ...]:
    """One line for each event and site that the files have."""
    timed: dict[tuple[str, str, str], set[str]] = {}
    inside: dict[str, set[str]] = {}
    for file in files:
        for o in file.paired.occurrences:
            timed.setdefault((o.topic.event, o.how, o.site), set()).add(_time(o))
            if o.parent:
                inside.setdefault(o.parent, set()).add(o.topic.event)
    return tuple(
        ProbeSite(
            event=event,
            site=f"{how}:{site}",
            kind=how,
            function=None if site in EVENTS else site,
            decode=SITES[site][1].decode,
            inclusive_of=tuple(sorted(inside.get(event, ()))),
            time=next(word for word in ("exact", "estimated", "unknown") if word in times),
        )
        for (event, how, site), times in sorted(timed.items())
    )


def _time(occurrence: Occurrence) -> str:
    if occurrence.dur_ns is None:
        return "unknown"
    return "estimated" if occurrence.flags & Flag.ESTIMATED else "exact"


def _status(files: list[_File], merged: Run | None, tables: list[pa.Table]) -> RunStatus:
    import pyarrow.compute as pc

    lost = sum(file.parsed.lost for file in files)
    unreturned = sum(file.paired.unreturned for file in files)
    starts, ends = [], []
    for table in (table for table in tables if len(table)):
        begun = pc.subtract(table["ts_ns"], pc.fill_null(table["dur_ns"], 0))
        starts.append(pc.min(begun).as_py())
        ends.append(pc.max(table["ts_ns"]).as_py())
    if merged is not None:
        status = merged.status
        losses = dataclasses.replace(
            status.losses,
            ring_full=status.losses.ring_full + lost,
            entry_without_exit=status.losses.entry_without_exit + unreturned,
        )
        return dataclasses.replace(
            status,
            complete=merged.whole,
            started_ns=min([status.started_ns, *starts]),
            ended_ns=max([status.ended_ns, *ends]),
            losses=losses,
        )
    return RunStatus(
        complete=True,
        started_ns=min(starts, default=0),
        ended_ns=max(ends, default=0),
        losses=Losses(ring_full=lost, kretprobe_missed=None, recursion=None, entry_without_exit=unreturned),
    )


def _by_event(tables: list[pa.Table]) -> tuple[tuple[str, int], ...]:
    import pyarrow as pa
    import pyarrow.compute as pc

    counts: dict[str, int] = {}
    for table in tables:
        for pair_ in pc.value_counts(table["event"].cast(pa.string())).to_pylist():
            counts[pair_["values"]] = counts.get(pair_["values"], 0) + pair_["counts"]
    return tuple(sorted(counts.items()))
