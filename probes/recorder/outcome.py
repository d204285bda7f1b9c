# SPDX-License-Identifier: Apache-2.0
"""What a recording reports about itself, while it runs and at its end."""

from __future__ import annotations

from dataclasses import dataclass

from memtrace.traces.run import ProbeSite, RunStatus


@dataclass(frozen=True)
class Progress:
    """The figures of the progress line.

    ``seconds`` is the time since recording began, ``events`` the number of events seen,
    ``lost`` the number that found a full ring, and ``bytes`` the size of the file.
    """

    seconds: float
    events: int
    lost: int
    bytes: int


@dataclass(frozen=True)
class Outcome:
    """What Recorder.run() returns."""

    status: RunStatus
    manifest: tuple[ProbeSite, ...]
    still_running: int | None = None
    """Process ID of a COMMAND that not even SIGKILL has ended; None if there is none."""
