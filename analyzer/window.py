# SPDX-License-Identifier: Apache-2.0
"""A stretch of a run, from words: ``A..B`` in seconds since boot, or ``+a..+b`` since recording began.

Either end may be left out: that of the recording stands for it.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

from memtrace.errors import MemtraceError

if TYPE_CHECKING:
    from memtrace.traces.reader import Run

_MOMENT = r"(\+?)(\d+(?:\.\d*)?|\.\d+)s?"
_SECOND = 1_000_000_000


@dataclass(frozen=True)
class Moment:
    """A moment in ns, since boot (CLOCK_BOOTTIME) or since recording began."""

    ns: int
    relative: bool

    def of(self, run: Run) -> int:
        """CLOCK_BOOTTIME in ns."""
        return self.ns + (run.status.started_ns if self.relative else 0)


@dataclass(frozen=True)
class Window:
    """From ``first`` to ``last``; None: from the start, to the end of the recording."""

    first: Moment | None
    last: Moment | None

    def of(self, run: Run) -> tuple[int, int]:
        """Begin and end, CLOCK_BOOTTIME ns; raises MemtraceError (exit 2) if the run has nothing there."""
        began, ended = run.status.started_ns, run.status.ended_ns
        begin = began if self.first is None else self.first.of(run)
        end = ended if self.last is None else self.last.of(run)
        recorded = f"the run was recorded from {began / 1e9:.3f} to {ended / 1e9:.3f} s after boot"
        if begin >= end:
            raise MemtraceError(
                f"--window ends at {end / 1e9:.3f} s and begins at {begin / 1e9:.3f} s; {recorded}", 2
            )
        if end <= began or begin >= ended:
            raise MemtraceError(f"--window lies outside the run; {recorded}", 2)
        return begin, end


def parse_window(text: str | None) -> Window | None:
    """The window that the words mean, None for None; raises MemtraceError (exit 2) for others."""
    if text is None:
        return None
    match = re.fullmatch(rf"(?:{_MOMENT})?\.\.(?:{_MOMENT})?", text.strip())
    if match is None or text.strip() == "..":
        raise MemtraceError(
            f"--window takes A..B in seconds since boot, or +a..+b since recording began, not {text!r}", 2
        )
    ends = [
        None if match[i + 1] is None else Moment(round(float(match[i + 1]) * _SECOND), match[i] == "+")
        for i in (1, 3)
    ]
    return Window(*ends)
