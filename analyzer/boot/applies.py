# SPDX-License-Identifier: Apache-2.0
"""Whether this machine has memory to accept at all, from what the run itself shows."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from memtrace.analyzer.boot.accepts import Accepts
from memtrace.analyzer.boot.counters import knows_counter, moments

if TYPE_CHECKING:
    from memtrace.traces.reader import Run
    from memtrace.traces.run import Fact


@dataclass(frozen=True)
class Verdict:
    """``applies`` is None where the run does not tell."""

    applies: bool | None
    because: str


def verdict(run: Run, accepts: Accepts) -> Verdict:
    """Evidence first (accepts seen, a counter above 0), then the platform's facts."""
    if accepts.counted is not None:
        return Verdict(True, "accepts were seen")
    if any(value for moment in moments(run) for value in moment.unaccepted.values()):
        return Verdict(True, "the counter Unaccepted was above 0")
    facts = {fact.name: fact for fact in run.header.facts}
    lazy = facts["lazy_accept"].evidence if _is(facts, "lazy_accept", "no") else ""
    if _is(facts, "hyperv_paravisor", "yes"):
        why = facts["hyperv_paravisor"].evidence
        return Verdict(False, f"a paravisor accepts this guest's memory ({why})")
    if _is(facts, "accept_memory", "not built in") or knows_counter(run) is False:
        return Verdict(False, "this kernel knows no unaccepted memory: /proc/vmstat has no nr_unaccepted")
    if lazy and _is(facts, "confidential", "plain"):
        kind = "a plain guest" if _guest(facts) else "no confidential guest"
        return Verdict(False, f"this is {kind}: firmware left nothing unaccepted ({lazy})")
    if lazy:
        return Verdict(None, f"nothing was left to accept while it could be seen ({lazy})")
    return Verdict(None, "the run has neither accepts nor counters, and its facts do not tell")


def _is(facts: dict[str, Fact], name: str, value: str) -> bool:
    return name in facts and facts[name].value == value


def _guest(facts: dict[str, Fact]) -> bool:
    return "virtualized" in facts and facts["virtualized"].value not in ("no", "unknown")
