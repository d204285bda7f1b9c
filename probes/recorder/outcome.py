# SPDX-License-Identifier: Apache-2.0
"""What a recording says of itself, while it goes on and at its end."""

from __future__ import annotations

from dataclasses import dataclass

from memtrace.traces.run import ProbeSite, RunStatus


@dataclass(frozen=True)
class Progress:
    """For the progress line."""

    seconds: float
    events: int
    lost: int
    bytes: int


@dataclass(frozen=True)
class Outcome:
    """What record() did."""

    status: RunStatus
    manifest: tuple[ProbeSite, ...]
    still_running: int | None = None
    """Process ID of a COMMAND that not even SIGKILL has ended."""
