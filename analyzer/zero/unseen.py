# SPDX-License-Identifier: Apache-2.0
"""What to say where a run has no clear: that there was none, or that nobody can know.

A way of clearing is watched where a site sees each clear of it.  A site by sampling gives
time alone, and an inferred one what follows from gfp flags: neither has seen that there was
no clear.  zero.free needs no site where init_on_free is off.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from memtrace.analyzer.facts import fact
from memtrace.analyzer.zero.kinds import CLEARING, FREE

if TYPE_CHECKING:
    from memtrace.traces.run import ProbeSite, RunHeader

_BLIND = ("inferred", "sampling")


def watched(header: RunHeader) -> frozenset[str]:
    """The ways of clearing (events) of which the run would have seen a clear."""
    seen = {site.event for site in header.manifest if site.event in CLEARING and _sees(site)}
    return frozenset(seen | {FREE} if fact(header, "init_on_free") == "no" else seen)


def no_clear(header: RunHeader) -> str:
    """The sentence for a table that has no clears in it."""
    seen = [event for event in CLEARING if event in watched(header) - {FREE}]
    unseen = [event for event in CLEARING if event not in watched(header)]
    if not seen:
        return f"unknown: {_why(header)}"
    if unseen:
        return f"no clear was seen by {', '.join(seen)}; of {', '.join(unseen)} nothing is known"
    return "no clear was seen"


def _why(header: RunHeader) -> str:
    sites = {site.kind for site in header.manifest if site.event in CLEARING and site.site}
    if "inferred" in sites:
        return "no site sees a clear here; what the allocator cleared follows from gfp flags alone"
    if "sampling" in sites:
        return "clearing was sampled, which gives time and no clears"
    asked = any(event in CLEARING for event in header.events)
    if asked:
        return "clearing was asked for, and no site sees it here (`memtrace probes -v` says why)"
    return "clearing was not recorded (`memtrace record -e alloc,zero,root` does)"


def _sees(site: ProbeSite) -> bool:
    return site.site is not None and site.kind not in _BLIND and site.proven is not False
