# SPDX-License-Identifier: Apache-2.0
"""Regions of a guest's memory whose faults came late: a stall and slow work told apart.

A VM's private faults, in up to 64 regions of equal size (a power of two, at least 2 MiB).

span_ns        begin of the first fault in the region to end of the last.
busy_ns        time of its faults; over the span it is above 1 where vCPUs faulted side by side.
gap_ns         the longest time in the span without a fault under way; ``gap_at_ns``: when it began,
               after the start of the run; null where there was no gap.
median gap     of the times between a fault and those before it, none for the first of the region.
verdict        "one gap": the gap is at least half of the span and ten times the median gap, so that
               the region waited for something else, or was left alone; "steady": it was not, and the
               time went into the faults and between them evenly; "few": under eight faults.
A guest that comes back to a region later makes a gap too: the trace cannot tell why it stayed away.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from memtrace.analyzer.gmem.rows import PRIVATE, ask, of
from memtrace.analyzer.tables import Column, Table

if TYPE_CHECKING:
    import duckdb

    from memtrace.traces.reader import Run

REGIONS = 64
FEW = 8
TOP = 10


def stalls(run: Run, connection: duckdb.DuckDBPyConnection) -> Table:
    """One row for each VM and region, the longest gap first."""
    size = run.header.page_size
    found = ask(
        connection,
        f"WITH f AS (SELECT vm, gfn, ts_ns - dur_ns AS begun, ts_ns, dur_ns FROM {of('gmem.fault', PRIVATE)} "
        "WHERE dur_ns IS NOT NULL AND gfn IS NOT NULL), "
        "span AS (SELECT vm, greatest(9, ceil(log2((max(gfn) - min(gfn) + 1) / "
        f"{REGIONS}::DOUBLE)))::INT AS bits FROM f GROUP BY vm), "
        "r AS (SELECT f.*, (gfn >> bits) << bits AS first, 1::BIGINT << bits AS pages FROM "
        "f JOIN span USING (vm)), "
        "w AS (SELECT *, begun - max(ts_ns) OVER (PARTITION BY vm, first ORDER BY begun "
        "ROWS BETWEEN UNBOUNDED PRECEDING AND 1 PRECEDING) AS gap FROM r) "
        "SELECT vm, first, any_value(pages) AS pages, count(*) AS faults, (max(ts_ns) - "
        "min(begun))::BIGINT AS span, "
        "sum(dur_ns)::BIGINT AS busy, greatest(coalesce(max(gap), 0), 0)::BIGINT AS gap, "
        f"arg_max(begun - gap, gap) FILTER (gap > 0) - {run.status.started_ns} AS gap_at, "
        "median(greatest(gap, 0)) FILTER (gap IS NOT NULL) AS median "
        "FROM w GROUP BY vm, first ORDER BY gap DESC, vm, first",
    )
    rows = tuple(
        {
            "vm": row["vm"],
            "start": f"{row['first'] * size:#x}",
            "gfn": row["first"],
            "bytes": row["pages"] * size,
            "faults": row["faults"],
            "span_ns": row["span"],
            "busy_ns": row["busy"],
            "gap_ns": row["gap"],
            "gap_at_ns": row["gap_at"],
            "verdict": _verdict(row["faults"], row["span"], row["gap"], row["median"] or 0),
        }
        for row in found
    )
    columns = (
        Column("vm", "vm", "number"),
        Column("start", "guest address"),
        Column("bytes", "region", "bytes"),
        Column("faults", "faults", "count"),
        Column("span_ns", "span", "ns"),
        Column("busy_ns", "in faults", "ns"),
        Column("gap_ns", "longest gap", "ns"),
        Column("verdict", "verdict"),
    )
    names = ("vm", "start", "gfn", "bytes", "faults", "span_ns", "busy_ns", "gap_ns", "gap_at_ns", "verdict")
    return Table("stalls", "Gaps in a region's private faults", names, rows, columns, 2, top=TOP)


def _verdict(faults: int, span: int, gap: int, median: float) -> str:
    if faults < FEW:
        return "few"
    return "one gap" if gap * 2 >= span and gap >= 10 * median else "steady"
