# SPDX-License-Identifier: Apache-2.0
"""What became of the memory that was accepted: its pages' first allocation, and whether that was zeroed.

redundant.py defines the figures.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from memtrace.analyzer.accept.rows import UNKNOWN, Accepts, Spans, pieces
from memtrace.analyzer.facts import init_on
from memtrace.traces.derived import tells_zeroing
from memtrace.traces.lost import known_losses

if TYPE_CHECKING:
    from memtrace.analyzer.accept.rows import Ints
    from memtrace.analyzer.model.staged import Model
    from memtrace.traces.reader import Run

ROWS = 1 << 18
"""Allocations looked at together."""
PAGES = 1 << 20
"""Pages that are written down one by one at a time."""
SPAN = 1 << 23
"""Page frames looked at together, at 9 bytes each; more are looked at in parts."""


@dataclass(frozen=True)
class Reuse:
    """Pages that were accepted, by what first became of them."""

    accepted_bytes: int | None
    zeroed_bytes: int | None
    used_bytes: int | None
    bound: str
    """exact, at most, at least, estimated or unknown."""
    partial: bool = False
    """``accepted_bytes`` is a bound from below: where some memory lies, or how much it is, is unknown."""


def reuse(model: Model, accepts: Accepts) -> Reuse:
    """What became of the memory accepted in this run."""
    run = model.run
    found = _seen_uses(model, accepts)
    if found.zeroed_bytes is not None and uses_missed(run):
        return dataclasses.replace(found, bound="estimated")
    return found


def uses_missed(run: Run) -> str:
    """Why the first use of memory may have passed unseen; empty where it may not."""
    lost = known_losses(run.status)
    filters = f"filters were on ({', '.join(run.header.filters)})" if run.header.filters else ""
    return "; ".join(filter(None, (f"{lost} events were lost" if lost else "", filters)))


def _seen_uses(model: Model, accepts: Accepts) -> Reuse:
    """The same, of the allocations in the file."""
    run, spans = model.run, pieces(model)
    known = (spans.pfn != UNKNOWN) & (spans.size > 0)
    partial = accepts.summed > 0 or bool((~known & (spans.size != 0)).any())
    spans = spans.where(known)
    accepted = int(spans.size.sum()) if len(spans) else None
    if accepted is None or "alloc" not in run.header.events or not tells_zeroing(*init_on(run.header)):
        return Reuse(accepted, None, None, "unknown", partial)
    since = int(spans.end.min())
    (uses,) = model.query(_USES, {"since": since})
    summed, zeroed = uses["summed"], uses["zeroed"]
    if summed and partial:
        return Reuse(accepted, None, None, "unknown", partial)
    if summed:
        return Reuse(accepted, min(accepted, int(zeroed)), None, "at most")
    zeroed_pages, used_pages = _first_uses(model, spans, since)
    page = run.header.page_size
    return Reuse(
        accepted, zeroed_pages * page, used_pages * page, "at least" if partial else "exact", partial
    )


def _first_uses(model: Model, spans: Spans, since: int) -> tuple[int, int]:
    """Pages accepted whose first allocation since was zeroed, and those that had any."""
    import numpy as np

    first, end = spans.pfn, spans.pfn + spans.size // model.run.header.page_size
    zeroed_pages = used_pages = 0
    for low, high in stretches(first, end):
        touching = (first < high) & (end > low)
        ready = _ready(first[touching], end[touching], spans.end[touching], low, high)
        state = np.zeros(high - low, dtype=np.int8)
        for pfn, order, zeroed, ts in _allocations(model, since, low, high):
            _note(state, ready, pfn - low, order, zeroed, ts)
        zeroed_pages += int((state == 1).sum())
        used_pages += int((state != 0).sum())
    return zeroed_pages, used_pages


def stretches(first: Ints, end: Ints) -> Iterator[tuple[int, int]]:
    """Stretches of at most SPAN page frames, apart from each other, that hold all ranges [first, end)."""
    import numpy as np

    rank = np.argsort(first, kind="stable")
    first, reached = first[rank], np.maximum.accumulate(end[rank])
    low = int(first[0])
    while True:
        begun = int(np.searchsorted(first, low + SPAN))
        last = int(reached[begun - 1])
        high = min(low + SPAN, last)
        yield low, high
        if last == high and begun == len(first):
            return
        low = high if last > high else int(first[begun])


def _ready(first: Ints, end: Ints, at: Ints, low: int, high: int) -> Ints:
    """When each page of [low, high) was accepted, the largest integer where it was not.

    ``first``, ``end``, ``at``: ranges of pages, and when each had been accepted, shape (n,).
    """
    import numpy as np

    ready = np.full(high - low, np.iinfo(np.int64).max, dtype=np.int64)
    # Latest first, so that of several accepts of a page the earliest is written last.
    latest = np.argsort(-at, kind="stable")
    start = np.maximum(first, low)
    pages = np.minimum(end, high) - start
    for part in _parts(pages[latest]):
        chosen = latest[part]
        ready[_expanded(start[chosen] - low, pages[chosen])] = np.repeat(at[chosen], pages[chosen])
    return ready


def _parts(sizes: Ints) -> list[Ints]:
    """The positions 0 … n - 1, split so that the sizes of a part sum to about PAGES."""
    import numpy as np

    edges = np.flatnonzero(np.diff(np.cumsum(sizes) // PAGES)) + 1
    return np.split(np.arange(len(sizes)), edges)


def _expanded(first: Ints, sizes: Ints) -> Ints:
    """The numbers from each ``first`` on, as many as its size, one after the other."""
    import numpy as np

    pages: Ints = np.repeat(first - (np.cumsum(sizes) - sizes), sizes) + np.arange(sizes.sum())
    return pages


def _allocations(model: Model, since: int, low: int, high: int) -> Any:
    """Allocations of pages in [low, high) in the order of time: pfn, order, zeroed, ts_ns, in batches."""
    for batch in model.batches(_BY_TIME, {"since": since, "low": low, "high": high}, ROWS):
        yield tuple(column.to_numpy(zero_copy_only=False) for column in batch.columns)


_USES = """
SELECT
    coalesce(sum("count") FILTER (flags & 32 <> 0), 0)::BIGINT AS summed,
    coalesce(sum(bytes) FILTER (flags & 1 <> 0), 0)::BIGINT AS zeroed
