# SPDX-License-Identifier: Apache-2.0
"""How a page shows keys and measured columns of cells (cells.py says what they mean)."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from memtrace.analyzer.tables import Column, Row

_BOUNDS = {"estimate": "~", "at least": ">"}


def partly(row: Row) -> str:
    """The sign before a time that is estimated, or at least so much."""
    return _BOUNDS.get(row["total_is"] or "", "")


def _rate(row: Row) -> str:
    return _BOUNDS.get(row["rate_is"] or "", "")


def _bound(name: str) -> Callable[[Row], str]:
    """The sign before a duration that is known between bounds only, as the column ``name`` says."""
    return lambda row: {"at most": "<", "at least": ">"}.get(row[name] or "", "")


_ERROR = "+/-: one standard error of total, from the number of samples."
_UNTIMED = "untimed: share of the events whose time is unknown."
MEASURES: tuple[Column, ...] = (
    Column("count", "count", "count"),
    Column("bytes", "memory", "bytes"),
    Column("total_ns", "total", "ns", partly),
    Column("self_ns", "self", "ns", partly),
    Column("total_rel_error", "+/-", "share", if_any=True, note=_ERROR),
    Column("ns_per_4kib", "ns/4K", "rate", _rate),
    Column("gib_per_s", "GiB/s", "rate", _rate),
    Column("time_unknown_share", "untimed", "share", if_any=True, note=_UNTIMED),
    Column("p50_ns", "p50", "ns", _bound("p50_is"), block=1),
    Column("p90_ns", "p90", "ns", _bound("p90_is"), block=1),
    Column("p99_ns", "p99", "ns", _bound("p99_is"), block=1),
    Column("max_ns", "max", "ns", _bound("max_is"), block=1),
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
