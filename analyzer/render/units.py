# SPDX-License-Identifier: Apache-2.0
"""Numbers for people: three significant digits and a unit, or exact where it fits.

count: exact up to 9999999, then k, M, G of 1000.  bytes: Ki, Mi, Gi of 1024, as free(1) has them.
ns: ns, us, ms, s of 1000.  Machines get the numbers themselves, never these.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from memtrace import safe
from memtrace.analyzer.tables import MARKS, UNKNOWN, Column, Kind, Row

_COUNT_EXACT = 9_999_999


def written(value: Any, kind: Kind) -> str:
    """The text of a value; UNKNOWN for None."""
    if value is None:
        return UNKNOWN
    if kind == "count":
        return str(value) if abs(value) <= _COUNT_EXACT else _scaled(value, 1000, ("", "k", "M", "G", "T"))
    if kind == "bytes":
        return _scaled(value, 1024, ("B", "Ki", "Mi", "Gi", "Ti", "Pi"))
    if kind == "ns":
        return _scaled(value, 1000, ("ns", "us", "ms", "s", "ks"))
    if kind == "rate":
        return _digits(float(value))
    if kind == "share":
        return _share(float(value))
    if kind == "signed":
        return f"{value:+d}" if value else "0"
    return safe.terminal(value)


def _scaled(value: float, base: int, units: tuple[str, ...]) -> str:
    size, step = float(value), 0
    while step + 1 < len(units) and abs(size) >= (999.5 if base == 1000 else 1023.5):
        size /= base
        step += 1
    return (str(int(value)) if step == 0 else _digits(size)) + units[step]


def _digits(value: float) -> str:
    """Three significant digits, without an exponent."""
    size = abs(value)
    if size == 0:
        return "0"
    if size >= 99.95:
        return f"{value:.0f}"
    if size >= 9.995:
        return f"{value:.1f}"
    return f"{value:.2f}" if size >= 0.0995 else f"{value:.2g}"


def _share(value: float) -> str:
    if value and abs(value) < 0.0005:
        return "<0.1%"
    if 0.9995 <= value < 1:
        return ">99.9%"
    return f"{value:.0%}" if value in (0, 1) else f"{value:.1%}"


def legend(columns: Sequence[Column], rows: Sequence[Row]) -> list[tuple[str, str]]:
    """Each sign that these cells use, and what it says."""
    marks = {c.mark(row) for c in columns if c.mark for row in rows if row[c.name] is not None}
    signs = [(mark, text) for mark, text in MARKS.items() if mark in marks]
    if any(row[c.name] is None for c in columns for row in rows):
        signs.append((UNKNOWN, "unknown"))
    return signs
