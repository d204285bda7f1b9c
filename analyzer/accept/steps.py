# SPDX-License-Identifier: Apache-2.0
"""The table ``steps``: the page sizes that the platform accepted with, and how often it refused one.

One row per node and page size of ``accept.step`` (TDX: try_accept_one(), which goes from
1 GiB to 2 MiB to 4 KiB): accepted, refused (flag FAILED: the level was tried
and not taken, which costs a call of its own), bytes accepted, their times.  A
host that maps 4 KiB pages only shows as 2 MiB refused and 512 times as many
steps; that is the bimodality behind slow blocks.  Summed by the file's scan, since there may be
a thousand to a block.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from memtrace.analyzer.tables import Column, Table

if TYPE_CHECKING:
    from memtrace.analyzer.model.staged import Model


def steps(model: Model) -> Table | None:
    """One row per node and level; None if the run has no steps."""
    found = model.tuples(_STEPS)
    if not found:
        return None
    made = tuple(_row(model.run.header.page_size, *values) for values in found)
    return Table("steps", "Page sizes the platform accepted with", _NAMES, made, _COLUMNS, keys=2)


def _row(
    page_size: int,
    nid: int | None,
    order: int | None,
    accepted: int,
    refused: int,
    size: int | None,
    accepted_ns: int | None,
    refused_ns: int | None,
) -> dict[str, Any]:
    return {
        "nid": nid,
        "order": order,
        "page_bytes": None if order is None else page_size << order,
        "accepted": accepted,
        "refused": refused,
        "refused_share": refused / (accepted + refused),
        "bytes": size,
        "accepted_ns": accepted_ns,
        "refused_ns": refused_ns,
    }


_STEPS = """
WITH steps AS (SELECT *, flags & 256 <> 0 AS failed FROM events WHERE event::VARCHAR = 'accept.step')
SELECT
    nid,
    "order"::INTEGER,
    coalesce(sum("count") FILTER (NOT failed), 0)::BIGINT,
    coalesce(sum("count") FILTER (failed), 0)::BIGINT,
    (sum(bytes) FILTER (NOT failed))::BIGINT,
    (sum(total_ns) FILTER (NOT failed))::BIGINT,
    (sum(total_ns) FILTER (failed))::BIGINT
FROM steps GROUP BY ALL ORDER BY ALL
"""
_NAMES = (
    "nid",
    "order",
    "page_bytes",
    "accepted",
    "refused",
    "refused_share",
    "bytes",
    "accepted_ns",
    "refused_ns",
)
_COLUMNS = (
    Column("nid", "node", "number"),
    Column("page_bytes", "page", "bytes"),
    Column("accepted", "accepted", "count"),
    Column("refused", "refused", "count"),
    Column("refused_share", "share", "share"),
    Column("bytes", "memory", "bytes"),
    Column("accepted_ns", "took", "ns"),
    Column("refused_ns", "refusing", "ns"),
)
