# SPDX-License-Identifier: Apache-2.0
"""What several verbs take and do alike: options for what they write, and the writing of an answer."""

from __future__ import annotations

import functools
import sys
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any, TypeVar

import click

from memtrace.commands import streams
from memtrace.commands.say import answer
from memtrace.errors import MemtraceError

F = TypeVar("F", bound=Callable[..., Any])


def run_file(default: str) -> Callable[[F], F]:
    """-o, -f and --mode (``output``, ``force``, ``mode``) of a verb that writes a run."""

    def options(function: F) -> F:
        force = click.option("-f", "--force", is_flag=True, help="Overwrite FILE.")
        mode = click.option(
            "--mode",
            callback=_mode,
            default="600",
            show_default=True,
            metavar="OCTAL",
            help="Who may read FILE, as for chmod.",
        )
        output = click.option(
            "-o",
            "--output",
            type=click.Path(path_type=Path),
            default=Path(default),
            show_default=True,
            metavar="FILE",
            help="The run file.",
        )
        return output(force(mode(function)))

    return options


def _mode(context: click.Context, option: click.Parameter, value: str) -> int:
    """Callback of --mode: the bits; raises MemtraceError (exit 2) for what is no mode of a run file."""
    digits = value.removeprefix("0") or "0"
    bits = int(digits, 8) if digits.isascii() and set(digits) <= set("01234567") and len(digits) == 3 else 0
    if bits & ~0o666 or bits & 0o600 != 0o600:
        raise MemtraceError(f"--mode {value}: give one such as 600, 640 or 644", 2)
    return bits


def _filled(context: click.Context, option: click.Parameter, value: Any) -> Any:
    """Callback of options with text: raise MemtraceError (exit 2) if it is empty.

    An empty word is a shell variable or command that gave nothing: taken for "not
    given" it would mean the opposite of what was meant, everything.
    """
    for word in value if isinstance(value, tuple) else (value,):
        if word == "":
            name = option.opts[0]
            raise MemtraceError(
                f"{name} is empty: give {option.make_metavar(context)}, or leave {name} out", 2
            )
    return value


text_option = functools.partial(click.option, callback=_filled)
"""click.option for texts, which are not to be empty."""


def words(option: str, text: str | None) -> tuple[str, ...]:
    """The words between commas; none if the option was not given, MemtraceError (exit 2) if it has none."""
    found = tuple(word for word in (text or "").split(",") if word)
    if text is not None and not found:
        raise MemtraceError(f"{option} {text}: give words with commas between them", 2)
    return found


answer_format = text_option(
    "--format",
    "format_",
    default="text",
    metavar="FORMAT",
    help="text, json, csv, md or html.  [default: text]",
)
answer_file = text_option("-o", "--output", metavar="FILE", help="Write here instead of standard output.")


def in_color(output: str | None) -> bool:
    """Whether an answer goes to a terminal that is to have colors."""
    return output is None and streams.takes_colors(sys.stdout)


def refuse_overwriting(output: str | None, plot: str | None, inputs: Iterable[str | Path]) -> None:
    """Raise MemtraceError (exit 2) if an answer would replace what it is made from, or its figure."""
    from memtrace.traces.output import refuse_same, same_file

    read = [Path(word) for word in inputs]
    for option, word in (("-o", output), ("--plot", plot)):
        if word is not None:
            refuse_same(Path(word), read, option)
    if output is not None and plot is not None and same_file(Path(output), Path(plot)):
        raise MemtraceError(f"-o {output} is also what --plot writes: give another name", 2)


def give(text: str, output: str | None) -> None:
    """Print an answer, or write it to a file; raises MemtraceError if it cannot be written."""
    from memtrace.traces.answers import write

    if output is None:
        answer(text)
    else:
        write(Path(output), text.encode())
