# SPDX-License-Identifier: Apache-2.0
"""How often the recorder reads the rings, and when hotplug makes it read the state.

Rings that fill all the time are read every 10 ms.  A recorder of hotplug alone may be left
running for months.  It sleeps until the kernel wakes it (hot.* programs submit with
BPF_RB_FORCE_WAKEUP), and writes only when there is something to write.  Otherwise it wakes
four times a second to see whether it should end.
"""

from __future__ import annotations

import contextlib
import select
import time
from collections.abc import Collection, Iterable, Sequence

import numpy as np

from memtrace.probes.recorder.ring import Staging
from memtrace.probes.topics.events import NAMES

_POLL_S = 0.01
_IDLE_S = 0.25
_FULL = 0.25
_APART_S = 0.01
_CHECKPOINT_S = 600.0


class Pace:
    """Waits between two readings of the rings, and spaces checkpoints."""

    def __init__(self, wakers: Collection[int], *, prompt: bool) -> None:
        """Set up the waiting.

        ``wakers`` are the rings' file descriptors if all wanted events are rare, else empty.
        ``prompt`` says that the end of a command is waited for too, so waits are short.
        """
        self._epoll = select.epoll() if wakers else None
        self._wait_s = _POLL_S if prompt or not wakers else _IDLE_S
        self._quiet_since = time.monotonic()
        self.listen(wakers)

    def listen(self, wakers: Iterable[int]) -> None:
        """Let these rings wake the recorder too, if rings do."""
        if self._epoll is not None:
            for fd in wakers:
                self._epoll.register(fd, select.EPOLLIN)

    def wait(self, fullest: float, soon: bool) -> None:
        """Wait until the rings should be read again.

        ``fullest`` is how full the fullest ring was, from 0 to 1.  ``soon`` shortens the wait
        for a wakeup to 10 ms.
        """
        if self._epoll is not None:
            self._epoll.poll(_POLL_S if soon else self._wait_s)
        elif fullest < _FULL:
            time.sleep(_POLL_S)

    def worth_writing(self, staged: int, since_s: float) -> bool:
        """Return whether a checkpoint is due, ``since_s`` seconds after the last one.

        It is due for ``staged`` rows, and from time to time as a sign of life.  Checkpoints of
        an idle recorder are ever further apart, up to ten minutes, because each one makes the
        file longer.
        """
        now = time.monotonic()
        if staged or self._epoll is None:
            self._quiet_since = now
            return True
        return since_s >= min(_CHECKPOINT_S, now - self._quiet_since)

    def close(self) -> None:
        """Close the epoll file descriptor, if there is one."""
        if self._epoll is not None:
            with contextlib.suppress(OSError):
                self._epoll.close()


class HotplugWatch:
    """Tells when the state is to be read because hot.* records have come.

    It is read at once for the first record, then every 10 ms while more keep coming, and once
    after the last.
    """

    def __init__(self, events: Sequence[str]) -> None:
        self._numbers = [i for i, name in enumerate(NAMES) if name in events and name.startswith("hot.")]
        self._known = 0
        self._read_at = 0.0
        self.pending = False
        """Whether hot.* records have come since the state was last read."""

    @property
    def wanted(self) -> bool:
        """Whether hotplug is recorded at all."""
        return bool(self._numbers)

    def due(self, staging: Staging) -> bool:
        """Return whether the state should be read now, which the caller then does."""
        if not self._numbers:
            return False
        events = staging.since(self._known)["event"]
        self._known = staging.total
        if events.size and np.isin(events, self._numbers).any():
            self.pending = True
        now = time.monotonic()
        if not self.pending or now - self._read_at < _APART_S:
            return False
        self.pending = False
        self._read_at = now
        return True
