# SPDX-License-Identifier: Apache-2.0
"""Reads BPF ring buffers of fixed-size records by mapping them.

A ring (kernel/bpf/ringbuf.c) is a consumer page, a producer page and the data.  Each record
has an 8-byte header: its length, whose top bit says that it is still being written, and a page
offset, which is not needed here.  Records are copied out in at most two pieces, because one may
go on at the beginning of the data, and the CPU then takes the place of the page offset.  (The
kernel lets the data be mapped twice, back to back, which would count twice as resident.)  No
Python runs per record.

Plain loads and stores are enough on x86-64: the kernel publishes with an atomic
exchange, and loads are not reordered with loads there.
"""

from __future__ import annotations

import mmap
from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from memtrace.probes.recorder import layouts
from memtrace.probes.recorder.layouts import Layout

_HEADER = 8
UNKNOWN_U64 = np.uint64(2**64 - 1)
NO_PARENT = 255
CGROUP_SHIFT = 16
"""From this bit up, a record's flags hold the task's cgroup: its slot in its CPU's table, plus one."""


def _behind_header(layout: Layout) -> np.dtype[Any]:
    """Return the type of a record with its ring header: the length, then the CPU once it is copied out."""
    fields = (layout.dtype.fields or {}).items()
    names = ["length", "cpu", *(name for name, _ in fields)]
    formats = ["<u4", "<u4", *(place[0] for _, place in fields)]
    offsets = [0, 4, *(_HEADER + int(place[1]) for _, place in fields)]
    size = _HEADER + layout.dtype.itemsize
    return np.dtype({"names": names, "formats": formats, "offsets": offsets, "itemsize": size})


RECORD = _behind_header(layouts.RECORD)
GUEST_RECORD = _behind_header(layouts.GUEST_RECORD)


class Ring:
    """The ring buffer of one CPU."""

    def __init__(self, fd: int, size: int, cpu: int, record: np.dtype[Any] = RECORD) -> None:
        """Map the ring ``fd`` of ``size`` data bytes (a power of two), which holds ``record``s."""
        self._mask = size - 1
        self._record_bytes = record.itemsize
        self.size = size
        self.cpu = cpu
        page = mmap.PAGESIZE
        # Populated now, because a fault while recording would be an allocation of the recorder's own.
        flags = mmap.MAP_SHARED | mmap.MAP_POPULATE
        self._consumer_map = mmap.mmap(fd, page, flags, mmap.PROT_READ | mmap.PROT_WRITE)
        self._data_map = mmap.mmap(fd, page + size, flags, mmap.PROT_READ, offset=page)
        # Read a hundred times a second for each CPU, where numpy's numbers would cost more.
        self._consumer = memoryview(self._consumer_map)[:8].cast("Q")
        self._producer = memoryview(self._data_map)[:8].cast("Q")
        self._data = np.frombuffer(self._data_map, dtype=np.uint8, offset=page, count=size)

    @property
    def pending(self) -> int:
        """Bytes written and not yet consumed."""
        return self._producer[0] - self._consumer[0]

    def drain(self, into: npt.NDArray[Any]) -> int:
        """Copy finished records to the front of ``into``, free them in the ring, and return their number.

        ``into`` has the type of the ring's records.
        """
        start = self._consumer[0]
        at = start & self._mask
        count = self._finished(at, min(self.pending // self._record_bytes, len(into)))
        if count == 0:
            return 0
        size = count * self._record_bytes
        before_end = min(size, self.size - at)
        # Copied as bytes, because numpy copies a structured array field by field, at six times the cost.
        copy = into.view(np.uint8)[:size]
        copy[:before_end] = self._data[at : at + before_end]
        copy[before_end:] = self._data[: size - before_end]
        into["cpu"][:count] = self.cpu
        self._consumer[0] = start + size
        return count

    def _finished(self, at: int, count: int) -> int:
        """Return how many of the ``count`` records from ``at`` on come before one that is being written."""
        before_end = min(count, -((at - self.size) // self._record_bytes))
        beyond = at + before_end * self._record_bytes - self.size
        found = 0
        for first, number in ((at, before_end), (beyond, count - before_end)):
            if number <= 0:
                break
            lengths: npt.NDArray[np.uint32] = np.ndarray(
                number, "<u4", self._data_map, mmap.PAGESIZE + first, (self._record_bytes,)
            )
            busy = np.flatnonzero(lengths != self._record_bytes - _HEADER)
            if busy.size:
                return found + int(busy[0])
            found += number
        return found


class Staging:
    """Records copied out of the rings, waiting to become a row group."""

    def __init__(self, rings: Sequence[Ring], capacity: int, record: np.dtype[Any] = RECORD) -> None:
        self._rings = list(rings)
        self._records = np.zeros(capacity, dtype=record)
        self._records.view(np.uint8)[:: mmap.PAGESIZE] = 0
        self.count = 0
        self._taken = 0

    def add(self, rings: Sequence[Ring]) -> None:
        """Empty these rings too, after those that are there."""
        self._rings += rings

    @property
    def full(self) -> bool:
        """Whether the staged records should be flushed before more are taken."""
        return self.count >= len(self._records) // 2

    def fill(self) -> float:
        """Copy what the rings hold; return how full the fullest ring was, from 0 to 1."""
        fullest = 0.0
        for ring in self._rings:
            if pending := ring.pending:
                fullest = max(fullest, pending / ring.size)
                self.count += ring.drain(self._records[self.count :])
        return fullest

    @property
    def total(self) -> int:
        """Number of records staged so far, including those taken."""
        return self._taken + self.count

    def since(self, total: int) -> npt.NDArray[Any]:
        """Return the records staged after the first ``total``, without those taken.

        They are valid until the next take().
        """
        return self._records[max(total - self._taken, 0) : self.count]

    def drop(self) -> None:
        """Empty the rings, as far as their records find room, and the buffer."""
        self.fill()
        self.take()

    def take(self) -> npt.NDArray[Any]:
        """Return the staged records and empty the buffer; they are valid until the next fill()."""
        taken = self._records[: self.count]
        self._taken += self.count
        self.count = 0
        return taken
