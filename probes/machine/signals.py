# SPDX-License-Identifier: Apache-2.0
"""What single sources say of a question, and what they say together."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from memtrace.probes.machine.evidence import Machine
from memtrace.probes.machine.sources import KernelLog
from memtrace.traces.run import Fact


@dataclass(frozen=True)
class Signal:
    """What one source says: True, False, or None if it says nothing either way."""

    value: bool | None
    evidence: str


def decide(name: str, signals: Iterable[Signal]) -> Fact:
    """Return the fact that ``signals`` agree on; "unknown" if they are silent or contradict each other."""
    heard = list(signals)
    yes = [s.evidence for s in heard if s.value is True]
    no = [s.evidence for s in heard if s.value is False]
    if yes and no:
        return Fact(name, "unknown", f"contradiction: yes by {'; '.join(yes)}; no by {'; '.join(no)}")
    if yes or no:
        return Fact(name, "yes" if yes else "no", "; ".join(yes or no))
    return Fact(name, "unknown", "; ".join(s.evidence for s in heard) or "nothing to go by")


def logged(log: KernelLog, pattern: str, words: str) -> Signal:
    """Return yes where the log has a line like ``pattern``, no where it is whole and has none."""
    line = log.find(pattern)
    if line is not None:
        return Signal(True, f"{log.source}: {line}")
    return Signal(False if log.complete else None, f"{log.why_silent()} ({words})")


def systemd(m: Machine, signals: list[Signal], kind: str) -> list[Signal]:
    """Return what systemd-detect-virt --cvm adds where ``signals`` are silent.

    Its "none" is no evidence: without /dev/cpu/0/msr it says "none" in an SEV guest too.
    """
    if any(s.value is not None for s in signals):
        return []
    answer = m.detect_virt("--cvm") or ""
    return [Signal(True, f"systemd-detect-virt --cvm: {answer}")] if answer.startswith(kind) else []
