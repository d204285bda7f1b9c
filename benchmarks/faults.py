# SPDX-License-Identifier: Apache-2.0
"""The workload: page faults, from faults.c, compiled where it is used."""

from __future__ import annotations

import os
import shutil
import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from memtrace.benchmarks.tracers import run
from memtrace.errors import MemtraceError

_SOURCE = Path(__file__).with_name("faults.c")
PAGES_PER_MIB = 256


@dataclass(frozen=True)
class Work:
    """What is to be touched; see faults.c.  ``rounds`` or ``seconds`` is 0, ``rate`` 0 for no pacing."""

    cpus: tuple[int, ...]
    mib: int = 64
    warmup: int = 0
    rounds: int = 0
    seconds: float = 0
    rate: float = 0

    def argv(self, output: str) -> list[str]:
        """The command, to run in the folder it was compiled in."""
        cpus = ",".join(map(str, self.cpus))
        numbers = (self.mib, self.warmup, self.rounds, self.seconds, self.rate)
        return ["./faults", output, cpus, *map(str, numbers)]

    @property
    def pages(self) -> int:
        """Pages touched in all, warm-up included, if ``rounds`` says when to stop."""
        return len(self.cpus) * self.mib * PAGES_PER_MIB * (self.warmup + self.rounds)


@dataclass(frozen=True)
class Round:
    """One counted round of one thread: times are those of the touching alone."""

    cpu: int
    faults: int
    wall_ns: int
    cpu_ns: int


def build(folder: Path) -> None:
    """Compile the workload into ``folder``; raises MemtraceError if that fails."""
    compiler = shutil.which("gcc") or shutil.which("cc")
    if compiler is None:
        raise MemtraceError("no C compiler for the page-fault workload: apt-get install gcc libc6-dev")
    run([compiler, "-O2", "-pthread", "-o", "faults", str(_SOURCE)], folder)


def read(path: Path) -> list[Round]:
    """What a run of the workload measured."""
    return [Round(*map(int, line.split())) for line in path.read_text().splitlines()]


def per_fault(rounds: Sequence[Round]) -> tuple[float, float]:
    """Median CPU ns and wall ns for one fault."""
    if not rounds:
        raise MemtraceError("the workload measured nothing: give it more rounds")
    return (
        statistics.median(r.cpu_ns / r.faults for r in rounds),
        statistics.median(r.wall_ns / r.faults for r in rounds),
    )


def cpus_here() -> tuple[int, ...]:
    """CPUs this process may use."""
    return tuple(sorted(os.sched_getaffinity(0)))
