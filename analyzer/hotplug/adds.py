# SPDX-License-Identifier: Apache-2.0
"""The hot-adds of a run as objects: hot_adds, hot_spans and blocks, with the rows of each."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from memtrace.analyzer.hotplug.rows import Occurrence, Pfns

if TYPE_CHECKING:
    from memtrace.analyzer.model.staged import Model


@dataclass(frozen=True)
class Block:
    """One memory block (or, without hot.block, one onlined range) that came online."""

    outer: Occurrence
    """hot.block, else hot.online."""
    inside: tuple[Occurrence, ...]
    bytes: int
    onlined: int | None
    """Bytes that the allocator got; None if not counted (then at most the range)."""
    in_block: int | None
    """Bytes of struct pages inside the block itself; None if nobody saw whether there are any."""
    in_request: bool


@dataclass(frozen=True)
class HotAdd:
    """One hot-add that came about."""

    number: int
    start: int
    end: int
    """Of its work: the last of its blocks came online."""
    request_end: int
    requested: bool
    """Whether hot.request was seen."""
    origin: str
    nid: int | None
    bytes: int
    in_block: int
    """Bytes of struct pages inside its blocks."""
    pfns: Pfns
    spans: tuple[Occurrence, ...]
    """Intervals that hold all of its work."""
    rows: tuple[Occurrence, ...]
    """Every hot.* row of its own, each once."""
    blocks: tuple[Block, ...]
    removed: Occurrence | None
    """The removal after which nothing of it was left."""

    @property
    def outside(self) -> tuple[Block, ...]:
        """Blocks that came online after the request."""
        return tuple(block for block in self.blocks if not block.in_request)


_ADDS = """
SELECT a.add AS number, a.begin_ns AS start, a.end_ns AS end, r.end_ns AS request_end, r.requested, a.origin,
    a.nid, a.bytes, a.in_block_bytes AS in_block, (coalesce(a.pfn, 0), coalesce(a.end_pfn, 0)) AS pfns
FROM hot_adds AS a JOIN hot_requests AS r USING (add) ORDER BY a.add
"""
_SPANS = "SELECT add, id FROM hot_spans ORDER BY add, begin_ns, id"
_BLOCKS = """
SELECT add, id, bytes, onlined_bytes, in_block_bytes, in_request
FROM blocks WHERE block IS NOT NULL ORDER BY add, block
"""
_REMOVALS = "SELECT add, id FROM hot_removals WHERE whole ORDER BY add, begin_ns, id"


def hot_adds(model: Model, rows: Sequence[Occurrence]) -> tuple[HotAdd, ...]:
    """The hot-adds among ``rows``, all hot.* rows of the run, by their number."""
    model.need("hot_adds")
    by_id = {row.id: row for row in rows}
    inner: dict[int, list[Occurrence]] = defaultdict(list)
    for row in rows:
        inner[row.outer].append(row)
    spans = _grouped(model.tuples(_SPANS))
    blocks = _grouped(model.tuples(_BLOCKS))
    removals = _grouped(model.tuples(_REMOVALS))
    out = []
    for facts in model.query(_ADDS):
        number = facts["number"]
        own = [by_id[span] for (span,) in spans[number]]
        gone = removals[number]
        out.append(
            HotAdd(
                **facts,
                spans=tuple(own),
                rows=tuple(row for span in own for row in inner[span.id]),
                blocks=tuple(_block(by_id[id_], inner, rest) for id_, *rest in blocks[number]),
                removed=next((by_id[id_] for (id_,) in gone), None),
            )
        )
    return tuple(out)


def _grouped(rows: Iterable[tuple[Any, ...]]) -> dict[int, list[tuple[Any, ...]]]:
    """Rows by their first column, without it."""
    found: dict[int, list[tuple[Any, ...]]] = defaultdict(list)
    for number, *rest in rows:
        found[number].append(tuple(rest))
    return found


def _block(outer: Occurrence, inner: dict[int, list[Occurrence]], facts: Iterable[Any]) -> Block:
    inside = tuple(row for row in inner[outer.outer] if outer.holds(row))
    return Block(outer, inside, *facts)
