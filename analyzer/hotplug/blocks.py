# SPDX-License-Identifier: Apache-2.0
"""Memory blocks: how long each took to come online, how much of it did, what is left in one piece.

online_ns: hot.block from entry to return (hot.online where hot.block was not seen), nested
events included.  The first block of a hot-add pays what is done once for a node or zone
(zonelists, per-CPU page lists), so it is never part of a median.  onlined_bytes: pages that
generic_online_page() gave to the allocator; less than the block where a balloon driver
brings a part of it online, or where the block holds its own struct pages.  contiguous_bytes:
the longest range of the block not taken by its own struct pages, which lie at its start.
Where a block holds struct pages that were not seen themselves (hot.altmap), what depends
on them is unknown.  gigantic: ranges of 1 GiB, aligned, that the onlined blocks of a
hot-add could give with struct pages elsewhere and as they are: an upper bound of 1 GiB
pages.
"""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from typing import Any

from memtrace.analyzer.hotplug.adds import Block, HotAdd
from memtrace.analyzer.hotplug.memmap import knows_in_block
from memtrace.analyzer.hotplug.rows import of
from memtrace.analyzer.tables import Column, Table

GIGANTIC = 1 << 30
TOP = 12
Range = tuple[int, int]


def _size(block: Block) -> int:
    """Bytes of the whole block: without hot.block, what was brought online of it."""
    return block.outer.size


def table(adds: Sequence[HotAdd], seen: frozenset[str]) -> Table:
    """One row for each block, in the order of onlining."""
    rows: list[dict[str, Any]] = []
    for add in adds:
        known = knows_in_block(add, seen)
        for place, block in enumerate(add.blocks):
            inside = (block.outer, *block.inside)
            rows.append(
                {
                    "add": add.number,
                    "block": place,
                    "pfn": block.outer.pfn,
                    "nid": block.outer.nid,
                    "bytes": _size(block),
                    "onlined_bytes": block.onlined,
                    "in_block_bytes": block.in_block if known else None,
                    "contiguous_bytes": _size(block) - block.in_block if known else None,
                    "start_ns": block.outer.start,
                    "gap_ns": block.gap,
                    "online_ns": block.outer.dur,
                    "init_ns": _time(inside, "hot.init"),
                    "zone_ns": _time(inside, "hot.zone"),
                }
            )
    columns = (
        Column("add", "add", "number"),
        Column("block", "block", "number"),
        Column("nid", "node", "number"),
        Column("bytes", "memory", "bytes"),
        Column("onlined_bytes", "onlined", "bytes"),
        Column("in_block_bytes", "memmap", "bytes", if_any=True),
        Column("contiguous_bytes", "in one piece", "bytes"),
        Column("gap_ns", "gap", "ns"),
        Column("online_ns", "online", "ns"),
        Column("zone_ns", "zone", "ns"),
        Column("init_ns", "init", "ns"),
    )
    names = tuple(rows[0]) if rows else _NAMES
    notes = () if rows else ("no block came online",)
    title = "Blocks, as they came online (the first of a hot-add pays for its node and zone)"
    return Table("blocks", title, names, tuple(rows), columns, keys=2, top=TOP, notes=notes)


_NAMES = (
    "add",
    "block",
    "pfn",
    "nid",
    "bytes",
    "onlined_bytes",
    "in_block_bytes",
    "contiguous_bytes",
    "start_ns",
    "gap_ns",
    "online_ns",
    "init_ns",
    "zone_ns",
)


def _time(rows: Sequence[Any], event: str) -> int | None:
    found = [row.dur for row in of(rows, event) if row.dur is not None]
    return sum(found) if found else None


def firsts(adds: Sequence[HotAdd], seen: frozenset[str]) -> Table:
    """One row for each hot-add with blocks: the first block's time beside the rest's."""
    rows: list[dict[str, Any]] = []
    for add in adds:
        if not add.blocks:
            continue
        rest = [block.outer.dur for block in add.blocks[1:] if block.outer.dur is not None]
        without, left = gigantic(add)
        onlined = [block.onlined for block in add.blocks]
        known = knows_in_block(add, seen)
        rows.append(
            {
                "add": add.number,
                "blocks": len(add.blocks),
                "first_ns": add.blocks[0].outer.dur,
                "rest_p50_ns": round(statistics.median(rest)) if rest else None,
                "rest_max_ns": max(rest, default=None),
                "partly_online": None
                if None in onlined or not known
                else sum(
                    (size or 0) < _size(block) - block.in_block
                    for size, block in zip(onlined, add.blocks, strict=True)
                ),
                "gigantic_without": without,
                "gigantic": left if known else None,
            }
        )
    columns = (
        Column("add", "add", "number"),
        Column("blocks", "blocks", "count"),
        Column("first_ns", "first", "ns"),
        Column("rest_p50_ns", "rest p50", "ns"),
        Column("rest_max_ns", "rest max", "ns"),
        Column("partly_online", "partly online", "number"),
        Column("gigantic_without", "1G ranges", "number"),
        Column("gigantic", "as it is", "number"),
    )
    names = tuple(column.name for column in columns)
    notes = ("1G ranges: with struct pages elsewhere; as it is: those not cut by them.",) if rows else ()
    return Table("firsts", "First block and the rest", names, tuple(rows), columns, top=20, notes=notes)


def gigantic(add: HotAdd) -> tuple[int, int]:
    """Aligned 1 GiB ranges in the hot-add's online blocks: were struct pages elsewhere, and as it is."""
    page = _page(add)
    whole = [_bytes_of(block, page, 0) for block in add.blocks]
    left = [_bytes_of(block, page, block.in_block) for block in add.blocks]
    return _ranges(whole), _ranges(left)


def _page(add: HotAdd) -> int:
    low, high = add.pfns
    return add.bytes // (high - low) if high > low and add.bytes else 4096


def _bytes_of(block: Block, page: int, skip: int) -> Range:
    start = (block.outer.pfn or 0) * page
    return start + skip, start + _size(block)


def _ranges(parts: Sequence[Range]) -> int:
    merged: list[Range] = []
    for low, high in sorted(parts):
        if merged and low == merged[-1][1]:
            merged[-1] = (merged[-1][0], high)
        else:
            merged.append((low, high))
    return sum(max(high // GIGANTIC - -(-low // GIGANTIC), 0) for low, high in merged)
