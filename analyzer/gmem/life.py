# SPDX-License-Identifier: Apache-2.0
"""What memory of a guest was prepared when (the staged table life), and whether a run tells it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from memtrace.analyzer.gmem.rows import FAILED, seen

if TYPE_CHECKING:
    from memtrace.traces.reader import Run

MADE = (
    f"(SELECT * FROM g WHERE NOT {FAILED} AND (event = 'gmem.prepare' OR event = 'gmem.assign' "
    "AND parent IS DISTINCT FROM 'gmem.populate' "
    "AND vm NOT IN (SELECT vm FROM g WHERE event = 'gmem.prepare' AND vm IS NOT NULL)))"
)
"""SQL: the calls that make memory private, as a relation; those of populating aside."""

WHOLE = "CASE WHEN gfn + asked IS NOT NULL THEN greatest((gfn + asked) // 512 - (gfn + 511) // 512, 0) END"
"""SQL: the whole 2 MiB ranges of a range of guest memory; null if that is not known (greatest() is not)."""

END = "(SELECT vm, max(ts_ns) AS at FROM g WHERE event != 'gmem.free' OR parent = 'gmem.punch' GROUP BY vm)"
"""SQL: vm and the time of the last event before its memory was given back for good."""

HELD = (
    "SELECT vm, range, sum(pages)::BIGINT AS pages FROM (SELECT e.vm, e.range, "
    "any_value(e.pages) AS pages, arg_max(e.made, e.ts_ns) AS made "
    f"FROM life e JOIN {END} l ON e.vm = l.vm AND e.ts_ns <= l.at "
    "GROUP BY e.vm, e.range, e.gfn) WHERE made GROUP BY vm, range"
)
"""SQL: vm, range and pages of memory prepared and not given back, at that time."""


def follows(run: Run) -> bool:
    """Whether the run has sites for what prepares and for what gives back: else ``life`` tells half of it."""
    return prepares(run) and seen(run, "gmem.free")


def prepares(run: Run) -> bool:
    """Whether the run has a site for preparations."""
    return seen(run, "gmem.prepare") or seen(run, "gmem.assign")
