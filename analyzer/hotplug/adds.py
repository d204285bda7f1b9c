# SPDX-License-Identifier: Apache-2.0
"""Which rows make up one hot-add: its request, what lies inside, and its blocks' onlining.

A hot-add begins with hot.request; where that was not seen, with hot.add rows whose ranges
follow each other in one thread.  Rows inside the request's interval, in its thread, are
its own.  Onlining may come later and in another thread (udev, an administrator): a block
is the hot-add's if it lies in its pfn range and comes online before its own range is
removed or added again.  So is a removal; a hot-add is removed when all of its range is,
in one removal or in several, and partly removed before.  Only the first onlining of each
block counts: one that follows an offlining (a removal that was refused brings back what it
had taken offline) is ``again``, no block more, and none of the hot-add's time.  So two
hot-adds that overlap in time are told apart by thread and by pfn range.  A request that
failed is no hot-add but a refusal (refusals.py).

gap_ns of a block: from the request's end to the start of its onlining, 0 where it came
online inside the request.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from memtrace.analyzer.hotplug.rows import Occurrence, of, within

Pfns = tuple[int, int]


@dataclass(frozen=True)
class Block:
    """One memory block (or, without hot.block, one onlined range) that came online."""

    outer: Occurrence
    """hot.block, else hot.online."""
    inside: tuple[Occurrence, ...]
    gap: int

    @property
    def online(self) -> Occurrence | None:
        found = of((self.outer, *self.inside), "hot.online")
        return found[0] if found else None

    @property
    def onlined(self) -> int | None:
        """Bytes that the allocator got; None if not counted (then at most the range)."""
        online = self.online
        return None if online is None or online.asked is None else online.bytes

    @property
    def in_block(self) -> int:
        """Bytes of struct pages inside the block itself."""
        return sum(row.bytes or 0 for row in of(self.inside, "hot.altmap"))


@dataclass(frozen=True)
class HotAdd:
    """One hot-add that came about."""

    number: int
    request: Occurrence
    """hot.request; where it was not seen, an interval round its hot.add rows."""
    requested: bool
    """Whether hot.request was seen."""
    inside: tuple[Occurrence, ...]
    blocks: tuple[Block, ...]
    again: tuple[Block, ...]
    """Onlinings of blocks that had been online before."""
    online: tuple[Block, ...]
    """The last onlining of each block that was still online at its removal, or the run's end."""
    removed: Occurrence | None
    """The removal after which nothing of it was left."""
    removed_bytes: int
    """Of its range, what was removed."""
    pfns: Pfns

    @property
    def adds(self) -> tuple[Occurrence, ...]:
        return of(self.inside, "hot.add")

    @property
    def bytes(self) -> int:
        return sum(row.bytes or 0 for row in self.adds) or self.request.size

    @property
    def nid(self) -> int | None:
        """The node: of arch_add_memory(), or the request's where that is all there is."""
        return next((row.nid for row in self.adds if row.nid is not None), self.request.nid)

    @property
    def outside(self) -> tuple[Block, ...]:
        """Blocks that came online after the request."""
        return tuple(block for block in self.blocks if not self.request.holds(block.outer))

    @property
    def windows(self) -> tuple[Occurrence, ...]:
        """Intervals that hold all of its work and do not overlap."""
        return (self.request, *(block.outer for block in self.outside))

    @property
    def rows(self) -> tuple[Occurrence, ...]:
        """Every hot.* row of its own, each once."""
        later = (row for block in self.outside for row in (block.outer, *block.inside))
        first = (self.request,) if self.requested else ()
        return (*first, *self.inside, *later)

    @property
    def end(self) -> int:
        """The last end of its work."""
        return max(window.end for window in self.windows)


def hot_adds(rows: Sequence[Occurrence], page_size: int) -> tuple[HotAdd, ...]:
    """The hot-adds in ``rows`` (sorted by start), numbered from 1 in the order of their start."""
    requests = [(row, True) for row in _requests(rows, page_size) if not row.failed]
    lone = [row for row in of(rows, "hot.add") if not any(r.holds(row) for r, _ in requests)]
    failed = [row for row in rows if row.event == "hot.request" and row.failed]
    lone = [row for row in lone if not any(r.holds(row) for r in failed)]
    requests += [(_around(group), False) for group in _contiguous(lone, page_size)]
    requests.sort(key=lambda pair: pair[0].start)
    ranges = [_range(row, rows, page_size) for row, _ in requests]
    return tuple(
        _hot_add(number, row, seen, ranges[number - 1], _later(number, requests, ranges), rows, page_size)
        for number, (row, seen) in enumerate(requests, 1)
    )


