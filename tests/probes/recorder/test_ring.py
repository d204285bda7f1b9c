# SPDX-License-Identifier: Apache-2.0
"""Records come out of a ring once, whole and in order, wherever its end lies in one of them.

The ring is a memfd, which the test fills as kernel/bpf/ringbuf.c does; the kernel's own are
read in tests/probes/recorder/test_recording.py.
"""

from __future__ import annotations

import mmap
import os
from collections.abc import Iterator

import numpy as np
import pytest

from memtrace.probes.recorder.ring import GUEST_RECORD, RECORD, Ring

PAGE, SIZE = mmap.PAGESIZE, 2 * mmap.PAGESIZE
BUSY = 1 << 31


class Kernel:
    """The writing side of a ring of SIZE bytes."""

    def __init__(self, fd: int, record_bytes: int) -> None:
        self._map = mmap.mmap(fd, 2 * PAGE + SIZE)
        self._producer = memoryview(self._map)[PAGE : PAGE + 8].cast("Q")
        self._consumer = memoryview(self._map)[:8].cast("Q")
        self._record_bytes = record_bytes
        self._written = 0

    def start_at(self, position: int) -> None:
        """Let both sides be here, as after ``position`` bytes."""
        self._producer[0] = self._consumer[0] = position

    def write(self, busy: bool = False) -> bool:
        """Write one record, each byte of it its number; return False if there is no room."""
        if self._producer[0] - self._consumer[0] + self._record_bytes > SIZE:
            return False
        number = self._written % 251
        length = self._record_bytes - 8 | (BUSY if busy else 0)
        self._put(self._producer[0], length.to_bytes(4, "little") + bytes(4))
        self._put(self._producer[0] + 8, bytes([number]) * (self._record_bytes - 8))
        self._producer[0] += self._record_bytes
        self._written += 1
        return True

    def finish(self, back: int) -> None:
        """Finish the record that was written ``back`` records before the newest."""
        at = self._producer[0] - (back + 1) * self._record_bytes
        self._put(at, (self._record_bytes - 8).to_bytes(4, "little"))

    def _put(self, position: int, data: bytes) -> None:
        for at, byte in enumerate(data, position):
            self._map[2 * PAGE + at % SIZE] = byte


@pytest.fixture
def fd() -> Iterator[int]:
    made = os.memfd_create("ring")
    os.ftruncate(made, 2 * PAGE + SIZE)
    yield made
    os.close(made)


def numbers(into: np.ndarray, count: int) -> list[int]:
    """Return the number of each record; the whole of its content must be that number."""
    content = into[:count].view(np.uint8).reshape(count, into.dtype.itemsize)[:, 8:]
    assert (content == content[:, :1]).all()
    return [int(n) for n in content[:, 0]]


@pytest.mark.parametrize("record", [RECORD, GUEST_RECORD])
@pytest.mark.parametrize("start", range(0, 400, 8))
def test_each_record_comes_once_wherever_the_end_lies(fd: int, record: np.dtype, start: int) -> None:
    kernel, ring = Kernel(fd, record.itemsize), Ring(fd, SIZE, 3, record)
    kernel.start_at(7 * SIZE - start)
    into, got, wanted = np.zeros(SIZE // record.itemsize, record), [], 0
    for _ in range(3):
        while kernel.write():
            wanted += 1
        count = ring.drain(into)
        got += numbers(into, count)
        assert (into["cpu"][:count] == 3).all() and ring.pending == 0
    assert got == [n % 251 for n in range(wanted)] and wanted > 3 * (SIZE // record.itemsize - 1)


@pytest.mark.parametrize("ahead", range(12))
def test_what_is_being_written_holds_up_what_follows_until_it_is_finished(fd: int, ahead: int) -> None:
    kernel, ring = Kernel(fd, RECORD.itemsize), Ring(fd, SIZE, 0)
    kernel.start_at(SIZE - 5 * RECORD.itemsize - 16)
    for number in range(12):
        kernel.write(busy=number == ahead)
    into = np.zeros(20, RECORD)
    assert numbers(into, ring.drain(into)) == list(range(ahead))
    assert ring.drain(into) == 0
    kernel.finish(11 - ahead)
    assert numbers(into, ring.drain(into)) == list(range(ahead, 12))


def test_no_more_is_taken_than_there_is_room_for(fd: int) -> None:
    kernel, ring = Kernel(fd, RECORD.itemsize), Ring(fd, SIZE, 0)
    for _ in range(10):
        kernel.write()
    into = np.zeros(4, RECORD)
    assert [numbers(into, ring.drain(into)) for _ in range(4)] == [
        [0, 1, 2, 3],
        [4, 5, 6, 7],
        [8, 9],
        [],
    ]
