# SPDX-License-Identifier: Apache-2.0
"""``memtrace report``: the answer, from a run file."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import click


@click.command(
    epilog="""\b
Examples:
  memtrace report run.parquet
  memtrace report run.parquet --by event,caller
  memtrace report run.parquet --format csv --table tasks > tasks.csv
  memtrace report run.parquet --plot latency.png
"""
)
@click.argument("runs", nargs=-1, metavar="RUN.parquet")
@click.option("--by", metavar="KEYS", help="Group the main table by these.  [default: order,node]")
@click.option(
    "--format", "format_", default="text", metavar="FORMAT", help="text, json, csv or md.  [default: text]"
)
@click.option("--table", metavar="NAME", help="Only this table; csv is always one (by default the main one).")
@click.option("--view", default="summary", metavar="VIEW", help="What to look at.  [default: summary]")
@click.option("--plot", metavar="FILE", help="Also draw the view, as .png or .svg.")
@click.option("-o", "--output", metavar="FILE", help="Write here instead of standard output.")
def report(
    runs: tuple[str, ...],
    by: str | None,
    format_: str,
    table: str | None,
    view: str,
    plot: str | None,
    output: str | None,
) -> None:
    """Say what memory cost in a recorded run: counts, bytes, time and latency.

    \b
    KEYS: any of order, node, requested, site, parent, zeroed, flags, comm,
    pid, tid, cpu, gfp, caller, stack; the event always comes first.
    """
    from memtrace.analyzer.report import Request, make

    color = output is None and sys.stdout.isatty() and not os.environ.get("NO_COLOR")
    figure = Path(plot) if plot else None
    text = make(Request(runs, by=by, format=format_, table=table, view=view, plot=figure, color=color))
    if output is None:
        click.echo(text, nl=False)
    else:
        from memtrace.analyzer.report import write

        write(Path(output), text)
