# SPDX-License-Identifier: Apache-2.0
"""Several files of one boot, and perhaps a recorded run, made into one run."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from memtrace.errors import MemtraceError
from memtrace.traces.compact import compact
from memtrace.traces.derived import answer
from memtrace.traces.importers import (
    bounds,
    clocks,
    description,
    formats,
    guests,
    kprobe_events,
    marks,
    rows,
    source,
    states,
)
from memtrace.traces.importers.description import File
from memtrace.traces.importers.formats import Input
from memtrace.traces.importers.matching import sites_in
from memtrace.traces.importers.pairing import pair
from memtrace.traces.importers.parsed import BootFacts, Given, Parsed
from memtrace.traces.output import MODE, refuse_same, same_file
from memtrace.traces.reader import open_run
from memtrace.traces.run import TraceSource
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
    mode: int = MODE
    """Permission bits of the output."""


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


def run_import(request: Request) -> Outcome:
    """Reads the files and writes the run.

    Raises MemtraceError for files that cannot be read or told, options that mean
    nothing here, and an output that cannot be written.
    """
    if request.clock is not None and request.clock not in clocks.CLOCKS:
        raise MemtraceError(f"--clock {request.clock}: give one of {', '.join(clocks.CLOCKS)}", 2)
    inputs = [formats.recognise(word) for word in request.files]
    refuse_same(request.output, [one.path for one in inputs] + ([request.merge] if request.merge else []))
    _refuse_pointless(inputs, request)
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
    """Each file read; those that explain others first.

    Raises MemtraceError (exit 2) if one is there twice: its events would count twice.
    """
    for i, one in enumerate(inputs):
        for other in inputs[:i]:
            if same_file(one.path, other.path):
                raise _twice(other, one)
    probes: dict[str, tuple[str, bool]] = {}
    for one in inputs:
        if one.format.name == kprobe_events.NAME:
            probes |= kprobe_events.probes(source.Text(one.path))
    given = Given(clock=request.clock, boot=request.boot, probes=probes)
    read_: list[Parsed] = []
    said: dict[bytes, Input] = {}
    for one in inputs:
        text = source.Text(one.path)
        parsed = one.format.parse(text, given)
        # Of what says nothing, such as a trace of headers alone, nothing counts twice.
        counts = parsed.stamps or parsed.log or parsed.phases or parsed.snapshots
        if counts and said.setdefault(text.digest, one) is not one:
            raise _twice(said[text.digest], one)
        bounds.hold(parsed)
        for line in text.refused:
            parsed.lines += 1
            parsed.not_understood(line)
        if text.cut:
            parsed.lines += 1
            parsed.not_understood(_CUT)
        read_.append(parsed)
    return read_


def _twice(one: Input, other: Input) -> MemtraceError:
    if one.path == other.path:
        return MemtraceError(f"{one.path} is given twice; give each file once", 2)
    return MemtraceError(f"{other.path} is the same text as {one.path}; give it once", 2)


def _refuse_pointless(inputs: Sequence[Input], request: Request) -> None:
    """Raise MemtraceError (exit 2) for an option that none of the files takes."""
    names = {one.format.name for one in inputs}
    if request.clock is not None and not names & formats.CLOCKED:
        raise MemtraceError("--clock goes with a trace, and none is among the files", 2)
    if request.boot is not None and formats.LOG not in names:
        raise MemtraceError("--boot goes with a kernel log, and none is among the files", 2)


def boot_facts(parsed: Sequence[Parsed]) -> BootFacts:
    """What the boot logs say; the first that says something counts."""
    found = BootFacts()
    for file in parsed:
        for field in dataclasses.fields(BootFacts):
            if not getattr(found, field.name) and (value := getattr(file.boot, field.name)):
                found = dataclasses.replace(found, **{field.name: value})
    return found


def pair_and_align(inputs: Sequence[Input], parsed: list[Parsed], boot: BootFacts) -> list[File]:
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
    return [File(*each) for each in zip(inputs, parsed, paired, alignments, strict=True)]


def _write(request: Request, files: list[File], boot: BootFacts, merged: Run | None) -> Outcome:
    tables = _tables(files, boot, merged)
    sources = description.sources(files, merged, tables)
    header = description.header(request.argv, files, boot, merged, tables, sources)
    header = states.completed(header, [file.parsed for file in files], boot, merged is not None)
    status = description.status(files, merged, tables)
    with RunWriter(request.output, header, overwrite=request.overwrite, mode=request.mode) as writer:
        for table in tables:
            writer.write(table)
        if merged is not None:
            for batch in _batches(merged):
                writer.write(batch)
        writer.close(status, rewrite=compact)
        written = writer.rows
    notes = [(str(file.input.path), note) for file in files for note in file.parsed.notes]
    return Outcome(
        sources,
        tuple(notes),
        written,
        description.by_event(tables),
        status.losses.ring_full,
        len(header.phases),
    )


def _tables(files: list[File], boot: BootFacts, merged: Run | None) -> list[pa.Table]:
    """The rows of each file; beside a merged run, those before it where it has the event too."""
    nodes = boot.nodes or (merged.header.nodes if merged is not None else ())
    facts = (*boot.facts, *(merged.header.facts if merged is not None else ()))
    every = [occurrence for file in files for occurrence in file.paired.occurrences]
    around = rows.Surroundings(
        rows.Places(nodes, rows.added(every)),
        rows.direct_map_base(boot.cmdline),
        answer(facts, "init_on_alloc"),
        answer(facts, "init_on_free"),
        answer(facts, "preempt_rt"),
        frozenset(name for o in every for name in (o.topic.event, o.site))
        | {stamp.what for file in files for stamp in file.parsed.stamps},
        guests.known(every),
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
