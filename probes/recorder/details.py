# SPDX-License-Identifier: Apache-2.0
"""The kernel side's totals by process, event and detail (probes/bpf/tasks.h), as parts of a status."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field

from memtrace.probes.topics.events import NAMES
from memtrace.traces.names import decoded
from memtrace.traces.totals import RootTotal, TaskTotal

_ZEROED, _ASKED, _MOVABLE, _REMOTE = 1, 2, 4, 8
"""MT_DETAIL_* of probes/bpf/tasks.h."""
_GFP_EVENTS = ("alloc", "zero.alloc")
Sums = tuple[int, ...]
"""Number of events, their pages, and their time in ns, in this order."""


@dataclass
class _Task:
    """The sums of one event in one process; ``zeroed`` has the part that the allocator zeroes."""

    sums: list[int] = field(default_factory=lambda: [0, 0, 0])
    zeroed: list[int] = field(default_factory=lambda: [0, 0, 0])
    pages: Counter[int] = field(default_factory=Counter)
    """Pages by the outermost root: its event number plus one, or 0 for none."""

    def add(self, detail: int, sums: Sequence[int]) -> None:
        for held in (self.sums, self.zeroed) if detail >> 24 & _ZEROED else (self.sums,):
            for i, value in enumerate(sums):
                held[i] += value
        self.pages[detail >> 32 & 0xFF] += sums[1]

    @property
    def root(self) -> str:
        return _named(max(self.pages, key=lambda number: self.pages[number])) or ""


@dataclass
class Totals:
    """Collects the sums of each process, event and detail."""

    _sums: dict[tuple[int, int, int], list[int]] = field(default_factory=dict)
    _shown: dict[int, int] = field(default_factory=dict)
    """Number in the recorder's PID namespace of each process that has one, by the kernel's own."""
    _comms: dict[tuple[int, int], Counter[bytes]] = field(default_factory=dict)
    """Number of events by command name, which exec changes; keyed by process and event."""

    def add(self, pid: int, event: int, detail: int, comm: bytes, sums: Sums, shown: int) -> None:
        """Add ``sums`` to those held, unless they count no event.

        ``pid`` is the kernel's own number of the process, and ``shown`` that in the recorder's
        PID namespace, or negative.
        """
        if not sums[0]:
            return
        if shown >= 0:
            self._shown[pid] = shown
        self._comms.setdefault((pid, event), Counter())[comm] += sums[0]
        held = self._sums.setdefault((pid, event, detail), [0, 0, 0])
        for i, value in enumerate(sums):
            held[i] += value

    def tasks(self, timed: frozenset[str], page_size: int, recorder: int) -> tuple[TaskTotal, ...]:
        """Return one total per process and event, largest first: by time, then by bytes.

        Processes outside the recorder's PID namespace have one per name and event, without a
        number.  ``timed`` names the events whose time is seen; for the others ``total_ns`` is None.
        ``recorder`` is the kernel's own number of the recorder.
        """
        found: dict[tuple[int | None, str, int, bool], _Task] = {}
        for (pid, event, detail), sums in self._sums.items():
            comm = _text(self._comms[(pid, event)].most_common(1)[0][0])
            key = (self._shown.get(pid), comm, event, pid == recorder)
            found.setdefault(key, _Task()).add(detail, sums)
        totals = [
            TaskTotal(
                event=NAMES[event],
                pid=shown,
                comm=comm,
                count=task.sums[0],
                bytes=task.sums[1] * page_size,
                total_ns=task.sums[2] if NAMES[event] in timed else None,
                root=task.root,
                zeroed_count=task.zeroed[0],
                zeroed_bytes=task.zeroed[1] * page_size,
                tracer=tracer,
            )
            for (shown, comm, event, tracer), task in found.items()
        ]
        return tuple(sorted(totals, key=lambda t: (-(t.total_ns or 0), -t.bytes, t.pid or 0)))

    def roots(self, timed: frozenset[str], page_size: int, without: int) -> tuple[RootTotal, ...]:
        """Return one total per event and detail, over all processes except ``without``.

        ``timed`` is as for tasks().
        """
        found: dict[tuple[int, int], list[int]] = {}
        for (pid, event, detail), sums in self._sums.items():
            if pid == without:
                continue
            held = found.setdefault((event, detail), [0, 0, 0])
            for i, value in enumerate(sums):
                held[i] += value
        return tuple(
            _root_total(event, detail, sums, timed, page_size)
            for (event, detail), sums in sorted(found.items())
        )


def _root_total(event: int, detail: int, sums: list[int], timed: frozenset[str], page_size: int) -> RootTotal:
    name = NAMES[event]
    order, nid, bits = detail & 0xFF, detail >> 8 & 0xFFFF, detail >> 24 & 0xFF
    gfp = name in _GFP_EVENTS
    return RootTotal(
        event=name,
        root=_named(detail >> 32 & 0xFF),
        within=_named(detail >> 40 & 0xFF),
        order=order if order < 0x80 else None,
        nid=nid if nid < 0x8000 else None,
        remote=bool(bits & _REMOTE) if nid < 0x8000 else None,
        zeroed=bool(bits & _ZEROED),
        asked=bool(bits & _ASKED) if gfp else None,
        movable=bool(bits & _MOVABLE) if gfp else None,
        count=sums[0],
        bytes=sums[1] * page_size,
        total_ns=sums[2] if name in timed else None,
    )


def _text(comm: bytes) -> str:
    return decoded(comm.split(b"\0", 1)[0])


def _named(number: int) -> str | None:
    return NAMES[number - 1] if number else None
