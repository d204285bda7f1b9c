# SPDX-License-Identifier: Apache-2.0
"""What an imported run says of itself beside its rows: sources, manifest, header and status."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import TYPE_CHECKING

from memtrace import __version__
from memtrace.errors import MemtraceError
from memtrace.traces.importers.clocks import Alignment
from memtrace.traces.importers.formats import Input
from memtrace.traces.importers.occurrence import Occurrence, Paired
from memtrace.traces.importers.parsed import BootFacts, Parsed
from memtrace.traces.importers.topics import EVENTS, SITES
from memtrace.traces.run import Phase, ProbeSite, RunHeader, RunStatus, TraceSource
from memtrace.traces.schema import Flag
from memtrace.traces.totals import Losses

if TYPE_CHECKING:
    import pyarrow as pa

    from memtrace.traces.reader import Run


@dataclass(frozen=True)
class File:
    """One file, read, paired and aligned."""

    input: Input
    parsed: Parsed
    paired: Paired
    alignment: Alignment


def sources(files: list[File], merged: Run | None, tables: list[pa.Table]) -> tuple[TraceSource, ...]:
    """A line for each file, with the rows made of it, and for the run that they are merged with."""
    found = [_source(file, len(table)) for file, table in zip(files, tables, strict=True)]
    return (*found, *(() if merged is None else (_merged_source(merged),)))


def _source(file: File, made: int) -> TraceSource:
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


def header(
    command: tuple[str, ...],
    files: list[File],
    boot: BootFacts,
    merged: Run | None,
    tables: list[pa.Table],
    told: tuple[TraceSource, ...],
) -> RunHeader:
    """The header of the run; raises MemtraceError if ``merged`` is of another kernel."""
    phases = tuple(_placed(phase, file.alignment) for file in files for phase in file.parsed.phases)
    sites = _manifest(files)
    if merged is not None:
        return _merged_header(merged.header, command, boot, phases, told, sites)
    return RunHeader(
        tool_version=__version__,
        command=command,
        events=tuple(name for name, _ in by_event(tables)),
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
        sources=told,
    )


def _merged_header(
    old: RunHeader,
    command: tuple[str, ...],
    boot: BootFacts,
    phases: tuple[Phase, ...],
    told: tuple[TraceSource, ...],
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
        command=command,
        events=tuple(dict.fromkeys((*old.events, *(site.event for site in sites)))),
        kernel_cmdline=old.kernel_cmdline or boot.cmdline,
        facts=facts,
        nodes=old.nodes or boot.nodes,
        manifest=(*old.manifest, *sites),
        origin="imported",
        phases=(*old.phases, *phases),
        sources=(*old.sources, *told),
    )


def _placed(phase: Phase, alignment: Alignment) -> Phase:
    def moved(ns: int | None) -> int | None:
        return None if ns is None else alignment.place(ns)

    return dataclasses.replace(phase, start_ns=moved(phase.start_ns), end_ns=moved(phase.end_ns))


def _manifest(files: list[File]) -> tuple[ProbeSite, ...]:
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


def status(files: list[File], merged: Run | None, tables: list[pa.Table]) -> RunStatus:
    """The status of the run, from its first row's start to its last row's end."""
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
        left = status.losses.entry_without_exit
        losses = dataclasses.replace(
            status.losses,
            ring_full=status.losses.ring_full + lost,
            entry_without_exit=None if left is None else left + unreturned,
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
        losses=Losses(
            ring_full=lost, kretprobe_missed=None, recursion=None, entry_without_exit=unreturned, no_room=0
        ),
    )


def by_event(tables: list[pa.Table]) -> tuple[tuple[str, int], ...]:
    """Rows of each event, by its name."""
    import pyarrow as pa
    import pyarrow.compute as pc

    counts: dict[str, int] = {}
    for table in tables:
        for pair_ in pc.value_counts(table["event"].cast(pa.string())).to_pylist():
            counts[pair_["values"]] = counts.get(pair_["values"], 0) + pair_["counts"]
    return tuple(sorted(counts.items()))
