# SPDX-License-Identifier: Apache-2.0
"""How a run sampled the clock, and what times that rest on samples are worth.

Each sample stands for one period of CPU time.  A run is *short* of samples where fewer than
nine tenths of those due were taken (throttled, or virtual CPUs that did not run): its sampled
times are lower bounds then, by an amount that nobody knows, and the error of sampling, which
is of chance alone, is not given beside them.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from memtrace.traces.reader import Run

ENOUGH = 0.9
"""Share of the samples due below which a run is short of them."""
DUE = 30
"""Samples due below which a share of them says little."""
LOOSE = 0.5
"""Standard error, as a share of a time, above which no rate is made of it: fewer than four samples."""


@dataclass(frozen=True)
class Sampling:
    """The sampling of a run."""

    period_ns: int | None = None
    """CPU time that one sample stands for; None where nothing was sampled."""
    taken: float | None = None
    """Share of the samples due that were taken; None where that is not known."""

    @property
    def short(self) -> bool:
        """Whether sampled times are known to be too low."""
        return self.taken is not None and self.taken < ENOUGH


def sampling(run: Run) -> Sampling:
    """How a run sampled; how many samples were due is known only where no task was left out."""
    samples, header = run.status.samples, run.header
    period, taken = samples.get("period_ns"), samples.get("all")
    if not period or taken is None or header.filters or not header.cpus:
        return Sampling(period)
    due = (run.status.ended_ns - run.status.started_ns) * header.cpus / period
    return Sampling(period, taken / due if due >= DUE else None)
