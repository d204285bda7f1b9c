# SPDX-License-Identifier: Apache-2.0
"""``memtrace compare``: is it the patch, or is it noise?"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path

import click

from memtrace.commands import SETTINGS
from memtrace.commands.bar import Bar
from memtrace.commands.options import (
    answer_file,
    answer_format,
    give,
    in_color,
    refuse_overwriting,
    text_option,
)
from memtrace.errors import MemtraceError


@contextlib.contextmanager
def _never_a_regression() -> Iterator[None]:
    """What is wrong exits 2 where it would exit 1, which tells `git bisect run` that a commit is bad."""
    try:
        yield
    except MemtraceError as error:
        raise MemtraceError(str(error), max(error.exit_code, 2)) from error


@click.command(
    context_settings=SETTINGS,
    epilog="""\b
Examples:
  memtrace compare ab/before ab/after
  memtrace compare base 'patch-v1/*.parquet' patch-v2 --format md
  memtrace compare good new --fail-on 'accept.total>+5%'
  memtrace compare pilot --plan 5%
  memtrace compare --calibrate base
""",
)
@click.argument("sides", nargs=-1, metavar="BEFORE AFTER...")
@text_option(
    "--fail-on",
    multiple=True,
    metavar="CONDITION",
    help="Exit 1 if a metric surely changed by more, such as 'accept.total>+5%'; may be given again.",
)
@text_option(
    "--metric",
    multiple=True,
    metavar="NAME",
    help="Only metrics whose names begin so; may be given again.",
)
@text_option("--by", metavar="KEYS", help="What the parts are split by.  [default: order,node]")
@text_option(
    "--confidence",
    default="95%",
    show_default=True,
    metavar="SHARE",
    help="Of intervals and verdicts.",
)
@text_option(
    "--margin",
    default="1%",
    show_default=True,
    metavar="SHARE",
    help="Changes smaller than this do not matter.",
)
@click.option(
    "--seed", type=click.IntRange(0), default=1, show_default=True, metavar="N", help="Of all random draws."
)
@text_option(
    "--plan",
    metavar="SHARE",
    help="Also say how many runs a change of this size would need.",
)
@text_option("--calibrate", metavar="RUNS", help="Compare the runs of one kernel with themselves.")
@answer_format
@text_option(
    "--table",
    metavar="NAME",
    help="Only this table; csv is always one (by default the headline).",
)
@text_option("--plot", metavar="FILE", help="Also draw the changes, as .png or .svg.")
@answer_file
@_never_a_regression()
def compare(
    sides: tuple[str, ...],
    fail_on: tuple[str, ...],
    metric: tuple[str, ...],
    by: str | None,
    confidence: str,
    margin: str,
    seed: int,
    plan: str | None,
    calibrate: str | None,
    format_: str,
    table: str | None,
    plot: str | None,
    output: str | None,
) -> int:
    """Compare kernels by their runs: each side a file, a folder or a quoted pattern.

    The unit is the run (best a boot each, interleaved: `memtrace lab ab`); ten a
    side are a good number.  What else differs is named first, and what it makes
    meaningless is withheld.

    \b
    Exit status: 0 no regression, 1 regression (with --fail-on), 2 something is
    wrong, 125 not enough evidence (`git bisect run` skips).
    """
    from memtrace.analyzer.compare.request import Request, make
    from memtrace.traces.reader import run_paths

    words = (*sides, *((calibrate,) if calibrate else ()))
    refuse_overwriting(output, plot, [path for word in words for path in run_paths(word)])
    request = Request(
        sides,
        calibrate=calibrate,
        plan=plan,
        fail_on=fail_on,
        metric=metric,
        by=by,
        confidence=confidence,
        margin=margin,
        seed=seed,
        format=format_,
        table=table,
        plot=Path(plot) if plot else None,
        color=in_color(output),
    )
    with Bar("reading runs") as bar:
        answer = make(request, bar.show)
    give(answer.text, output)
    return answer.exit_code
