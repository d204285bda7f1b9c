# SPDX-License-Identifier: Apache-2.0
"""Unaccepted memory as the kernel's counters gave it, by time, from the staged table ``counters``.

Unaccepted memory is that of the zones' queues (nr_unaccepted, per node ``Unaccepted`` in
meminfo): whole blocks of MAX_PAGE_ORDER that the page allocator has not taken yet, in bytes
here.  What memblock and firmware accept was never in it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from memtrace.analyzer.model.staged import Model


@dataclass(frozen=True)
class Unaccepted:
    """Unaccepted memory in bytes, at one moment; None: the kernel does not say."""

    label: str
    """What the snapshot was taken for."""
    at_ns: int
    """When its first counter was read."""
    read_ns: int
    """When the last one had been."""
    total: int | None
    nodes: dict[int, int]


def readings(model: Model) -> tuple[Unaccepted, ...]:
    """The readings of all snapshots, by time."""
    model.need("counters")
    found: dict[int, Unaccepted] = {}
    for row in model.query(_READINGS):
        machine = Unaccepted(row["label"], row["at_ns"], row["read_ns"], row["total"], {})
        reading = found.setdefault(row["snapshot"], machine)
        if row["nid"] is not None:
            reading.nodes[row["nid"]] = row["bytes"]
    return tuple(found.values())


_READINGS = """
WITH unaccepted AS (
    SELECT *, counter = CASE WHEN nid IS NULL THEN 'nr_unaccepted' ELSE 'Unaccepted' END AS is_it
    FROM counters
),
totals AS (
    SELECT
        snapshot, label, at_ns, read_ns,
        coalesce(any_value(bytes) FILTER (is_it AND nid IS NULL), sum(bytes) FILTER (is_it))::BIGINT AS total
    FROM unaccepted GROUP BY ALL
)
SELECT t.*, u.nid, u.bytes
FROM totals AS t LEFT JOIN unaccepted AS u ON u.snapshot = t.snapshot AND u.is_it AND u.nid IS NOT NULL
ORDER BY t.snapshot, u.nid
"""
