# SPDX-License-Identifier: Apache-2.0
"""Reading BPF ring buffers of fixed-size records by mapping them.

A ring (kernel/bpf/ringbuf.c) is a consumer page, a producer page and the data,
mapped twice back to back so that no record wraps.  Each record has an 8-byte
header: its length, whose top bit says that it is still being written, and a page
offset of no use here.  Records are copied out in one piece, and the unused half
of the header then carries the CPU.  No Python runs per record.

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
_BUSY = np.uint32(1 << 31)
UNKNOWN_U64 = np.uint64(2**64 - 1)
UNKNOWN_U32 = np.uint32(2**32 - 1)
NO_PARENT = 255
CGROUP_SHIFT = 16
"""Above this bit of a record's flags is the task's cgroup: its place, plus one, in its CPU's table."""


def _behind_header(layout: Layout) -> np.dtype[Any]:
    """The type of a record with its ring header: the length, then, once copied out, the CPU."""
    fields = (layout.dtype.fields or {}).items()
    names = ["length", "cpu", *(name for name, _ in fields)]
    formats = ["<u4", "<u4", *(place[0] for _, place in fields)]
    offsets = [0, 4, *(_HEADER + int(place[1]) for _, place in fields)]
    size = _HEADER + layout.dtype.itemsize
    return np.dtype({"names": names, "formats": formats, "offsets": offsets, "itemsize": size})


RECORD = _behind_header(layouts.RECORD)
GUEST_RECORD = _behind_header(layouts.GUEST_RECORD)


class Ring:
    """One CPU's ring."""

    def __init__(self, fd: int, size: int, cpu: int) -> None:
        """Map the ring ``fd`` of ``size`` data bytes (a power of two)."""
        self._mask = size - 1
        self.size = size
        self.cpu = cpu
        page = mmap.PAGESIZE
        # Populated now: a fault while recording would be an allocation of the recorder's own.
        flags = mmap.MAP_SHARED | mmap.MAP_POPULATE
        self._consumer_map = mmap.mmap(fd, page, flags, mmap.PROT_READ | mmap.PROT_WRITE)
        self._data_map = mmap.mmap(fd, page + 2 * size, flags, mmap.PROT_READ, offset=page)
        # Not numpy's numbers, which cost more to read: it is done a hundred times a second for each CPU.
        self._consumer = memoryview(self._consumer_map)[:8].cast("Q")
        self._producer = memoryview(self._data_map)[:8].cast("Q")
        self._data = np.frombuffer(self._data_map, dtype=np.uint8, offset=page, count=2 * size)

    @property
    def pending(self) -> int:
        """Bytes written and not yet consumed."""
        return self._producer[0] - self._consumer[0]

    def drain(self, into: npt.NDArray[Any]) -> int:
        """Copy finished records to the front of ``into`` (of their type), free them, return how many."""
        start = self._consumer[0]
        size = into.dtype.itemsize
        count = min(self.pending // size, len(into))
        if count <= 0:
            return 0
        at = start & self._mask
        chunk = self._data[at : at + count * size].view(into.dtype)
        busy = np.flatnonzero(chunk["length"] != size - _HEADER)
        if busy.size:
            count = int(busy[0])
            if count == 0:
                return 0
        # As bytes: numpy copies a structured array field by field, at six times the cost.
        into.view(np.uint8)[: count * size] = self._data[at : at + count * size]
        into["cpu"][:count] = self.cpu
        self._consumer[0] = start + count * size
        return count


class Staging:
    """Records copied out of the rings, waiting to become a row group."""

    def __init__(self, rings: Sequence[Ring], capacity: int, record: np.dtype[Any] = RECORD) -> None:
        self._rings = rings
        self._records = np.zeros(capacity, dtype=record)
        self._records.view(np.uint8)[:: mmap.PAGESIZE] = 0
        self.count = 0
        self._taken = 0

    @property
    def full(self) -> bool:
        """Whether it should be flushed before more is taken."""
        return self.count >= len(self._records) // 2

    def fill(self) -> float:
        """Take what the rings hold; returns how full the fullest ring was."""
        fullest = 0.0
        for ring in self._rings:
            if pending := ring.pending:
                fullest = max(fullest, pending / ring.size)
                self.count += ring.drain(self._records[self.count :])
        return fullest

    @property
    def total(self) -> int:
        """How many records have been staged so far."""
        return self._taken + self.count

    def since(self, total: int) -> npt.NDArray[Any]:
        """The records staged since there were ``total``, less those taken; valid until the next take()."""
        return self._records[max(total - self._taken, 0) : self.count]

    def take(self) -> npt.NDArray[Any]:
        """The staged records, valid until the next fill()."""
        taken = self._records[: self.count]
        self._taken += self.count
        self.count = 0
        return taken
