# SPDX-License-Identifier: Apache-2.0
"""The chain of events around each interval, as one number: a path, outermost event first.

Paths are few however many intervals there are (a kernel nests in few ways), so that
sums by path are small.  Work is linear in the intervals.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    from memtrace.analyzer.nesting import Nesting

    Ints = npt.NDArray[np.int64]

NO_PATH = -1


class Paths:
    """Numbers the paths as they are met."""

    def __init__(self, events: int) -> None:
        """``events``: how many events there are; they are numbered from 0."""
        self._events = events
        self._numbers: dict[tuple[int, int], int] = {}

    def __len__(self) -> int:
        return len(self._numbers)

    @property
    def steps(self) -> list[tuple[int, int]]:
        """Of each path by number: the path around it (NO_PATH for none, else a smaller number), its event."""
        return list(self._numbers)

    def of(self, event: Ints, nested: Nesting) -> Ints:
        """Shape (n,): the path of each interval; ``event`` of shape (n,), with their nesting."""
        import numpy as np

        paths = np.full(len(event), NO_PATH, dtype=np.int64)
        for depth, level in enumerate(nested.levels):
            around = paths[nested.parent[level]] if depth else np.full(len(level), NO_PATH)
            paths[level] = self._numbered(around, event[level])
        return paths

    def _numbered(self, around: Ints, event: Ints) -> Ints:
        """The number of each pair, new pairs numbered."""
        import numpy as np

        keys = (around + 1) * self._events + event
        used = np.zeros((len(self) + 1) * self._events, dtype=bool)
        used[keys] = True
        numbers = np.zeros(len(used), dtype=np.int64)
        for key in np.flatnonzero(used).tolist():
            pair = key // self._events - 1, key % self._events
            numbers[key] = self._numbers.setdefault(pair, len(self._numbers))
        found: Ints = numbers[keys]
        return found
