# SPDX-License-Identifier: Apache-2.0
"""What else the machine did while we measured."""

from __future__ import annotations

import os
import resource
import time
from pathlib import Path

_TICK_NS = 1_000_000_000 // os.sysconf("SC_CLK_TCK")


class Surroundings:
    """Starts looking when it is made."""

    def __init__(self) -> None:
        self._begun = time.monotonic_ns()
        self._busy, self._stolen = _machine_ns()
        self._ours = _our_ns()

    def sentence(self) -> str:
        """Load average, and the CPU time that went elsewhere since the start."""
        elapsed = time.monotonic_ns() - self._begun
        busy, stolen = _machine_ns()
        others = max(0, (busy - self._busy) - (_our_ns() - self._ours)) / elapsed
        steal = (stolen - self._stolen) / elapsed
        load = " ".join(f"{value:.1f}" for value in os.getloadavg())
        return (
            f"Load average {load}; meanwhile other processes used {others:.2f} and "
            f"the hypervisor {steal:.2f} of {os.cpu_count()} CPUs."
        )


def _machine_ns() -> tuple[int, int]:
    """CPU time of all processes, and time stolen, ns (proc_stat(5))."""
    fields = [int(f) for f in Path("/proc/stat").read_text().split("\n", 1)[0].split()[1:9]]
    user, nice, system, _idle, _iowait, irq, softirq, steal = fields
    return (user + nice + system + irq + softirq) * _TICK_NS, steal * _TICK_NS


def _our_ns() -> int:
    """CPU time of this process and of the children it has waited for."""
    usages = (resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    return round(sum(u.ru_utime + u.ru_stime for u in usages) * 1e9)
