# SPDX-License-Identifier: Apache-2.0
"""Totals of the kernel side, by process, event and detail (probes/bpf/tasks.h), as parts of a status."""

from __future__ import annotations

from dataclasses import dataclass, field

from memtrace.probes.events import NAMES
from memtrace.traces.run import RootTotal, TaskTotal

_ZEROED, _ASKED, _MOVABLE, _REMOTE = 1, 2, 4, 8
"""MT_DETAIL_* of probes/bpf/tasks.h."""
_GFP_EVENTS = ("alloc", "zero.alloc")
Sums = tuple[int, ...]
"""Occurrences, pages, ns."""


@dataclass
class Totals:
    """Sums by (process, event, detail)."""

    _sums: dict[tuple[int, int, int], list[int]] = field(default_factory=dict)
    _comms: dict[tuple[int, int], bytes] = field(default_factory=dict)

    def add(self, pid: int, event: int, detail: int, comm: bytes, sums: Sums) -> None:
        """Count ``sums`` in."""
        if not sums[0]:
            return
        self._comms[(pid, event)] = comm
        held = self._sums.setdefault((pid, event, detail), [0, 0, 0])
        for i, value in enumerate(sums):
            held[i] += value

    def tasks(self, timed: frozenset[str], page_size: int) -> tuple[TaskTotal, ...]:
        """Per process and event, largest first.

        ``timed``: the events whose time is seen; for the others it is unknown.
        """
        found: dict[tuple[int, int], list[int]] = {}
        for (pid, event, _), sums in self._sums.items():
            held = found.setdefault((pid, event), [0, 0, 0])
            for i, value in enumerate(sums):
                held[i] += value
        totals = [
            TaskTotal(
                event=NAMES[event],
                pid=pid,
                comm=self._comms[(pid, event)].split(b"\0", 1)[0].decode(errors="replace"),
                count=count,
                bytes=pages * page_size,
                total_ns=total if NAMES[event] in timed else None,
            )
            for (pid, event), (count, pages, total) in found.items()
        ]
        return tuple(sorted(totals, key=lambda t: (-(t.total_ns or 0), -t.bytes, t.pid)))

    def roots(self, timed: frozenset[str], page_size: int, without: int) -> tuple[RootTotal, ...]:
        """Per event and detail, of all processes but ``without``."""
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


def _named(number: int) -> str | None:
    return NAMES[number - 1] if number else None
