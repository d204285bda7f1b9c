# SPDX-License-Identifier: Apache-2.0
"""What verbs say: foreign text in it is made safe, and a page arrives as it was made."""

from __future__ import annotations

import click

from memtrace import safe


def tell(text: object, *, lines: bool = False) -> None:
    """A sentence on standard error; ``lines``: more stand below it, laid out already."""
    click.echo(f"memtrace: {safe.page(text) if lines else safe.terminal(text)}", err=True)


def show(page: str) -> None:
    """A page on standard output, whose foreign text may hold anything but newlines."""
    answer(safe.page(page) + "\n")


def answer(text: str) -> None:
    """Text on standard output, safe and laid out already, to the last sign as it is."""
    # Not told a color, click would take out what looks like one where no terminal reads.
    click.echo(text, nl=False, color=True)
