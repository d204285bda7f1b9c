# SPDX-License-Identifier: Apache-2.0
"""How often the kernel came to a probe and did not run its program, by event.

A program is skipped where it runs already on the CPU (fentry, fexit, raw tracepoints), or where any
program of a kprobe or perf event does.  The kernel counts that (recursion_misses of struct bpf_prog_info,
5.12 on; for kprobes 6.7 on).  A kprobe's handler is not even reached where another kprobe's runs on
the CPU, as in an interrupt that comes during it; its link tells how often (6.7 on).

What is missed is an event that begins nowhere.  An end that is missed, after a beginning that was
seen, is not counted here but by the interval that it leaves open (probes/bpf/nest.h).
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field

from memtrace.probes.programs.libbpf import link_misses, program_info
from memtrace.probes.programs.module import Hook

_RECURSION_MISSES_OFFSET = 208
"""Offset of recursion_misses in struct bpf_prog_info, include/uapi/linux/bpf.h, bytes."""
_BEGINNINGS = {"_fexit": "_fentry", "_kretprobe": "_kprobe"}
_AFTER_CALL = "_return"


@dataclass(frozen=True)
class Missed:
    """Numbers of beginnings that were missed."""

    by_event: Counter[str] = field(default_factory=Counter)
    shared: Counter[frozenset[str]] = field(default_factory=Counter)
    """Those of programs that serve several events, by these events."""
    untold: frozenset[str] = frozenset()
    """Events of which the kernel does not tell."""

    @property
    def total(self) -> int | None:
        """Of all events; None if the kernel does not tell of one."""
        return None if self.untold else self.by_event.total() + self.shared.total()

    def of(self, event: str) -> int | None:
        """Of one event; None if it is not known."""
        if event in self.untold or any(event in several for several, n in self.shared.items() if n):
            return None
        return self.by_event[event]

    def since(self, before: Missed) -> Missed:
        """What was missed after ``before`` was read."""
        return Missed(self.by_event - before.by_event, self.shared - before.shared, self.untold)


def missed(hooks: tuple[Hook, ...], counts_kprobes: bool) -> Missed:
    """Return what has been missed by now.

    ``counts_kprobes``: System.counts_skipped_kprobes.
    """
    by_event, shared, untold = Counter[str](), Counter[frozenset[str]](), set[str]()
    attached = {hook.program for hook in hooks}
    serving: dict[int, set[str]] = {}
    for hook in hooks:
        if not hook.event or _ends_what_began(hook.program, attached):
            continue
        serving.setdefault(hook.loaded, set()).add(hook.event)
        if hook.kprobe:
            count = link_misses(hook.fd) if counts_kprobes else None
            untold |= {hook.event} if count is None else set()
            by_event[hook.event] += count or 0
    for loaded, events in serving.items():
        count = _skipped(loaded)
        untold |= events if count is None else set()
        if len(events) == 1:
            by_event[next(iter(events))] += count or 0
        else:
            shared[frozenset(events)] += count or 0
    return Missed(by_event, shared, frozenset(untold))


def _ends_what_began(program: str, attached: set[str]) -> bool:
    """Return whether a program ends an interval that another one begins."""
    for end, beginning in _BEGINNINGS.items():
        if program.endswith(end):
            return program.removesuffix(end) + beginning in attached
    return program.endswith(_AFTER_CALL)


def _skipped(program: int) -> int | None:
    """Return how often a program was skipped; None if the kernel does not tell."""
    info = program_info(program)
    if len(info) < _RECURSION_MISSES_OFFSET + 8:
        return None
    return int.from_bytes(info[_RECURSION_MISSES_OFFSET : _RECURSION_MISSES_OFFSET + 8], "little")
