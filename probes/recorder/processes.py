# SPDX-License-Identifier: Apache-2.0
"""Sums by process, packed into rows of numbers: what is held of each, and how it comes to TaskTotals.

A key of a row (keyed.Rows) has, from the highest bit down, the process (23 bits: the kernel's
own numbers are below 2**22, PID_MAX_LIMIT in include/linux/threads.h), the event (8), the
outermost root (8: event number plus one, 0 for none), whether the allocator zeroes it (1), and
the number of the command name (24).  The sums are events, pages and ns.

A row is 32 bytes.  100,000 processes of a kernel build, if each has 20 rows of 8 events, are 61 MB,
and the recorder's memory grew by some 160 MB while it added them up: two large blocks are merged beside
themselves.  At the end it was 400 MB, when the totals of all are compared and the largest made.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from memtrace.probes.recorder.keyed import U64, Rows, most, reduced
from memtrace.probes.topics.events import NAMES
from memtrace.traces.names import decoded
from memtrace.traces.totals import TaskTotal

PROCESS_BITS = 33
"""Bits of a key below the process and the event."""
EVENT_BITS = 8
"""Bits above these, for the event; the process is above."""
SUMS = 3
_COMM_BITS = 24
_COMMS = (1 << _COMM_BITS) - 1
_MOST_PIDS = (1 << 22) + 1
ZEROED = 1
"""MT_DETAIL_ZEROED of probes/bpf/tasks.h."""


class Processes:
    """Command names by number, and the numbers of processes in the recorder's PID namespace."""

    def __init__(self, recorder: int, tells_zeroing: bool = True) -> None:
        """Know nobody; ``recorder`` is the kernel's own number of the recorder."""
        self.recorder = recorder
        self.tells_zeroing = tells_zeroing
        """Whether the flag ZEROED is set wherever the allocator zeroes."""
        self.comms: list[str] = []
        self._numbers: dict[bytes, int] = {}
        # Pages that are not written take no memory: at most 16 MiB each, where numbers go that far.
        self._shown = np.zeros(_MOST_PIDS, "<u4")
        self._owner = np.zeros(_MOST_PIDS, "<u4")
        self._outside = self._sharing = np.zeros(0, np.int64)
        self.renumbered = False
        """Whether a process was seen that the namespace numbers otherwise than the kernel, or not at all."""

    def pack(self, keys: npt.NDArray[Any], values: npt.NDArray[Any]) -> U64:
        """Return a key for each element of the kernel side's table (layouts.TASK_KEY and TASK)."""
        tgids = keys["tgid"].astype(np.int64)
        if self.renumbered or (values["shown"] != tgids + 1).any():
            self.renumbered = True
            self._number_as(tgids, values["shown"])
        else:
            self._shown[tgids] = self._owner[tgids + 1] = values["shown"]
        detail = keys["detail"]
        upper = tgids.astype(np.uint64) << np.uint64(EVENT_BITS) | keys["event"].astype(np.uint64)
        upper = upper << np.uint64(8) | detail >> np.uint64(32) & np.uint64(0xFF)
        upper = upper << np.uint64(1) | detail >> np.uint64(24) & np.uint64(ZEROED)
        return upper << np.uint64(_COMM_BITS) | self._comms_of(values["comm"])

    def _number_as(self, tgids: npt.NDArray[np.int64], shown: npt.NDArray[Any]) -> None:
        """Note the numbers plus one that processes have here, 0 for those without one."""
        # At its very end a task has no number any more, and keeps what it had.
        told = shown > 0
        self._shown[tgids[told]] = shown[told]
        outside = np.union1d(self._outside, tgids[~told])
        self._outside = outside[self._shown[outside] == 0]
        pairs = np.unique(shown[told].astype(np.int64) << 32 | tgids[told])
        numbers, owners = pairs >> 32, pairs & 0xFFFFFFFF
        before = self._owner[numbers].astype(np.int64) - 1
        self._owner[numbers] = owners + 1
        taken = (before >= 0) & (before != owners)
        twice = np.flatnonzero(numbers[1:] == numbers[:-1])
        if taken.any() or len(twice):
            more = (before[taken], owners[taken], owners[twice], owners[twice + 1])
            self._sharing = np.unique(np.concatenate([self._sharing, *more]))

    def together(self) -> U64:
        """Return the processes whose totals may be added to those of others, sorted.

        Those without a number are told by name, and a number may have gone from one to another.
        """
        return np.union1d(self._outside, self._sharing).astype(np.uint64)

    def _comms_of(self, comms: npt.NDArray[np.bytes_]) -> U64:
        """Return the number of each name; Python runs only for each different one."""
        words = np.ascontiguousarray(comms).view("<u8").reshape(-1, 2)
        order = np.lexsort((words[:, 0], words[:, 1]))
        first = np.ones(len(words), np.bool_)
        first[1:] = (words[order][1:] != words[order][:-1]).any(axis=1)
        numbers = [self._number(name) for name in comms[order[first]].tolist()]
        found = np.empty(len(words), np.uint64)
        found[order] = np.array(numbers, np.uint64)[np.cumsum(first) - 1]
        return found

    def _number(self, comm: bytes) -> int:
        name = comm.split(b"\0", 1)[0]
        number = self._numbers.get(name)
        if number is None:
            # Those that find no number of their own share the last one.
            number = self._numbers[name] = min(len(self.comms), _COMMS)
            if number == len(self.comms):
                self.comms.append(decoded(name))
        return number

    def shown(self, tgids: U64) -> npt.NDArray[np.int64]:
        """Return the numbers in the recorder's namespace, -1 for those without one."""
        return self._shown[tgids.astype(np.intp)].astype(np.int64) - 1


