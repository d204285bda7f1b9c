# SPDX-License-Identifier: Apache-2.0
"""``memtrace check``: whether a run's sums are those of its rows."""

from __future__ import annotations

import click

from memtrace import safe
from memtrace.commands import SETTINGS
from memtrace.commands.status_line import StatusLine

BIG = 5_000_000
"""Rows that take about a second."""


@click.command(
    context_settings=SETTINGS,
    epilog="""\b
Examples:
  memtrace check run.parquet
  memtrace check before/*.parquet && memtrace compare before after
""",
)
@click.argument("runs", nargs=-1, required=True, metavar="RUN.parquet...")
@click.pass_context
def check(ctx: click.Context, runs: tuple[str, ...]) -> None:
    """Read all rows of runs, and add them up anew.

    A run carries sums of its rows, from which reports are made. The status is 0
    if these are right, 1 if not, or if a run cannot be read.
    """
    from memtrace.analyzer.check import check as checked
    from memtrace.traces.reader import open_run

    wrong = False
    for path in runs:
        with open_run(path) as run, StatusLine() as line:
            if run.rows >= BIG:
                line.show(f"reading {run.rows:,} rows...")
            found = checked(run)
        wrong = wrong or found.different > 0
        name = safe.terminal(path)
        if found.entries is None:
            click.echo(f"{name}: {found.rows:,} rows in order; it carries no sums, reports add its rows up")
        elif not found.different:
            click.echo(f"{name}: {found.entries:,} sums agree with {found.rows:,} rows")
        else:
            click.echo(f"{name}: {found.different:,} of {found.entries:,} sums differ from the rows")
            for sentence in found.differ:
                click.echo(f"  {safe.terminal(sentence)}")
    if wrong:
        ctx.exit(1)
