# SPDX-License-Identifier: Apache-2.0
"""The probe manifest: which kernel site served each event, and how far to trust it.

``proven``: true or false after known work (selftest or liveness check), null for
attached but unproven.  ``time``: exact, estimated or unknown; ``count``: exact,
inferred or unknown.  An event without a site says why each candidate failed.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from memtrace.analyzer.tables import Column, Table
from memtrace.traces.run import NOT_ASKED

if TYPE_CHECKING:
    from memtrace.traces.run import ProbeSite, RunHeader

_PROVEN = {True: "proven", False: "FAILED", None: "unproven"}


def sites(header: RunHeader) -> Table:
    """One row for each line of the manifest."""
    rows = tuple(
        {
            "event": s.event,
            "site": s.site,
            "kind": s.kind,
            "function": s.function,
            "proven": s.proven,
            "proof": _PROVEN[s.proven] if s.site else None,
            "unproven": s.unproven or None,
            "time": s.time if s.site else None,
            "count": s.count if s.site else None,
            "decode": s.decode,
            "inclusive_of": ", ".join(s.inclusive_of),
            "refused": refusals(s),
            "beside": s.beside,
        }
        for s in header.manifest
    )
    absent = [s for s in header.manifest if not s.site and s.decode != NOT_ASKED]
    notes = tuple(f"{s.event}: no site here ({refusals(s) or 'no reason kept'})" for s in absent)
    reasons: dict[str, list[str]] = {}
    for s in header.manifest:
        if s.unproven:
            reasons.setdefault(s.unproven, []).append(s.event)
    notes += tuple(f"unproven {', '.join(events)}: {why}" for why, events in reasons.items())
    shown = tuple(i for i, s in enumerate(header.manifest) if s.site)
    return Table("sites", "Sites", _NAMES, rows, _COLUMNS, shown=shown, notes=notes)


def refusals(site: ProbeSite) -> str:
    """``candidate: reason`` of each better site that was not used."""
    return "; ".join(f"{r.candidate}: {r.reason}" for r in site.refused)


_NAMES = (
    "event",
    "site",
    "kind",
    "function",
    "proven",
    "proof",
    "unproven",
    "time",
    "count",
    "decode",
    "inclusive_of",
    "refused",
    "beside",
)
_COLUMNS = (
    Column("event", "event"),
    Column("site", "site"),
    Column("kind", "kind"),
    Column("proof", "proof"),
    Column("time", "time"),
    Column("count", "count"),
)