@dataclass(frozen=True)
class Costs:
    """Arrays with one element for each TaskTotal to be, in no order."""

    shown: npt.NDArray[np.int64]
    comm: U64
    event: U64
    tracer: npt.NDArray[np.bool_]
    sums: U64
    """Of shape (3, elements): events, pages and ns."""
    zeroed: U64
    """Likewise, of what the allocator zeroes, without ns."""
    root: U64
    """Event number plus one; 0: none."""
    processes: U64
    """Each process and event of the rows (a key without its lowest PROCESS_BITS), sorted."""
    places: npt.NDArray[np.intp]
    """The element that has each of ``processes``."""

    def order(self, timed: npt.NDArray[np.bool_]) -> npt.NDArray[np.intp]:
        """Return the places of the elements, largest first: by time where it is seen, then by pages."""
        _, pages, ns = self.sums.astype(np.int64)
        return np.lexsort(
            (np.maximum(self.shown, 0), -pages, np.where(timed[self.event.astype(int)], -ns, 0))
        )

    def totals(
        self, places: npt.NDArray[np.intp], timed: npt.NDArray[np.bool_], page_size: int, known: Processes
    ) -> tuple[TaskTotal, ...]:
        """Return the elements at ``places``."""
        plain = (self.shown, self.comm, self.event, self.tracer, self.root)
        columns = [column[places].tolist() for column in (*plain, *self.sums, *self.zeroed)]
        return tuple(
            TaskTotal(
                event=NAMES[event],
                pid=shown if shown >= 0 else None,
                comm=known.comms[comm],
                count=count,
                bytes=pages * page_size,
                total_ns=ns if timed[event] else None,
                root=named(root) or "",
                zeroed_count=zeroed if known.tells_zeroing else None,
                zeroed_bytes=zeroed_pages * page_size if known.tells_zeroing else None,
                tracer=tracer,
            )
            for shown, comm, event, tracer, root, count, pages, ns, zeroed, zeroed_pages in zip(
                *columns, strict=True
            )
        )


def costs(rows: Rows, known: Processes, numberless: U64 | None = None) -> Costs:
    """Return the sums of each process and event, of rows that are reduced.

    Processes without a number in the recorder's namespace have one element per name and event,
    and so have those in ``numberless``, which are keys without their lowest PROCESS_BITS.  The
    name is the one under which most events of a process came.
    """
    processes, comm = _names(rows)
    event, tgid = processes & np.uint64(0xFF), processes >> np.uint64(EVENT_BITS)
    shown = known.shown(tgid)
    if numberless is not None:
        shown[np.isin(processes, numberless)] = -1
    tracer = tgid == known.recorder
    if known.renumbered or numberless is not None:
        who = (shown + 1).astype(np.uint64) << np.uint64(9) | event << np.uint64(1) | tracer
        who = who << np.uint64(_COMM_BITS) | comm
        _, first, places = np.unique(who, return_index=True, return_inverse=True)
    else:
        first = places = np.arange(len(processes))
    place = places[np.searchsorted(processes, rows.keys >> np.uint64(PROCESS_BITS))].astype(np.uint64)
    zeroed = (rows.keys >> np.uint64(_COMM_BITS) & np.uint64(1)) * rows.sums[:2]
    return Costs(
        shown[first],
        comm[first],
        event[first],
        tracer[first],
        reduced(place, rows.sums).sums,
        reduced(place, zeroed).sums,
        _roots(rows, place),
        processes,
        places,
    )


def _names(rows: Rows) -> tuple[U64, U64]:
    """Return each process and event, sorted, and the number of its name: that of most of its events."""
    keys = rows.keys >> np.uint64(PROCESS_BITS) << np.uint64(_COMM_BITS) | rows.keys & np.uint64(_COMMS)
    counts = reduced(keys, rows.sums[:1])
    found = most(counts.keys, counts.sums[0], _COMM_BITS)
    return found >> np.uint64(_COMM_BITS), found & np.uint64(_COMMS)


def _roots(rows: Rows, place: U64) -> U64:
    """Return the root around most pages of each of the places, 0, 1, ..., that rows belong to."""
    keys = place << np.uint64(8) | rows.keys >> np.uint64(_COMM_BITS + 1) & np.uint64(0xFF)
    pages = reduced(keys, rows.sums[1:2])
    return most(pages.keys, pages.sums[0], 8) & np.uint64(0xFF)


def named(number: int) -> str | None:
    """Return the event of a number plus one; None for 0."""
    return NAMES[number - 1] if number else None
