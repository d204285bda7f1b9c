# SPDX-License-Identifier: Apache-2.0
"""What several verbs take and do alike: options for what they write, and the writing of an answer."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import click

F = TypeVar("F", bound=Callable[..., Any])


def run_file(default: str) -> Callable[[F], F]:
    """-o and -f (``output``, ``force``) of a verb that writes a run."""

    def options(function: F) -> F:
        force = click.option("-f", "--force", is_flag=True, help="Overwrite FILE.")
        output = click.option(
            "-o",
            "--output",
            type=click.Path(path_type=Path),
            default=Path(default),
            show_default=True,
            metavar="FILE",
            help="The run file.",
        )
        return output(force(function))

    return options


answer_format = click.option(
    "--format",
    "format_",
    default="text",
    metavar="FORMAT",
    help="text, json, csv, md or html.  [default: text]",
)
answer_file = click.option("-o", "--output", metavar="FILE", help="Write here instead of standard output.")


def in_color(output: str | None) -> bool:
    """Whether an answer goes to a terminal that is to have colors."""
    return output is None and sys.stdout.isatty() and not os.environ.get("NO_COLOR")


def give(text: str, output: str | None) -> None:
    """Print an answer, or write it to a file; raises MemtraceError if it cannot be written."""
    from memtrace.analyzer.report import write

    if output is None:
        click.echo(text, nl=False)
    else:
        write(Path(output), text)
