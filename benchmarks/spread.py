# SPDX-License-Identifier: Apache-2.0
"""Medians with their range, and the order in which things are measured in pairs."""

from __future__ import annotations

import statistics
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TypeVar

T = TypeVar("T")


@dataclass(frozen=True)
class Spread:
    """Median, smallest and largest of repeated measurements."""

    median: float
    low: float
    high: float

    def text(self, form: str = ",.0f", scale: float = 1.0) -> str:
        """``median (low..high)``, each times ``scale`` in the number format ``form``."""
        median, low, high = (format(v * scale, form) for v in (self.median, self.low, self.high))
        return f"{median} ({low}..{high})"


def spread(values: Iterable[float]) -> Spread:
    """The spread of at least one value."""
    values = list(values)
    return Spread(statistics.median(values), min(values), max(values))


def abba(things: Sequence[T]) -> list[T]:
    """The things forwards, then backwards.

    The mean of the two measurements of each then has the same drift in it (a
    machine that slows down, a neighbour that wakes up) as that of any other.
    """
    return [*things, *reversed(things)]
