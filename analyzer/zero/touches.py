# SPDX-License-Identifier: Apache-2.0
"""First touch against re-touch: does a page cost more to clear the first time?

In a guest the first write to a page may make the host find memory for it, and that
time is in the clear.  Of the streamed clears with a page frame, the first one of each
frame in the run, and those that follow.  What was touched before the run counts as
first here, so that the difference is a lower bound.  Orders of which some clears were
summed in the kernel are left out: those streamed beside them were chosen by how long
they took.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from memtrace.analyzer.cells import PAGE
from memtrace.analyzer.tables import Column, Table
from memtrace.analyzer.zero.kinds import CLEARING
from memtrace.analyzer.zero.unseen import no_clear
from memtrace.traces.schema import Flag

if TYPE_CHECKING:
    import duckdb

    from memtrace.traces.reader import Run


def touches(run: Run, connection: duckdb.DuckDBPyConnection) -> Table:
    """One row for each event and order: ns per 4 KiB of first and of later clears."""
    rows = run.relation(connection, ["event", "order", "pfn", "ts_ns", "bytes", "total_ns", "flags"])
    names = ", ".join(f"'{name}'" for name in CLEARING)
    known = f"event IN ({names}) AND pfn IS NOT NULL AND total_ns IS NOT NULL AND bytes > 0"
    rows.filter(f"{known} AND (flags & {int(Flag.AGGREGATED | Flag.TRACER)}) = 0").create_view("touches")
    seen = f"(flags & {int(Flag.AGGREGATED | Flag.INFERRED | Flag.ESTIMATED)}) = {int(Flag.AGGREGATED)}"
    summed = rows.filter(f"event IN ({names}) AND {seen}").project('event::VARCHAR, "order"').distinct()
    by_length = set(summed.fetchall())
    left_out = set()
    # By first frame: a clear of a frame that lay inside an earlier, larger one is taken as first.
    question = """
        WITH counted AS (
            SELECT *, row_number() OVER (PARTITION BY pfn ORDER BY ts_ns) = 1 AS first FROM touches)
        SELECT event::VARCHAR, "order", first, sum(bytes)::BIGINT, sum(total_ns)::BIGINT
        FROM counted GROUP BY ALL ORDER BY ALL"""
    found: dict[tuple[str, int | None], dict[str, float | int | None]] = {}
    for event, order, first, size, ns in connection.sql(question).fetchall():
        if (event, order) in by_length:
            left_out.add(order)
            continue
        word = "first" if first else "again"
        row = found.setdefault((event, order), dict.fromkeys(_NAMES[2:]))
        row[f"{word}_bytes"] = size
        row[f"{word}_ns_per_4kib"] = ns * PAGE / size
    rows_ = tuple({"event": event, "order": order, **row} for (event, order), row in found.items())
    notes = ["of streamed clears with a page frame; touched before the run counts as first."]
    if not rows_:
        advice = "" if run.header.stream_all else " (`record --stream all`)"
        none = no_clear(run.header)
        streamed = f"no clear with a page frame was streamed{advice}"
        notes = [none if none.startswith("unknown") else streamed]
    if left_out:
        orders = ", ".join(sorted("unknown" if order is None else str(order) for order in left_out))
        notes.append(f"left out: order {orders}, which was summed in the kernel but for long clears.")
    return Table(
        "touches",
        "First touch and re-touch",
        _NAMES,
        rows_,
        _COLUMNS,
        keys=2,
        section=True,
        notes=tuple(notes),
    )


_NAMES = ("event", "order", "first_bytes", "first_ns_per_4kib", "again_bytes", "again_ns_per_4kib")
_COLUMNS = (
    Column("event", "event"),
    Column("order", "order", "number"),
    Column("first_bytes", "first", "bytes"),
    Column("first_ns_per_4kib", "ns/4K", "rate"),
    Column("again_bytes", "again", "bytes"),
    Column("again_ns_per_4kib", "ns/4K", "rate"),
)
