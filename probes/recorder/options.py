# SPDX-License-Identifier: Apache-2.0
"""The options of a recording, and the checks that can refuse it at once."""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from pathlib import Path

from memtrace.errors import MemtraceError
from memtrace.probes.machine.privileges import require_recording
from memtrace.probes.recorder import plan
from memtrace.probes.recorder.child import User
from memtrace.probes.recorder.command import find_command
from memtrace.probes.topics.events import DEFAULT
from memtrace.traces.output import MODE
from memtrace.traces.refusals import not_a_file


@dataclass(frozen=True)
class Options:
    """What to record, and until when."""

    output: Path
    events: tuple[str, ...] = DEFAULT
    overwrite: bool = False
    duration_s: float | None = None
    command: tuple[str, ...] = ()
    command_user: User | None = None
    """The user that COMMAND runs as; None means the recording user."""
    mode: int = MODE
    """Permission bits of the output."""
    filters: plan.Filters = field(default_factory=plan.Filters)
    shape: plan.Shape = field(default_factory=plan.Shape)
    ring_bytes: int | None = None
    """Ring size per CPU, a power of two; None means buffers.default_ring_bytes()."""
    argv: tuple[str, ...] = ()


def check(options: Options) -> None:
    """Raise MemtraceError early for what would otherwise fail after a second of set-up."""
    require_recording()
    if options.command:
        find_command(options.command)
    path = options.output
    if path.is_dir():
        raise MemtraceError(f"{path} is a directory: give a file name with -o")
    if path.is_symlink():
        raise not_a_file(path, path.lstat(), "-o")
    if not os.access(path.parent, os.W_OK | os.X_OK):
        raise MemtraceError(f"{path.parent} is not a writable folder: give another place with -o")
    if os.path.lexists(path) and not options.overwrite:
        raise MemtraceError(f"{path} exists: use -f to overwrite it or -o for another name")
