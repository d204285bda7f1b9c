# SPDX-License-Identifier: Apache-2.0
"""Lines of the kernel log that a trace has seen printed: the same moment on both clocks.

The tracepoint printk:console has each line's text, stamped by the trace's clock.
The log's own clock (local_clock(), kernel/sched/clock.c) follows ticks until
sched_clock is marked stable, late in the boot; ticks are lost while interrupts
are off, as they are in acceptance, and by as much the log's stamps fall behind.
So one offset cannot place them; line by line they can be.
"""

from __future__ import annotations

from bisect import bisect_right
from collections import Counter
from collections.abc import Sequence

from memtrace.traces.importers.parsed import POINT, Stamp

Knots = Sequence[tuple[int, int]]


def shared_lines(log: Sequence[tuple[int, str]], stamps: Sequence[Stamp]) -> list[tuple[int, int]]:
    """Stamp in the log and in the trace of each line that both have once, in order of time."""
    if not log:
        return []
    printed = [(s.args.strip(), s.ts_ns) for s in stamps if s.what == "console" and s.kind == POINT]
    once = {text for text, n in Counter(text for text, _ in printed).items() if n == 1}
    once &= {text for text, n in Counter(text for _, text in log).items() if n == 1}
    at = {text: ns for text, ns in printed if text in once}
    pairs = sorted((ns, at[text]) for ns, text in log if text in once)
    found: list[tuple[int, int]] = []
    for ours, theirs in pairs:
        # Lines printed at once may have one stamp in the log: the first stands for them.
        if not found or (ours > found[-1][0] and theirs >= found[-1][1]):
            found.append((ours, theirs))
    return found


def between(knots: Knots, ns: int) -> int:
    """What lies where ``ns`` does between two knots; beyond them, as far off as the nearest."""
    index = bisect_right(knots, (ns, 1 << 63))
    if index == 0:
        return ns + knots[0][1] - knots[0][0]
    x0, y0 = knots[index - 1]
    if index == len(knots):
        return ns + y0 - x0
    x1, y1 = knots[index]
    return y0 + (ns - x0) * (y1 - y0) // (x1 - x0)
