# SPDX-License-Identifier: Apache-2.0
"""What is under way, in one line on a terminal's standard error, gone afterwards."""

from __future__ import annotations

import sys

import click

from memtrace import safe
from memtrace.commands.streams import takes_controls


class StatusLine:
    """A context manager; without a terminal that can, or if not ``wanted``, it shows nothing."""

    def __init__(self, wanted: bool = True) -> None:
        self.shows = wanted and takes_controls(sys.stderr)
        self._told = False

    def show(self, text: str) -> None:
        """Put ``text`` in the place of what was shown before."""
        if self.shows:
            self._told = True
            click.echo(f"\r{safe.terminal(text)}\033[K", err=True, nl=False)

    def clear(self) -> None:
        """Take away what is shown."""
        if self._told:
            self._told = False
            click.echo("\r\033[K", err=True, nl=False)

    def __enter__(self) -> StatusLine:
        return self

    def __exit__(self, *_: object) -> None:
        self.clear()
