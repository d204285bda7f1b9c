# SPDX-License-Identifier: Apache-2.0
"""Changes as people read them."""

from __future__ import annotations

import math


def percent(value: float | None) -> str:
    """A change: +5.1%; x12 from ten times on; "new" where there was none before."""
    if value is None or math.isinf(value):
        return "new" if value is None or value > 0 else "gone"
    if value >= 9.995:
        return f"x{value + 1:.0f}"
    text = f"{value:+.1%}"
    return "0.0%" if text in ("+0.0%", "-0.0%") else text


def ends(low: float, high: float) -> str:
    """The ends of an interval: -1.2..+3.4%"""
    first, last = percent(low), percent(high)
    return f"{first.removesuffix('%') if last.endswith('%') else first}..{last}"


def finite(value: float | None) -> float | None:
    """For machines: None for what is infinite."""
    return None if value is None or math.isinf(value) else value
