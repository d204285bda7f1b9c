# SPDX-License-Identifier: Apache-2.0
"""What a benchmark found, held against its goal, and how it is printed."""

from __future__ import annotations

import signal
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import click

from memtrace.commands.layout import sentences
from memtrace.errors import MemtraceError


@dataclass(frozen=True)
class Finding:
    """One line of the last table.  ``met`` is None where the goal can't be judged."""

    what: str
    measured: str
    goal: str
    met: bool | None


def table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Rows under a head: the first column to the left, the others to the right."""
    sizes = [max(len(row[i]) for row in (head, *rows)) for i in range(len(head))]
    lines = []
    for row in (head, *rows):
        cells = [row[0].ljust(sizes[0])]
        cells += [cell.rjust(size) for cell, size in zip(row[1:], sizes[1:], strict=True)]
        lines.append("  ".join(cells).rstrip())
    return "\n".join(lines)


def say(text: str) -> None:
    """A sentence beside the numbers."""
    click.echo(sentences(text, indent=0))


def show(findings: Sequence[Finding]) -> None:
    """The findings as a table."""
    words = {True: "met", False: "MISSED", None: "unknown"}
    rows = [(f.what, f.measured, f.goal, words[f.met]) for f in findings]
    click.echo(table(("", "measured", "goal", ""), rows))


def end_tidily() -> None:
    """From now on SIGTERM unwinds as Ctrl-C does, so that nothing is left running or lying about."""
    signal.signal(signal.SIGTERM, signal.default_int_handler)


def script(measure: Callable[[], Sequence[Finding]]) -> None:
    """Run one benchmark as a program: its own output, its findings, and errors as sentences."""
    end_tidily()
    try:
        findings = measure()
    except MemtraceError as error:
        click.echo(f"memtrace: {error}", err=True)
        sys.exit(error.exit_code)
    click.echo()
    show(findings)
