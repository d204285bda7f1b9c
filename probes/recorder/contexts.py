# SPDX-License-Identifier: Apache-2.0
"""How much room there is in the tables that are sized to the machine.

In the table of open intervals (probes/bpf/nest.h) a task takes its place at its first event and
keeps it until it is freed.  The two tables of totals (probes/bpf/tasks.h) are emptied while
recording, each time that one is a part full.
"""

from __future__ import annotations

from pathlib import Path

_TASK_BYTES = 1600
"""Of one task's frames, the longer ones of gmem events, with what a hash adds."""
_FEWEST = 4096
_USUAL = 24 << 10
_MEMORY_SHARE = 100
_KEY_BYTES = 128
"""Of a process, event and detail, with what a hash adds."""
_FEWEST_KEYS = 4096
_USUAL_KEYS = 32 << 10
_KEYS_PER_CPU = 1024
"""A CPU that does nothing but start processes may add 20,000 keys a second: 1,000 processes of 20 each."""


def contexts(memory_bytes: int, tasks: int) -> int:
    """Return the number of places for a machine of so much memory, on which so many tasks run now.

    Twice as many as there are tasks, or 24 Ki if that is more; but in 1 % of memory.
    """
    return max(_FEWEST, min(max(_USUAL, 2 * tasks), memory_bytes // _MEMORY_SHARE // _TASK_BYTES))


def keys(memory_bytes: int, cpus: int) -> int:
    """Return the number of places in each of the two tables of totals.

    32 Ki, or 1024 for each CPU if that is more; but both in 1 % of memory.
    """
    fitting = memory_bytes // _MEMORY_SHARE // (2 * _KEY_BYTES)
    return max(_FEWEST_KEYS, min(max(_USUAL_KEYS, _KEYS_PER_CPU * cpus), fitting))


def tasks_now() -> int:
    """Return the number of tasks of the whole machine (/proc/loadavg); 0 if it is not told."""
    try:
        return int(Path("/proc/loadavg").read_text().split()[3].partition("/")[2])
    except (OSError, IndexError, ValueError):
        return 0
