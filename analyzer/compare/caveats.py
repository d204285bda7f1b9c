# SPDX-License-Identifier: Apache-2.0
"""What a comparison's verdicts mean, and how far they can be trusted."""

from __future__ import annotations

from collections.abc import Sequence

from memtrace.analyzer.compare.changes import (
    DIFFERENT,
    NOTHING,
    TOO_FEW,
    VERDICTS,
    Comparison,
    Rules,
)
from memtrace.analyzer.tables import Caveat


def caveats(comparisons: Sequence[Comparison], rules: Rules) -> tuple[Caveat, ...]:
    """How the verdicts are to be read."""
    found = []
    changes = [c for comparison in comparisons for c in comparison.headline]
    if any(c.runs != (0, 0) and min(c.runs) == 1 for c in changes):
        text = (
            "with one run a side a change cannot be told from the difference between two boots of one"
            " kernel: there is no interval and no verdict"
        )
        found.append(Caveat("one-run", text))
    elif any(c.verdict == TOO_FEW for c in changes):
        text = (
            f"too few runs for verdicts at {rules.confidence:.0%}: relabelling so few runs cannot give a p"
            f" below {rules.alpha:.2g}; the table of runs needed says how many would do"
        )
        found.append(Caveat("too-few", text))
    if any(c.verdict in (NOTHING, *DIFFERENT) for c in changes):
        sides = f" times {len(comparisons)} sides" if len(comparisons) > 1 else ""
        text = (
            "the unit is the run; verdicts by an exact permutation test of runs, corrected for all headline"
            f" metrics (Westfall-Young step-down){sides}; parts by false discovery rate (Benjamini-Hochberg)"
        )
        found.append(Caveat("test", text))
    if any(c.interval is not None for c in changes):
        text = (
            "before and after are geometric means over runs (arithmetic where a run has 0), the change is"
            " their ratio; intervals, by hierarchical bootstrap, are of each metric by itself"
        )
        found.append(Caveat("interval", text))
    if words := [
        f"{w}: {VERDICTS[w]}" for w in ("equivalent", NOTHING) if any(c.verdict == w for c in changes)
    ]:
        found.append(Caveat("words", "; ".join(words) + f"; the margin is {rules.margin:.1%}"))
    return tuple(found)
