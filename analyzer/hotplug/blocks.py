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
from collections.abc import Collection, Sequence
from typing import TYPE_CHECKING, Any

from memtrace.analyzer.hotplug.adds import Block, HotAdd
from memtrace.analyzer.tables import Column, Table

if TYPE_CHECKING:
    from memtrace.analyzer.model.staged import Model

PACKAGE = "memtrace.analyzer.hotplug"

GIGANTIC = 1 << 30
TOP = 12
Range = tuple[int, int]


def table(model: Model, adds: Collection[int], window: tuple[int, int] | None) -> Table:
    """One row for each block, in the order of onlining: of ``adds``, and in the window of none."""
    found = model.page(PACKAGE, "blocks")
    low, high = window or (0, 1 << 63)
    rows = tuple(
        row
        for row in found.rows
        if row["add"] in adds
        or (
            row["add"] is None
            and row["start_ns"] <= high
            and row["start_ns"] + (row["online_ns"] or 0) >= low
        )
    )
    notes = [] if rows else ["no block came online"]
    if any(row["add"] is None for row in rows):
        notes.append("- as add: it was there when recording began, or its range was not seen")
    title = "Blocks, as they came online (the first of a hot-add pays for its node and zone)"
    return Table("blocks", title, found.names, rows, found.shown, keys=2, top=TOP, notes=tuple(notes))


def firsts(adds: Sequence[HotAdd]) -> Table:
    """One row for each hot-add with blocks: the first block's time beside the rest's."""
    rows: list[dict[str, Any]] = []
    for add in adds:
        if not add.blocks:
            continue
        rest = [block.outer.dur for block in add.blocks[1:] if block.outer.dur is not None]
        without, left = gigantic(add)
        onlined = [block.onlined for block in add.blocks]
        sizes = [None if block.in_block is None else block.bytes - block.in_block for block in add.blocks]
        rows.append(
            {
                "add": add.number,
                "blocks": len(add.blocks),
                "first_ns": add.blocks[0].outer.dur,
                "rest_p50_ns": round(statistics.median(rest)) if rest else None,
                "rest_max_ns": max(rest, default=None),
                "partly_online": None
                if None in onlined or None in sizes
                else sum((got or 0) < (size or 0) for got, size in zip(onlined, sizes, strict=True)),
                "gigantic_without": without,
                "gigantic": None if None in sizes else left,
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
    left = [_bytes_of(block, page, block.in_block or 0) for block in add.blocks]
    return _ranges(whole), _ranges(left)


def _page(add: HotAdd) -> int:
    low, high = add.pfns
    return add.bytes // (high - low) if high > low and add.bytes else 4096


def _bytes_of(block: Block, page: int, skip: int) -> Range:
    start = (block.outer.pfn or 0) * page
    return start + skip, start + block.bytes


def _ranges(parts: Sequence[Range]) -> int:
    merged: list[Range] = []
    for low, high in sorted(parts):
        if merged and low == merged[-1][1]:
            merged[-1] = (merged[-1][0], high)
        else:
            merged.append((low, high))
    return sum(max(high // GIGANTIC - -(-low // GIGANTIC), 0) for low, high in merged)