def _requests(rows: Sequence[Occurrence], page_size: int) -> list[Occurrence]:
    """hot.request rows; one of which only the beginning was seen reaches to the end of its hot.add rows."""
    out = []
    for row in rows:
        if row.event != "hot.request":
            continue
        if row.dur is None:
            low, high = row.pfns(page_size)
            inside = [
                r
                for r in rows
                if r.tid == row.tid
                and r.start >= row.end
                and r.event in ("hot.add", "hot.block", "hot.online")
                and low <= r.pfns(page_size)[0] < high
            ]
            end = max((r.end for r in inside), default=row.end)
            row = dataclasses.replace(row, end=end, dur=end - row.end)
        out.append(row)
    return out


def _contiguous(rows: Sequence[Occurrence], page_size: int) -> list[list[Occurrence]]:
    groups: list[list[Occurrence]] = []
    for row in rows:
        last = groups[-1][-1] if groups else None
        if last and last.tid == row.tid and last.pfns(page_size)[1] == row.pfn:
            groups[-1].append(row)
        else:
            groups.append([row])
    return groups


def _around(group: Sequence[Occurrence]) -> Occurrence:
    first, end = group[0], group[-1].end
    size = sum(row.size for row in group)
    return dataclasses.replace(first, event="hot.request", end=end, dur=end - first.start, own=0, bytes=size)


def _range(request: Occurrence, rows: Sequence[Occurrence], page_size: int) -> Pfns:
    ends = [row.pfns(page_size) for row in (request, *of(within(rows, request), "hot.add"))]
    known = [r for r in ends if r[1] > r[0]]
    return (min(r[0] for r in known), max(r[1] for r in known)) if known else (0, 0)


def _later(
    number: int, requests: Sequence[tuple[Occurrence, bool]], ranges: Sequence[Pfns]
) -> list[tuple[int, Pfns]]:
    """When later hot-adds begin, and their ranges."""
    begun = (row.start for row, _ in requests[number:])
    return list(zip(begun, ranges[number:], strict=True))


def _hot_add(
    number: int,
    request: Occurrence,
    seen: bool,
    pfns: Pfns,
    later: Sequence[tuple[int, Pfns]],
    rows: Sequence[Occurrence],
    page_size: int,
) -> HotAdd:
    def mine(ended: Sequence[tuple[int, Pfns]], *events: str) -> list[Occurrence]:
        """Rows in its range, before that part of it was ``ended``."""
        out = []
        for row in of(rows, *events):
            low, high = row.pfns(page_size)
            inside = pfns[0] <= low < high <= pfns[1] and row.start >= request.start
            if inside and not any(t <= row.start and meet(other, (low, high)) for t, other in ended):
                out.append(row)
        return out

    removals = mine(later, "hot.remove")
    ended = [*later, *((row.start, row.pfns(page_size)) for row in removals)]
    inside = within(rows, request)
    blocks = mine(ended, "hot.block")
    bare = [row for row in mine(ended, "hot.online") if not any(b.holds(row) for b in blocks)]
    outers = sorted((*blocks, *bare), key=lambda row: row.start)
    all_ = [
        Block(row, within(rows, row), 0 if request.holds(row) else max(row.start - request.end, 0))
        for row in outers
    ]
    first, again = _first(all_)
    gone = [merged(row.pfns(page_size) for row in removals[: at + 1]) for at in range(len(removals))]
    last = next((row for row, pages in zip(removals, gone, strict=True) if pages >= pfns[1] - pfns[0]), None)
    return HotAdd(
        number,
        request,
        seen,
        tuple(row for row in inside if row.event != "hot.request"),
        first,
        again,
        _still(all_, mine(ended, "hot.offline"), page_size),
        last,
        (gone[-1] if gone else 0) * page_size,
        pfns,
    )


def meet(one: Pfns, other: Pfns) -> bool:
    """Whether two ranges have a page in common."""
    return one[0] < other[1] and other[0] < one[1]


def merged(ranges: Iterable[Pfns]) -> int:
    """Pages in at least one of the ranges."""
    total, reached = 0, 0
    for low, high in sorted(ranges):
        total += max(high - max(low, reached), 0)
        reached = max(reached, high)
    return total


def _first(blocks: Sequence[Block]) -> tuple[tuple[Block, ...], tuple[Block, ...]]:
    """The first onlining of each block, and those that came after."""
    first: dict[int | None, Block] = {}
    again = [block for block in blocks if first.setdefault(block.outer.pfn, block) is not block]
    return tuple(first.values()), tuple(again)


def _still(blocks: Sequence[Block], offline: Sequence[Occurrence], page_size: int) -> tuple[Block, ...]:
    """The last onlining of each block, without those that an offlining followed."""

    def ended(block: Block) -> bool:
        low, high = block.outer.pfns(page_size)
        later = (row.pfns(page_size) for row in offline if row.start >= block.outer.end)
        return any(start < high and low < end for start, end in later)

    last = {block.outer.pfn: block for block in blocks}
    return tuple(block for block in last.values() if not ended(block))
