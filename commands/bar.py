# SPDX-License-Identifier: Apache-2.0
"""How far work is whose steps are counted: a bar on a terminal's standard error, gone afterwards."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

from memtrace.commands.streams import takes_controls

if TYPE_CHECKING:
    from rich.progress import Progress


class Bar:
    """A context manager; without a terminal that can, it shows nothing and imports nothing."""

    def __init__(self, what: str) -> None:
        self._what = what
        self._progress: Progress | None = None

    def __enter__(self) -> Bar:
        if takes_controls(sys.stderr):
            from rich import progress
            from rich.console import Console

            self._progress = progress.Progress(
                progress.TextColumn("{task.description}"),
                progress.BarColumn(),
                progress.MofNCompleteColumn(),
                progress.TimeRemainingColumn(),
                console=Console(stderr=True),
                transient=True,
            )
            self._progress.add_task(self._what, total=None)
            self._progress.start()
        return self

    def show(self, done: int, total: int) -> None:
        """So many steps are done."""
        if self._progress is not None:
            self._progress.update(self._progress.task_ids[0], completed=done, total=total)

    def __exit__(self, *_: object) -> None:
        if self._progress is not None:
            self._progress.stop()
