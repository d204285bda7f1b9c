# SPDX-License-Identifier: Apache-2.0
"""Whether this machine has memory to accept at all, from what the run itself shows."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from memtrace.analyzer.accept.platform import needless
from memtrace.analyzer.boot.accepts import Accepts
from memtrace.analyzer.boot.counters import moments

if TYPE_CHECKING:
    from memtrace.traces.reader import Run


@dataclass(frozen=True)
class Verdict:
    """``applies`` is None where the run does not tell."""

    applies: bool | None
    because: str


def verdict(run: Run, accepts: Accepts) -> Verdict:
    """Evidence first (accepts seen, a counter above 0), then what the platform is."""
    if accepts.counted is not None:
        return Verdict(True, "accepts were seen")
    if any(value for moment in moments(run) for value in moment.unaccepted.values()):
        return Verdict(True, "the counter Unaccepted was above 0")
    if (why := needless(run)) is not None:
        return Verdict(False, why)
    lazy = next((f for f in run.header.facts if f.name == "lazy_accept"), None)
    if lazy is not None and lazy.value == "no":
        return Verdict(None, f"nothing was left to accept while it could be seen ({lazy.evidence})")
    return Verdict(None, "the run has neither accepts nor counters, and its facts do not tell")
