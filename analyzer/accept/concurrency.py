# SPDX-License-Identifier: Apache-2.0
"""What was accepted with how many CPUs inside accept_memory() at once: the curves of each node.

Time is cut wherever a CPU enters or leaves accept_memory(); each piece belongs
to the number of CPUs inside it then.  Of calls that are partly in a window, that part
counts, and the call itself if it ended in it.  The memory of one accept is spread evenly over
its time: of ``accept.arch``, so that waiting accepts nothing; of the whole call where that
has no site.  Exact but for the even spreading; with durations asked only.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from memtrace.analyzer.accept.intervals import sweep
from memtrace.analyzer.accept.rows import ARCH, UNKNOWN, Accepts, Spans

if TYPE_CHECKING:
    from memtrace.analyzer.accept.rows import Floats, Ints

STRETCHES = 20


@dataclass(frozen=True)
class Point:
    """What was seen with exactly ``cpus`` CPUs inside."""

    cpus: int
    wall_ns: int
    calls: int
    bytes: float | None
    """None where the memory of an accept is unknown."""
    wait_share: float | None
    error: float
    """One standard error of bytes / wall_ns, in bytes per ns."""

    @property
    def rate(self) -> float:
        """Bytes per ns; 0 where the memory is unknown."""
        return (self.bytes or 0.0) / self.wall_ns


Curves = Mapping[int | None, tuple[Point, ...]]
"""The points of each node, and of the machine (None) if it has several with accepts."""


def curves(accepts: Accepts, window: tuple[int, int] | None = None) -> Curves:
    """All curves of some accepts, of what lies in the window."""
    import numpy as np

    known = np.unique(accepts.work.nid).tolist()
    nids: list[int | None] = [nid for nid in known if nid != UNKNOWN]
    if known != nids or len(nids) != 1:
        nids.insert(0, None)
    return {nid: curve(accepts, nid, window) for nid in nids}


def curve(accepts: Accepts, nid: int | None, window: tuple[int, int] | None = None) -> tuple[Point, ...]:
    """The points of a node, or of the machine for None; none without durations."""
    inside = _of(accepts.call, nid, window)
    if not len(inside):
        return ()
    work = _of(accepts.work, nid, window)
    # A call of which no platform's accept was seen accepted nothing, or does not tell waiting apart.
    arch = work.event.equal(ARCH)
    apart = bool((arch | (work.bytes == 0)).all())
    times, (cpus, rate, working) = sweep(
        [_count(inside), _rate(work), _count(work.where(arch))],
    )
    sized = bool((work.size != UNKNOWN).all())
    ends = inside.end if window is None else inside.end[inside.end < window[1]]
    return _points(times, cpus.astype("int64"), rate, working if apart else None, ends, sized)


def _of(spans: Spans, nid: int | None, window: tuple[int, int] | None) -> Spans:
    """Those with durations, cut to the window; ``dur`` is still that of the whole."""
    import numpy as np

    chosen = spans.timed & (spans.dur > 0)
    found = spans.where(chosen if nid is None else chosen & (spans.nid == nid))
    if window is None:
        return found
    begin, end = np.maximum(found.begin, window[0]), np.minimum(found.end, window[1])
    return replace(found, begin=begin, end=end).where(end > begin)


def _count(spans: Spans) -> tuple[Ints, Floats]:
    import numpy as np

    one = np.ones(len(spans))
    return np.concatenate((spans.begin, spans.end)), np.concatenate((one, -one))


def _rate(spans: Spans) -> tuple[Ints, Floats]:
    import numpy as np

    each = np.maximum(spans.size, 0) / spans.dur
    return np.concatenate((spans.begin, spans.end)), np.concatenate((each, -each))


def _points(
    times: Ints, cpus: Ints, rate: Floats, working: Floats | None, ends: Ints, sized: bool
) -> tuple[Point, ...]:
    import numpy as np

    wall = np.diff(times)
    cpus, rate = cpus[:-1], rate[:-1]
    ended = cpus[np.maximum(np.searchsorted(times, ends) - 1, 0)]
    points = []
    for k in np.unique(cpus[cpus > 0]).tolist():
        at = cpus == k
        took, done = wall[at], np.maximum(rate[at], 0) * wall[at]
        share = None
        if working is not None:
            share = float(np.clip(1 - (working[:-1][at] * took).sum() / (k * took.sum()), 0, 1))
        points.append(
            Point(
                cpus=k,
                wall_ns=int(took.sum()),
                calls=int((ended == k).sum()),
                bytes=float(done.sum()) if sized else None,
                wait_share=share,
                error=_error(took, done),
            )
        )
    return tuple(points)


def _error(wall: Ints, done: Floats) -> float:
    """Standard error of sum(done) / sum(wall), from stretches of equal wall time, each left out once."""
    import numpy as np

    total = wall.sum()
    stretch = np.minimum((np.cumsum(wall) - wall) * STRETCHES // max(int(total), 1), STRETCHES - 1)
    walls = np.bincount(stretch, weights=wall, minlength=STRETCHES)
    dones = np.bincount(stretch, weights=done, minlength=STRETCHES)
    some = walls > 0
    n = int(some.sum())
    if n < 2:
        return float("inf")
    rates = (done.sum() - dones[some]) / (total - walls[some])
    return float(np.sqrt((n - 1) / n * ((rates - rates.mean()) ** 2).sum()))
