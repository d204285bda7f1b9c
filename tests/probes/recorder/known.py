# SPDX-License-Identifier: Apache-2.0
"""Programs attached to the running kernel, and what they count of this process's own work."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass

from memtrace.probes.machine.kernel import describe_system
from memtrace.probes.recorder import plan
from memtrace.probes.recorder.gate import Gate
from memtrace.probes.recorder.identity import identity
from memtrace.probes.recorder.sums import Sums
from memtrace.probes.sites.system import System
from memtrace.probes.workloads.touch import fresh, touch

PAGES = 2048


@dataclass(frozen=True)
class Counting:
    """Attached programs, whose gate is closed."""

    attached: plan.Attached
    gate: Gate
    sums: Sums

    def seen(self) -> dict[str, int]:
        """The occurrences of each event so far."""
        return {event: counted.seen for event, counted in self.sums.counted().items()}

    def touched(self) -> dict[str, int]:
        """What was seen of each event while this process, and no other, touched PAGES small pages."""
        before = self.seen()
        self.gate.own(True)
        with fresh(PAGES << 12, huge=False) as address:
            touch(address, PAGES << 12)
        self.gate.own(False)
        return {event: count - before[event] for event, count in self.seen().items()}


@contextlib.contextmanager
def counting(*events: str) -> Iterator[Counting]:
    """Programs for these events; all is detached at the end."""
    description = describe_system()
    system = System.of(description)
    shape = plan.Shape(sample_hz=0)
    attached = plan.attach(system, events, plan.Filters(), shape)
    try:
        me = identity(attached.module, system)
        gate = Gate(attached, plan.Filters(), system, me)
        attached.module.left()
        yield Counting(
            attached, gate, Sums(attached, system, me, shape.buckets, description.page_size, shape.sample_hz)
        )
        gate.set(False)
    finally:
        attached.module.close()
