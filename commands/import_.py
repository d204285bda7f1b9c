# SPDX-License-Identifier: Apache-2.0
"""memtrace import: saved text of other tracers and of the kernel's log, made into a run."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING

import click

from memtrace.commands import SETTINGS
from memtrace.commands.options import run_file, text_option
from memtrace.commands.say import tell
from memtrace.commands.status_line import StatusLine
from memtrace.errors import MemtraceError

if TYPE_CHECKING:
    from memtrace.traces.importers.assemble import Outcome
    from memtrace.traces.run import TraceSource


@click.command(
    name="import",
    context_settings=SETTINGS,
    epilog="\b\nExamples:\n"
    "  memtrace import trace.txt dmesg.txt -o boot.parquet\n"
    "  memtrace import --clock mono trace.txt   its trace_clock, where nothing tells\n"
    "  memtrace import trace.txt --merge run.parquet -o whole.parquet\n"
    "  perf script -i perf.data > p.txt && memtrace import p.txt\n",
)
@click.argument("files", nargs=-1, metavar="[FORMAT:]FILE…")
@run_file("run.parquet")
@click.option(
    "--merge",
    type=click.Path(path_type=Path),
    metavar="RUN.parquet",
    help="Put this recorded run of the same boot into the new one.",
)
@text_option(
    "--clock",
    metavar="CLOCK",
    help="The trace_clock of trace files, e.g. local, mono, boot.",
)
@click.option("--boot", type=click.IntRange(min=1), metavar="N", help="Of a log of several boots the Nth.")
@click.option("-q", "--quiet", is_flag=True, help="Say nothing of what became of the files.")
def import_(
    files: tuple[str, ...],
    output: Path,
    force: bool,
    mode: int,
    merge: Path | None,
    clock: str | None,
    boot: int | None,
    quiet: bool,
) -> None:
    """Make a run of saved traces and kernel logs of one boot.

    Takes text of tracefs (trace, trace_pipe), trace-cmd report, perf script,
    bpftrace (JSON) and dmesg, plain or gzipped; the format is told by the content. A kprobe_events
    file tells which functions probes of any name are on.
    """
    from memtrace.traces.importers import assemble

    if not files:
        raise MemtraceError("give the files to import, e.g. `memtrace import trace.txt dmesg.txt`", 2)
    request = assemble.Request(files, output, force, merge, clock, boot, tuple(sys.argv), mode)
    with StatusLine(not quiet) as line:
        line.show("reading...")
        outcome = assemble.run_import(request)
    if not quiet:
        for sentence in _summary(output, outcome):
            tell(sentence)


def _summary(output: Path, outcome: Outcome) -> list[str]:
    lines = [line for source in outcome.sources for line in _of_source(source)]
    lines += [f"{name}: {note}" for name, note in outcome.notes]
    events = ", ".join(f"{name} {count}" for name, count in outcome.events)
    phases = f", {outcome.phases} phases" if outcome.phases else ""
    lost = f", {outcome.lost} events lost by the tracer" if outcome.lost else ""
    lines.append(f"{outcome.rows} rows in {output}{phases}{lost}{f' ({events})' if events else ''}")
    return lines


def _of_source(source: TraceSource) -> list[str]:
    if source.format == "memtrace":
        return [f"{source.name}: {source.rows} rows of the recorded run, as they are"]
    said = [
        f"{source.name} ({source.format}): {source.lines} lines, {source.rows} rows, "
        f"{source.ignored} ignored, {source.unparsed} unparsed"
    ]
    said += [f"{source.name}: not understood: {example}" for example in source.examples]
    if source.rows or source.format == "dmesg":
        offset = "" if source.offset_ns is None else f", offset {source.offset_ns / 1e9:+.6f} s"
        within = "" if source.uncertainty_ns is None else f" within {source.uncertainty_ns / 1e6:.3f} ms"
        said.append(f"{source.name}: clock {source.clock}{offset}{within}")
    return said
