# SPDX-License-Identifier: Apache-2.0
"""How a run sampled the clock, as a plain table."""

from __future__ import annotations

from typing import TYPE_CHECKING

from memtrace.analyzer.model.plain import put
from memtrace.analyzer.sampling import LOOSE, sampling

if TYPE_CHECKING:
    from memtrace.analyzer.model.staged import Model


def sampled(model: Model) -> None:
    """``sampled``: one row of what times that rest on samples are worth (analyzer/sampling.py)."""
    found = sampling(model.run)
    put(
        model.connection,
        "sampled",
        {
            "period_ns": ([found.period_ns], "int64"),
            "short": ([found.short], "bool"),
            "loose": ([LOOSE], "double"),
        },
    )
