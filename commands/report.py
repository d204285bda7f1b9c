# SPDX-License-Identifier: Apache-2.0
"""``memtrace report``: the answer, from a run file."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from memtrace.commands import SETTINGS
from memtrace.commands.options import (
    answer_file,
    answer_format,
    give,
    in_color,
    refuse_overwriting,
    text_option,
)
from memtrace.commands.status_line import StatusLine

if TYPE_CHECKING:
    from memtrace.traces.reader import Run

BIG = 10_000_000
"""Rows that take about a second."""
BIG_OF_VIEW = {"gmem": 100_000}
"""The same, where a view does more with each row."""


@click.command(
    context_settings=SETTINGS,
    epilog="""\b
Examples:
  memtrace report run.parquet
  memtrace report run.parquet --by event,caller
  memtrace report run.parquet --format csv --table tasks > tasks.csv
  memtrace report run.parquet --view zero --by tree
  memtrace report run.parquet --plot latency.png
  memtrace report run.parquet --view accept --window +5..+12.5
  memtrace report run.parquet --view zero --what-if
""",
)
@click.argument("runs", nargs=-1, metavar="RUN.parquet")
@text_option("--by", metavar="KEYS", help="Group the main table by these.  [default: order,node]")
@answer_format
@text_option(
    "--table",
    metavar="NAME",
    help="Only this table; csv is always one (by default the main one).",
)
@text_option("--view", default="summary", metavar="VIEW", help="What to look at.  [default: summary]")
@text_option(
    "--window",
    metavar="A..B",
    help="accept, hotplug: only from A to B, in s since boot, or +A..+B since recording began.",
)
@text_option(
    "--guest",
    metavar="FILE",
    help="With --view gmem: a guest's run, put on the host's clock.",
)
@click.option(
    "--what-if", "what_if", is_flag=True, help="accept, zero, gmem: also what other policies would have made."
)
@text_option("--plot", metavar="FILE", help="Also draw the view, as .png or .svg.")
@answer_file
def report(
    runs: tuple[str, ...],
    by: str | None,
    format_: str,
    table: str | None,
    view: str,
    window: str | None,
    guest: str | None,
    what_if: bool,
    plot: str | None,
    output: str | None,
) -> None:
    """Say what memory cost in a recorded run: counts, bytes, time and latency.

    \b
    KEYS: any of order, node, requested, site, parent, zeroed, flags, comm,
    pid, tid, cgroup, cpu, gfp, caller, stack; the event always comes first.
    With --view zero one of tree, task, cgroup, stack.

    In Python, memtrace.open("RUN.parquet") has the tables below the views.
    """
    from memtrace.analyzer.report import Request, make

    refuse_overwriting(output, plot, (*runs, *((guest,) if guest else ())))
    figure = Path(plot) if plot else None
    other = Path(guest) if guest else None
    request = Request(
        runs,
        by=by,
        format=format_,
        table=table,
        view=view,
        plot=figure,
        window=window,
        color=in_color(output),
        guest=other,
        what_if=what_if,
    )
    big = BIG_OF_VIEW.get(view, BIG)
    with StatusLine() as line:

        def opened(run: Run) -> None:
            if run.rows >= big:
                line.show(f"reading {run.rows:,} rows...")

        text = make(request, opened)
    give(text, output)
