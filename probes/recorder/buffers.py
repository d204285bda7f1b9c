# SPDX-License-Identifier: Apache-2.0
"""Rings and the records copied out of them, sized to the machine and to what is streamed.

A CPU that is possible and not online has a small ring, so that nothing of it is lost when it
comes; it then gets one of full size.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Collection, Iterable
from dataclasses import dataclass

from memtrace.errors import MemtraceError
from memtrace.probes.machine.topology import online_cpus
from memtrace.probes.programs.module import Module
from memtrace.probes.recorder.ring import GUEST_RECORD, RECORD, Ring, Staging

_STAGED_RECORDS = 400_000
"""For rings of 32 MiB in all; fewer for smaller ones, which fill in less time than these take to write."""
_STAGED_RARE = 20_000
_OFFLINE_BYTES = 64 << 10
"""Some 740 records, for the time until the recorder looks for new CPUs."""


@dataclass(frozen=True)
class Streams:
    """What is streamed, as far as the size of buffers depends on it."""

    every: bool
    """Every event, as gmem.* always are; not only those above the tail threshold and of higher orders."""
    rare: bool
    """Only events of which there are few (hot.*)."""
    guests: bool
    """Records are GUEST_RECORDs."""


def memory_bytes() -> int:
    """Return the size of this machine's memory, as the kernel counts it (MemTotal)."""
    return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")


def default_ring_bytes(cpus: int, memory: int, every: bool) -> int:
    """Return the ring size per CPU, bytes: 16 MiB where every event is streamed, else 4 MiB.

    Halved until the rings of ``cpus`` take 1 % of ``memory``; at least 128 KiB, some 1,300 records.
    """
    size = (16 if every else 4) << 20
    while size * cpus > memory // 100 and size > 128 << 10:
        size >>= 1
    return size


class Buffers:
    """The rings of all possible CPUs, and ``staging``, which empties them."""

    def __init__(self, module: Module, possible: int, ring_bytes: int | None, streams: Streams) -> None:
        """Make them; ``ring_bytes`` is a power of two, None takes default_ring_bytes() of this machine.

        Raises MemtraceError if there is no memory for them.
        """
        self._module = module
        self._record = GUEST_RECORD if streams.guests else RECORD
        self._online = frozenset(online_cpus())
        self._size = ring_bytes or default_ring_bytes(len(self._online), memory_bytes(), streams.every)
        sizes = {cpu: min(self._size, _OFFLINE_BYTES) for cpu in range(possible)}
        sizes |= dict.fromkeys(self._online, self._size)
        self._full = set(self._online)
        made = module.add_rings(sizes)
        self.fds = tuple(made.values())
        rings = [Ring(fd, sizes[cpu], cpu, self._record) for cpu, fd in made.items()]
        fitting = _STAGED_RECORDS * len(self._online) * self._size >> 25
        staged = _STAGED_RARE if streams.rare else min(_STAGED_RECORDS, max(fitting, _STAGED_RARE))
        self.staging = Staging(rings, staged, self._record)

    def come(self, listen: Callable[[Iterable[int]], None]) -> Collection[int]:
        """Return the CPUs that came online since the last call, after giving them rings of full size.

        ``listen`` is called with the file descriptors of those.  Where there is no memory for them
        the small ones serve, and what finds no room is counted.
        """
        online = frozenset(online_cpus())
        came, self._online = online - self._online, online
        missing = sorted(came - self._full)
        if missing:
            with contextlib.suppress(MemtraceError):
                made = self._module.add_rings(dict.fromkeys(missing, self._size))
                # The small ones stay, in front: what is in them is older.
                self.staging.add([Ring(fd, self._size, cpu, self._record) for cpu, fd in made.items()])
                self._full |= made.keys()
                listen(made.values())
        return came
