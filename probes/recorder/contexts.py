# SPDX-License-Identifier: Apache-2.0
"""How many tasks the table of open intervals (probes/bpf/nest.h) has room for.

A task takes its place at its first event and keeps it until it is freed.
"""

from __future__ import annotations

from pathlib import Path

_TASK_BYTES = 1600
"""Of one task's frames, the longer ones of gmem events, with what a hash adds."""
_FEWEST = 4096
_USUAL = 24 << 10
_MEMORY_SHARE = 100


def contexts(memory_bytes: int, tasks: int) -> int:
    """Return the number of places for a machine of so much memory, on which so many tasks run now.

    Twice as many as there are tasks, or 24 Ki if that is more; but in 1 % of memory.
    """
    return max(_FEWEST, min(max(_USUAL, 2 * tasks), memory_bytes // _MEMORY_SHARE // _TASK_BYTES))


def tasks_now() -> int:
    """Return the number of tasks of the whole machine (/proc/loadavg); 0 if it is not told."""
    try:
        return int(Path("/proc/loadavg").read_text().split()[3].partition("/")[2])
    except (OSError, IndexError, ValueError):
        return 0
