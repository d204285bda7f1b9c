# SPDX-License-Identifier: Apache-2.0
"""How a page shows keys and measured columns of cells (cells.py says what they mean)."""

from __future__ import annotations

from collections.abc import Mapping

from memtrace.analyzer.tables import Column, Row
from memtrace.traces.histogram import ERROR


def _estimated(row: Row) -> str:
    return "~" if row["time"] in ("estimated", "mixed") else ""


def partly(row: Row) -> str:
    """The sign before a time that is estimated, or known for a part only."""
    return _estimated(row) or (">" if row["time_unknown_share"] else "")


def _bound(row: Row) -> str:
    return {"at most": "<", "at least": ">"}.get(row["max_is"] or "", "")


_ERROR = "+/-: one standard error of total, from the number of samples."
_UNTIMED = "untimed: share of the occurrences whose time is unknown."
_WITHIN = f"p50, p90 and p99 are off by at most {ERROR:.1%}."
MEASURES: tuple[Column, ...] = (
    Column("count", "count", "count"),
    Column("bytes", "memory", "bytes"),
    Column("total_ns", "total", "ns", partly),
    Column("self_ns", "self", "ns", partly),
    Column("total_rel_error", "+/-", "share", if_any=True, note=_ERROR),
    Column("ns_per_4kib", "ns/4K", "rate", _estimated),
    Column("gib_per_s", "GiB/s", "rate", _estimated),
    Column("time_unknown_share", "untimed", "share", if_any=True, note=_UNTIMED),
    Column("p50_ns", "p50", "ns", block=1, note=_WITHIN),
    Column("p90_ns", "p90", "ns", block=1, note=_WITHIN),
    Column("p99_ns", "p99", "ns", block=1, note=_WITHIN),
    Column("max_ns", "max", "ns", _bound, block=1),
)
"""How a page shows the measured columns."""

_NUMBERS: Mapping[str, str] = {
    "order": "order",
    "nid": "node",
    "nid_requested": "asked",
    "pid": "pid",
    "tid": "tid",
    "cpu": "cpu",
}


def key_column(name: str) -> Column:
    """How a page shows a key."""
    if name in _NUMBERS:
        return Column(name, _NUMBERS[name], "number")
    return Column(name, name, "stack" if name == "stack" else "text")
