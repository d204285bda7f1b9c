# SPDX-License-Identifier: Apache-2.0
"""The workloads whose answers are known beforehand, built for guests.

`memhog` touches a counted number of pages on a node; `gmemtest` drives guest_memfd.
Their manuals are at the head of `workloads/*.c`.  Programs of other folders serve one
scenario each: see `nested_guest`.
"""

from __future__ import annotations

from pathlib import Path

from memtrace.errors import MemtraceError
from memtrace.lab import cache
from memtrace.lab.needs import For, require
from memtrace.lab.run import run_tool

FOLDER = Path(__file__).resolve().parent / "workloads"
# Static: the guest's libc, or its absence, does not matter.
COMPILE = ("gcc", "-O2", "-Wall", "-static")


def names() -> tuple[str, ...]:
    """The workloads there are."""
    return tuple(sorted(path.stem for path in FOLDER.glob("*.c")))


def program(name: str, folder: Path = FOLDER) -> Path:
    """The static executable of a workload, from the cache or compiled."""
    source = folder / f"{name}.c"
    if not source.is_file():
        raise MemtraceError(f"there is no workload '{name}': there are {', '.join(names())}")

    def build(entry: Path) -> None:
        require(For.WORKLOAD)
        run_tool(*COMPILE, f"-I{FOLDER}", "-o", entry / name, source)

    key = cache.key_of(source, *sorted(FOLDER.glob("*.h")), *COMPILE)
    return cache.ensure(f"workloads/{name}", key, build) / name
