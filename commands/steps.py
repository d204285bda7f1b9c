# SPDX-License-Identifier: Apache-2.0
"""What the lab's rooms log, for people: a line per step, and on a terminal one that changes meanwhile."""

from __future__ import annotations

import logging
import time

import click

from memtrace import safe
from memtrace.commands.status_line import StatusLine

SELDOM_S = 60.0
"""Without a terminal a step that goes on is told again after so long."""


class Steps(logging.Handler):
    """Shows the records of a logger on standard error; use as a context manager."""

    def __init__(self, logger: logging.Logger) -> None:
        super().__init__(logging.INFO)
        self._logger = logger
        self._line = StatusLine()
        self._told_at = time.monotonic()

    def __enter__(self) -> Steps:
        self._before = self._logger.level
        self._logger.addHandler(self)
        self._logger.setLevel(logging.INFO)
        return self

    def __exit__(self, *_: object) -> None:
        self._logger.removeHandler(self)
        self._logger.setLevel(self._before)
        self._line.clear()

    def emit(self, record: logging.LogRecord) -> None:
        """Show one record; called with the handler's lock held."""
        text = f"memtrace: {record.getMessage()}"
        if getattr(record, "ongoing", False):
            if self._line.shows:
                self._line.show(text)
            if self._line.shows or time.monotonic() - self._told_at < SELDOM_S:
                return
        self.tell(text)

    def tell(self, text: str) -> None:
        """A line that stays; of a guest's end several."""
        self._line.clear()
        self._told_at = time.monotonic()
        click.echo(safe.page(text), err=True)
