# SPDX-License-Identifier: Apache-2.0
"""Where the struct pages of added memory are: the node asked for and the real one.

Three witnesses, independent of each other:

allocated  hot.memmap: bytes of each block of struct pages that vmemmap_alloc_block() gave,
           its node by the address returned.  Page tables for them come the same way, one
           page each: they are in its bytes.
in_block   struct pages inside the added memory: hot.altmap's pages
           (mhp_init_memmap_on_memory()), or where that was not seen the share of sections
           whose altmap argument was not NULL.
counted    nr_memmap_pages of /proc/vmstat (6.10 on), the snapshot after less the one before,
           which counts both kinds.  Hot-adds between which no snapshot was taken are counted
           together, and held against what all of them need.

needed is 64 bytes (sizeof(struct page)) for each page added.  They agree if allocated and
in_block together are what is needed, and counted too; a witness that was not there is
named, one that differs is named with what it says.  misplaced: allocated bytes whose real
node is not the one asked for, as a share of those whose two nodes are known.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import Any

from memtrace.analyzer.hotplug.adds import HotAdd
from memtrace.analyzer.hotplug.rows import of
from memtrace.analyzer.tables import Column, Table

STRUCT_PAGE = 64


def needed(add: HotAdd, page_size: int) -> int:
    """Bytes of struct pages for the hot-add."""
    return add.bytes // page_size * STRUCT_PAGE


def allocated(add: HotAdd) -> int:
    """Bytes by the first witness."""
    return sum(row.bytes or 0 for row in of(add.rows, "hot.memmap"))


def matrix(adds: Sequence[HotAdd]) -> Table:
    """Bytes of struct pages by hot-add, node asked for and real node."""
    sums: dict[tuple[int, Any, Any, str], int] = defaultdict(int)
    for add in adds:
        for row in of(add.rows, "hot.memmap"):
            sums[add.number, row.wish, row.nid, "allocated"] += row.bytes or 0
        altmaps = [row for block in add.blocks for row in of(block.inside, "hot.altmap")]
        for row in altmaps:
            sums[add.number, add.nid, row.nid, "in the block"] += row.bytes or 0
        if not altmaps and (size := add.in_block):
            sums[add.number, add.nid, add.nid, "in the block"] += size
    added = {add.number: add.bytes for add in adds}
    rows = [
        {
            "add": number,
            "nid_requested": wish,
            "nid": nid,
            "where": where,
            "bytes": size,
            "misplaced": None if wish is None or nid is None else wish != nid,
            "added_share": size / added[number] if added[number] else None,
            "on": _on(wish, nid),
        }
        for (number, wish, nid, where), size in sums.items()
    ]
    columns = (
        Column("add", "add", "number"),
        Column("nid_requested", "asked", "number"),
        Column("nid", "real", "number"),
        Column("where", "where"),
        Column("bytes", "struct pages", "bytes"),
        Column("added_share", "of added", "share"),
        Column("on", "", "text"),
    )
    names = (*(column.name for column in columns), "misplaced")
    return Table(
        "memmap",
        "Struct pages: node asked for, real node",
        names,
        tuple(rows),
        columns,
        keys=4,
        top=20,
        notes=_misplaced(rows),
    )


def _on(wish: int | None, nid: int | None) -> str:
    if wish is None or nid is None:
        return "node unknown"
    return "" if wish == nid else "MISPLACED"


def _misplaced(rows: Sequence[Mapping[str, Any]]) -> tuple[str, ...]:
    known = sum(row["bytes"] for row in rows if row["misplaced"] is not None)
    wrong = sum(row["bytes"] for row in rows if row["misplaced"])
    if not rows:
        return ("no struct pages were seen to be allocated",)
    if not known:
        return ("misplaced: unknown, no node was seen",)
    return (f"misplaced: {wrong} of {known} bytes whose nodes are known ({wrong / known:.1%})",)


def witnesses(
    adds: Sequence[HotAdd],
    counted: Mapping[int, int | None],
    together: Mapping[int, Sequence[HotAdd]],
    seen: frozenset[str],
    page_size: int,
) -> Table:
    """One row for each hot-add.

    ``counted``: bytes by nr_memmap_pages, by its number, over the hot-adds ``together``.
    """
    rows: list[dict[str, Any]] = []
    for add in adds:
        first = allocated(add) if "hot.memmap" in seen else None
        second = add.in_block if seen & {"hot.altmap", "hot.section"} else None
        third = counted.get(add.number)
        need = needed(add, page_size)
        of_all = together.get(add.number, (add,))
        over = named(of_all) if third is not None and len(of_all) > 1 else None
        rest = None if third is None else third - sum(needed(each, page_size) for each in of_all)
        rows.append(
            {
                "add": add.number,
                "needed_bytes": need,
                "allocated_bytes": first,
                "in_block_bytes": second,
                "counted_bytes": third,
                "counted_over": over,
                "verdict": _verdict(need, first, second, rest, over),
            }
        )
    columns = (
        Column("add", "add", "number"),
        Column("needed_bytes", "needed", "bytes"),
        Column("allocated_bytes", "allocated", "bytes"),
        Column("in_block_bytes", "in block", "bytes"),
        Column("counted_bytes", "counted", "bytes"),
        Column("counted_over", "over", "text", if_any=True),
        Column("verdict", "verdict"),
    )
    names = tuple(column.name for column in columns)
    title = "Struct pages: three witnesses"
    return Table("witnesses", title, names, tuple(rows), columns, top=20)


def named(adds: Sequence[HotAdd]) -> str:
    """Hot-adds with consecutive numbers: "3", "1-4"."""
    first, last = adds[0].number, adds[-1].number
    return str(first) if first == last else f"{first}-{last}"


def _verdict(need: int, first: int | None, second: int | None, rest: int | None, over: str | None) -> str:
    """``rest``: bytes counted less those needed by the hot-adds ``over`` which they were counted."""
    traced = None if first is None and not second else (first or 0) + (second or 0)
    if first is None and second and second < need:
        traced = None
    wrong = []
    if traced is not None and traced != need:
        wrong.append(f"traced {traced - need:+d}")
    if rest:
        wrong.append(f"counted {rest:+d}" + (f" over {over}" if over else ""))
    missing = [n for n, v in (("allocated", first), ("in block", second), ("counted", rest)) if v is None]
    if wrong:
        return "DIFFER: " + ", ".join(wrong)
    if traced is None and rest is None:
        return "unknown"
    return f"agree (no {', '.join(missing)})" if missing else "agree"
