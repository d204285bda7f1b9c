# SPDX-License-Identifier: Apache-2.0
"""Holes punched into guest_memfd, and what a rule "none below 2 MiB" would have done.

Of gmem.punch that did not fail.  Alignment is that of the guest frame where the hole begins,
which is the file's own where a slot binds it aligned to 2 MiB.

size_bytes     the hole's length rounded down to a power of two; null: not known.
alignment      the largest of 4 KiB, 64 KiB, 2 MiB, 1 GiB that divides the start; null: not known.
freed_bytes    memory really given back.
whole, rounded, refused
               holes of whole 2 MiB ranges only; holes with a whole range in them that reach beyond,
               which the rule would shorten; holes with none, which it would refuse.
kept_bytes     memory that the rule would have kept: all that refused holes freed, and of
               rounded ones what they freed beyond their whole ranges (at least).

Partly punched ranges (table ``kept``): 2 MiB ranges of the guest that a hole covers in part.

kept_bytes     prepared memory still there after the last such hole: what cannot become a 2 MiB
               page again, or what a kernel that cannot split keeps.
freed_bytes    prepared memory that partial holes gave back there.
Both are unknown where preparations or gmem.free have no site.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from memtrace.analyzer.gmem.life import WHOLE, follows
from memtrace.analyzer.gmem.rows import FAILED, ask, of, whole_sum
from memtrace.analyzer.tables import Column, Table

if TYPE_CHECKING:
    import duckdb

    from memtrace.traces.reader import Run

_KIND = (
    "CASE WHEN gfn % 512 = 0 AND asked % 512 = 0 THEN 'whole' "
    f"WHEN {WHOLE} > 0 THEN 'rounded' WHEN {WHOLE} = 0 THEN 'refused' END"
)
_ALIGNED = (
    "CASE WHEN gfn % 262144 = 0 THEN 1073741824 WHEN gfn % 512 = 0 THEN 2097152 "
    "WHEN gfn % 16 = 0 THEN 65536 WHEN gfn IS NOT NULL THEN 4096 END"
)


def holes(run: Run, connection: duckdb.DuckDBPyConnection) -> Table:
    """One row for each VM, size and alignment."""
    size = run.header.page_size
    found = ask(
        connection,
        f"WITH p AS (SELECT *, {_KIND} AS kind, {WHOLE} AS whole FROM {of('gmem.punch', f'NOT {FAILED}')}) "
        "SELECT vm, CASE WHEN asked > 0 THEN 1::BIGINT << floor(log2(asked))::INT ELSE asked END AS size, "
        f"{_ALIGNED} AS alignment, count(*) AS count, {whole_sum('asked')} AS asked, "
        f"{whole_sum('pages')} AS freed, bool_and(kind IS NOT NULL) AS known, "
        "count(*) FILTER (kind = 'whole') AS whole, count(*) FILTER (kind = 'rounded') AS rounded, "
        "count(*) FILTER (kind = 'refused') AS refused, "
        "CASE WHEN count(*) = count(pages) THEN sum(CASE kind WHEN 'refused' THEN pages WHEN 'rounded' "
        "THEN greatest(pages - 512 * whole, 0) ELSE 0 END)::BIGINT END AS kept "
        "FROM p GROUP BY ALL ORDER BY ALL",
    )
    rows = tuple(
        {
            "vm": row["vm"],
            "size_bytes": _times(row["size"], size),
            "alignment_bytes": row["alignment"],
            "count": row["count"],
            "asked_bytes": _times(row["asked"], size),
            "freed_bytes": _times(row["freed"], size),
            **{name: row[name] if row["known"] else None for name in ("whole", "rounded", "refused")},
            "kept_bytes": _times(row["kept"], size) if row["known"] else None,
        }
        for row in found
    )
    columns = (
        Column("vm", "vm", "number"),
        Column("size_bytes", "size", "bytes"),
        Column("alignment_bytes", "aligned", "bytes"),
        Column("count", "holes", "count"),
        Column("asked_bytes", "asked", "bytes"),
        Column("freed_bytes", "freed", "bytes"),
        Column("whole", "whole", "count"),
        Column("rounded", "rounded", "count"),
        Column("refused", "refused", "count"),
        Column("kept_bytes", "kept", "bytes"),
    )
    notes = (
        ("whole, rounded, refused, kept: what a rule of no hole below 2 MiB would make of them.",)
        if rows
        else ()
    )
    return Table(
        "holes", "Holes by size and alignment", tuple(c.name for c in columns), rows, columns, 3, notes=notes
    )


def _times(pages: int | None, size: int) -> int | None:
    return None if pages is None else pages * size


def kept(run: Run, connection: duckdb.DuckDBPyConnection) -> Table:
    """One row for each VM with partly punched ranges."""
    size = run.header.page_size
    partial = (
        "SELECT vm, r AS range, max(ts_ns) AS ts_ns, count(*) AS holes FROM "
        "(SELECT vm, ts_ns, gfn, asked, unnest(range(gfn // 512, (gfn + asked - 1) // 512 + 1)) AS r "
        f"FROM {of('gmem.punch', f'NOT {FAILED} AND gfn IS NOT NULL AND asked > 0')}) "
        "WHERE gfn > r * 512 OR gfn + asked < (r + 1) * 512 GROUP BY vm, r"
    )
    last = (
        "SELECT l.vm, l.range, arg_max(l.made, l.ts_ns) AS made, any_value(l.pages) AS pages, "
        "coalesce(sum(l.pages) FILTER (NOT l.made AND l.held AND l.part), 0) AS freed "
        "FROM life l JOIN partial p ON l.vm = p.vm AND l.range = p.range AND l.ts_ns <= p.ts_ns "
        "GROUP BY l.vm, l.range, l.gfn"
    )
    found = ask(
        connection,
        f"WITH partial AS ({partial}), last AS ({last}), sums AS (SELECT vm, "
        "sum(pages) FILTER (made) AS kept, sum(freed) AS freed FROM last GROUP BY vm) "
        "SELECT p.vm AS vm, count(*) AS ranges, sum(p.holes)::BIGINT AS holes, "
        "coalesce(any_value(s.kept), 0)::BIGINT AS kept, coalesce(any_value(s.freed), 0)::BIGINT AS freed "
        "FROM partial p LEFT JOIN sums s USING (vm) GROUP BY p.vm ORDER BY p.vm",
    )
    known = follows(run)
    rows = tuple(
        {
            "vm": row["vm"],
            "ranges": row["ranges"],
            "holes": row["holes"],
            "kept_bytes": row["kept"] * size if known else None,
            "freed_bytes": row["freed"] * size if known else None,
        }
        for row in found
    )
    columns = (
        Column("vm", "vm", "number"),
        Column("ranges", "2M ranges", "count"),
        Column("holes", "holes in part", "count"),
        Column("kept_bytes", "prepared, still there", "bytes"),
        Column("freed_bytes", "prepared, freed", "bytes"),
    )
    return Table("kept", "Ranges punched in part", tuple(c.name for c in columns), rows, columns)
