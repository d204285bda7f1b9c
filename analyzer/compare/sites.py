# SPDX-License-Identifier: Apache-2.0
"""What the probe manifests of two sides say about comparing their events.

An event is one thing to the user, but another site can contain more, less or
other work.  Withheld is an event whose time is exact on one side and estimated,
or not seen, on the other; that was watched on one side only; whose site missed
known work; and, where the work of a family moved from one event to another (from
6.14 on the allocator clears what folio_zero_user() cleared before), each event of
that family, while the family as a whole is compared.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

from memtrace.analyzer.compare.metrics import Metric
from memtrace.analyzer.compare.sides import Side
from memtrace.traces.run import ProbeSite

SIDE_BY_SIDE = ("zero",)
"""Families whose events are places where one kind of work is done, not levels of it (accept, hot)."""

Difference = tuple[str, str, Callable[[Metric], bool] | None, str]
"""Of a Finding: id, text, which metrics it withholds, and the short reason."""


def differences(before: Side, after: Side) -> Iterator[Difference]:
    """What differs in how the events of two sides were seen."""
    events = sorted({e for side in (before, after) for m in side.measured for e in m.watched})
    moved = dict(_moved(before, after, events))
    yield from moved.values()
    occurring = [event for event in events if _occurs(before, event) or _occurs(after, event)]
    for event in occurring:
        if event.partition(".")[0] not in moved:
            yield from _coverage(before, after, event)
        yield from _quality(before, after, event)
    unproven = [e for e in occurring if any(s.proven is None for s in _sites(before, e) + _sites(after, e))]
    if unproven:
        text = f"sites attached, but not checked against known work: {', '.join(unproven)}"
        yield "site-unproven", text, None, ""


def _moved(before: Side, after: Side, events: list[str]) -> Iterator[tuple[str, Difference]]:
    """Families of which an event occurs on one side only, where others occur on both."""
    for family in SIDE_BY_SIDE:
        ours = [event for event in events if event.partition(".")[0] == family]
        gone = [event for event in ours if _occurs(before, event) != _occurs(after, event)]
        stayed = [event for event in ours if _occurs(before, event) and _occurs(after, event)]
        unseen = [
            e
            for e in gone
            if not (_watched(before, e) and _watched(after, e)) and not _absent(before, after, e)
        ]
        if not gone or not stayed or unseen:
            continue
        where = ", ".join(f"{e} only in {before.name if _occurs(before, e) else after.name}" for e in gone)
        text = (
            f"{where}: work of {family} may have moved between {', '.join(ours)}; compared are {family}.total"
            f" and {family}.bytes over all of them, not each by itself"
        )
        scopes = frozenset(ours) - {family}
        yield family, ("moved", text, _scoped(scopes), "work moved")


def _coverage(before: Side, after: Side, event: str) -> Iterator[Difference]:
    seen = [_watched(side, event) for side in (before, after)]
    if seen[0] != seen[1]:
        only, other = (before, after) if seen[0] else (after, before)
        text = f"{event} was watched in {only.name} and not in all of {other.name} ({_why(other, event)})"
        yield "watched", text, _with_family(event), "watched on one side"


def _quality(before: Side, after: Side, event: str) -> Iterator[Difference]:
    both = [_sites(side, event) for side in (before, after)]
    if not all(both):
        return
    for side, found in zip((before, after), both, strict=True):
        if any(site.proven is False for site in found):
            text = f"known work was not seen at the site of {event} in {side.name}"
            yield "site-failed", text, _with_family(event), "site failed"
    times = [sorted({site.time for site in found}) for found in both]
    counts = [sorted({site.count for site in found}) for found in both]
    places = [
        sorted({" and ".join(filter(None, (site.site, site.beside))) for site in found}) for found in both
    ]
    nested = [sorted({", ".join(site.inclusive_of) or "nothing" for site in found}) for found in both]
    if times[0] != times[1]:
        text = f"time of {event}: {_against(times)}"
        yield "site-time", text, _timed(_with_family(event)), "time seen otherwise"
    if counts[0] != counts[1]:
        yield (
            "site-count",
            f"number of {event}: {_against(counts)}",
            _summed(_with_family(event)),
            "counted otherwise",
        )
    if places[0] != places[1]:
        text = f"site of {event}: {_against(places)}"
        yield "site", f"{text}: the intervals, and what probing adds to them, may differ", None, ""
    if nested[0] != nested[1]:
        yield "nested", f"in the time of {event}: {_against(nested)}; exclusive times bear it", None, ""


def _occurs(side: Side, event: str) -> bool:
    return any(m.counts.get(event) for m in side.measured)


def _watched(side: Side, event: str) -> bool:
    return all(event in m.watched for m in side.measured)


def _sites(side: Side, event: str) -> list[ProbeSite]:
    return [s for run in side.runs for s in run.header.manifest if s.event == event and s.site]


def _why(side: Side, event: str) -> str:
    found = [s for run in side.runs for s in run.header.manifest if s.event == event and not s.site]
    if not found:
        return "not in its manifest"
    reasons = dict.fromkeys(r.reason for s in found for r in s.refused)
    return ", ".join(reasons) or found[0].decode or "no reason kept"


def _absent(before: Side, after: Side, event: str) -> bool:
    """Whether the side without the event has no function to watch, so that there is nothing unseen."""
    side = after if _occurs(before, event) else before
    found = [s for run in side.runs for s in run.header.manifest if s.event == event and not s.site]
    return bool(found) and all(s.refused and {r.reason for r in s.refused} == {"absent"} for s in found)


def _against(texts: list[list[str]]) -> str:
    return " against ".join(" or ".join(some) for some in texts)


def _scoped(scopes: frozenset[str]) -> Callable[[Metric], bool]:
    return lambda metric: metric.scope in scopes


def _with_family(event: str) -> Callable[[Metric], bool]:
    return _scoped(frozenset({event, event.partition(".")[0]}))


def _timed(chosen: Callable[[Metric], bool]) -> Callable[[Metric], bool]:
    return lambda metric: chosen(metric) and metric.timed


def _summed(chosen: Callable[[Metric], bool]) -> Callable[[Metric], bool]:
    return lambda metric: chosen(metric) and metric.measure in ("count", "bytes")