FROM events WHERE event::VARCHAR = 'alloc' AND ts_ns >= $since AND flags & 256 = 0
"""
_BY_TIME = """
SELECT pfn, "order"::BIGINT, (flags & 1 <> 0)::TINYINT, ts_ns FROM events
WHERE event::VARCHAR = 'alloc' AND ts_ns >= $since AND pfn < $high AND "order" IS NOT NULL
    AND pfn + (1::BIGINT << "order"::BIGINT) > $low AND flags & 256 = 0
ORDER BY ts_ns
"""


def _note(state: Any, ready: Ints, first: Ints, order: Ints, zeroed: Any, ts: Ints) -> None:
    """Marks pages by their first allocation since they were accepted: 1 zeroed, 2 not."""
    import numpy as np

    sizes = np.int64(1) << order
    for part in _parts(sizes):
        page = _expanded(first[part], sizes[part])
        when, is_zeroed = np.repeat(ts[part], sizes[part]), np.repeat(zeroed[part], sizes[part])
        inside = (page >= 0) & (page < len(state))
        page, when, is_zeroed = page[inside], when[inside], is_zeroed[inside]
        fresh = (state[page] == 0) & (when >= ready[page])
        page, is_zeroed = page[fresh], is_zeroed[fresh]
        # Backwards, so that of several allocations of a page the earliest is written last.
        state[page[::-1]] = np.where(is_zeroed, 1, 2)[::-1]
