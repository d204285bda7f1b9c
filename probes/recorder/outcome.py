# SPDX-License-Identifier: Apache-2.0
"""What a recording reports about itself, while it runs and at its end."""

from __future__ import annotations

from dataclasses import dataclass

from memtrace.probes.recorder.details import NUMBERED_TASKS
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
    missed: int | None = None
    """Process ID of a COMMAND that ended by itself and that nothing was seen of; None if there is none."""


def outcome(status: RunStatus, manifest: tuple[ProbeSite, ...], command: int | None, allocs: bool) -> Outcome:
    """Return the outcome; ``command`` is the process ID of COMMAND, or None.

    ``allocs`` says that alloc was asked for, with no filter that could have left it out.
    """
    if command is None:
        return Outcome(status, manifest)
    left = command if status.exit_status is None else None
    missed = allocs and _nothing_seen_of(command, status)
    return Outcome(status, manifest, left, command if missed else None)


def _nothing_seen_of(pid: int, status: RunStatus) -> bool:
    """Return whether a COMMAND, process ``pid``, ended by itself without any alloc that was seen.

    To execute a program takes memory, so that is a fault of the probes or of the filter, and no
    answer.
    """
    if status.stopped_by != "command" or status.tasks_dropped:
        return False
    if len(status.tasks) > NUMBERED_TASKS:
        # It may be among those that are told by name only.
        return False
    return not any(task.event == "alloc" and task.pid == pid for task in status.tasks)
