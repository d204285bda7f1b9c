# SPDX-License-Identifier: Apache-2.0
"""What ``memtrace doctor`` says of a container: what is in the way, and what to give it."""

from __future__ import annotations

from collections.abc import Iterator

from memtrace.probes.machine.container import run_command
from memtrace.probes.machine.privileges import Privileges, missing
from memtrace.probes.recorder.remark import Remark
from memtrace.traces.run import Fact


def remarks(facts: tuple[Fact, ...], held: Privileges, tried: bool) -> Iterator[Remark]:
    """Yield what to know and do; ``tried``: whether the sites could be tried."""
    values = {fact.name: fact.value for fact in facts}
    lacks = [need.any_of[0] for need in missing(held) if need.name != "mount"]
    if held.contained and held.initial_user_namespace is not False and lacks:
        yield Remark(
            "container",
            "cure",
            f"In a container nobody can add what it was not given: {', '.join(lacks)}.",
            run_command(facts),
        )
    if values.get("kcore") == "hidden":
        yield Remark(
            "kcore-hidden",
            "cure",
            "The container's runtime hides /proc/kcore, and without it there are no call sites.",
            run_command(facts),
        )
    if values.get("seccomp") == "filter" and not tried and not any(need.required for need in missing(held)):
        yield Remark(
            "seccomp",
            "cure",
            "A seccomp filter is on this process, and may be what forbids bpf(2) or perf_event_open(2).",
            "docker run --security-opt seccomp=unconfined IMAGE",
        )
