# SPDX-License-Identifier: Apache-2.0
"""The metrics of one run, from its rows; metrics.py says what each is."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from memtrace.analyzer import cells
from memtrace.analyzer.compare import durations
from memtrace.analyzer.compare.durations import histogram
from memtrace.analyzer.compare.fine import Fine, around
from memtrace.analyzer.compare.metrics import QUANTILES, Measured, Metric, Value
from memtrace.analyzer.in_file import in_partials
from memtrace.analyzer.keys import KEYS, Key
from memtrace.analyzer.model.staged import Model
from memtrace.analyzer.partials import Partials
from memtrace.analyzer.quantiles import group_quantiles
from memtrace.analyzer.sampling import LOOSE, Sampling, sampling
from memtrace.analyzer.scan import connect, partials
from memtrace.traces.partials import Unknown
from memtrace.traces.schema import Flag

if TYPE_CHECKING:
    from memtrace.analyzer.partials import Bools
    from memtrace.traces.reader import Run

FAMILY_BYTES = ("accept", "alloc", "zero")
SAME_BYTES = ("accept",)
"""Families whose nested events handle the same memory."""
UNKNOWN = "unknown"
"""The cell of which no key is known."""


def measure(run: Run, by: Sequence[Key]) -> Measured:
    """The metrics of a run, its cells by the keys ``by``."""
    grouped = tuple(dict.fromkeys((KEYS["event"], *by)))
    with connect(run) as connection:
        scanned = partials(run, tuple(dict.fromkeys((*grouped, KEYS["parent"]))), connection)
        inside = cells.in_cells(scanned)
        finer = around(run, inside, grouped, list(QUANTILES.values()), connection)
        boot = Model(run, connection)
        headline = dict(_phases(boot)) if run.header.phases else {}
        phase_sources = _phase_sources(boot) if run.header.phases else ()
    sampled = sampling(run)
    events = sorted(set(inside.keys["event"]))
    watched = {s.event for s in run.header.manifest if s.site} | set(events)
    parts: dict[Metric, Value] = {}
    for family in sorted({event.partition(".")[0] for event in events}):
        headline.update(_family(family, inside, sampled))
    for event in events:
        of = inside.where(_is(inside, "event", event))
        found = _quantiles(of, finer and finer.of(event))
        headline.update({Metric(event, name): value for name, value in found.items()})
        parts.update({Metric(event, name): value for name, value in _sums(of, sampled).items()})
        parts.update(_cells(event, of, grouped[1:], finer, sampled))
    counts = {event: int(inside.count[_is(inside, "event", event)].sum()) for event in events}
    parts = {metric: value for metric, value in parts.items() if metric not in headline}
    return Measured(headline, parts, frozenset(watched), in_partials(scanned), counts, phase_sources)


def _phases(model: Model) -> Iterator[tuple[Metric, Value]]:
    """The length of each phase of the boot, by its best source; on several nodes from first to last."""
    model.need("phases")
    question = """
        SELECT
            phase,
            CASE WHEN count(*) = count(length_ns) THEN max(end_ns) - min(start_ns) END AS length_ns
        FROM phases GROUP BY phase, place ORDER BY place, phase"""
    for row in model.query(question):
        length = row["length_ns"]
        known = Value(None, "one of its ends is not known") if length is None else Value(float(length))
        yield Metric("boot", row["phase"]), known


def _phase_sources(model: Model) -> tuple[str, ...]:
    """What the phases of the boot are by."""
    model.need("phases")
    return tuple(row["source"] for row in model.query("SELECT DISTINCT source FROM phases ORDER BY source"))


def _family(family: str, inside: Partials, sampled: Sampling) -> dict[Metric, Value]:
    """The headline metrics of a family that has occurrences."""
    import numpy as np

    ours = np.array([e.partition(".")[0] == family for e in inside.keys["event"]], dtype=bool)
    of = inside.where(ours)
    total, worst = _time(of, sampled), _worst(of)
    found = {Metric(family, "total"): total, Metric(family, "worst"): worst}
    if family in FAMILY_BYTES:
        outer = np.array([(p or "").partition(".")[0] != family for p in of.keys["parent"]], dtype=bool)
        size = _sum(of.where(outer) if family in SAME_BYTES else of, "bytes", Unknown.BYTES)
        if uncounted := _uncounted(of):
            size = Value(None, f"bytes of {', '.join(uncounted)} are unknown: only its time was sampled")
        found[Metric(family, "bytes")] = size
        if total.value is None or size.value is None:
            found[Metric(family, "ns_per_4kib")] = Value(None, total.why or size.why)
        elif total.error > LOOSE:
            found[Metric(family, "ns_per_4kib")] = Value(None, "its time rests on fewer than four samples")
        elif size.value:
            found[Metric(family, "ns_per_4kib")] = replace(total, value=total.value * cells.PAGE / size.value)
    return found


def _uncounted(of: Partials) -> list[str]:
    """Events of which nothing but sampled time is in the file."""
    import numpy as np

    sampled, events = _time_only(of), np.array(of.keys["event"])
    return sorted(set(events[sampled & (of.self_ns > 0)]) - set(events[~sampled]))


def _sums(of: Partials, sampled: Sampling) -> dict[str, Value]:
    return {
        "count": _sum(of, "count", Unknown.COUNT),
        "bytes": _sum(of, "bytes", Unknown.BYTES),
        "total": _time(of, sampled),
    }


def _quantiles(of: Partials, finer: Fine | None) -> dict[str, Value]:
    made, longest = histogram(of, finer=finer), durations.longest(of)
    if made is None or longest is None:
        return {}
    found = {}
    exact = _exact(of)
    for name, share in QUANTILES.items():
        low, high = (min(end, longest[1]) for end in made.bounds(share))
        low, high = (exact[name], exact[name]) if name in exact else (low, high)
        value = min(max(float(made.quantile(share)), low), high)
        found[name] = Value(value, histogram=made, bounds=_bounds(low, high))
    return found


def _exact(of: Partials) -> dict[str, float]:
    """Those of QUANTILES that the file tells to the nanosecond."""
    import numpy as np

    known = of.where(durations.timed(of))
    per_mille = tuple(round(share * 1000) for share in QUANTILES.values())
    group = np.zeros(len(known), dtype=np.int64)
    (values,), (told,) = group_quantiles(group, *cells.longest_in(known), 1, per_mille)
    return {name: float(v) for name, v, t in zip(QUANTILES, values.tolist(), told.tolist(), strict=True) if t}


def _worst(of: Partials) -> Value:
    found = durations.longest(of)
    if found is None:
        return Value(None, "no durations were seen")
    return Value(found[1], bounds=_bounds(*found))


def _bounds(low: float, high: float) -> tuple[float, float] | None:
    return (low, high) if low < high else None


def _cells(
    event: str, of: Partials, by: Sequence[Key], finer: Fine | None, sampled: Sampling
) -> dict[Metric, Value]:
    names, group = of.groups([key.output for key in by])
    found: dict[Metric, Value] = {}
    for i, values in enumerate(names):
        words = [f"{key.word}={v}" for key, v in zip(by, values, strict=True) if v is not None]
        part = of.where(group == i)
        if by:
            both = (_sums(part, sampled) | _quantiles(part, finer and finer.of(event, values))).items()
            found.update({Metric(event, name, ",".join(words) or UNKNOWN): value for name, value in both})
    return found


def _is(of: Partials, key: str, value: str) -> Bools:
    import numpy as np

    return np.array([v == value for v in of.keys[key]], dtype=bool)


def _sum(of: Partials, name: str, quantity: Unknown) -> Value:
    """Their number or bytes; unknown where they are known for a part only."""
    known = of.known(quantity)
    if len(of) and not known.any():
        return Value(None, "not seen by its site")
    untold = ~known & ~_time_only(of)
    if untold.any():
        what = "number is" if quantity is Unknown.COUNT else f"{name} are"
        some, all_ = int(of.rows[untold].sum()), int(of.rows.sum())
        if of.known(Unknown.COUNT)[untold].all():
            some, all_ = int(of.count[untold].sum()), int(of.count.sum())
        return Value(None, f"{what} unknown for {some} of {all_} occurrences")
    return Value(float(getattr(of, name).sum()))


def _time_only(of: Partials) -> Bools:
    """Rows of sampled time, which stand for what others count."""
    timed, counted, sized = (of.known(u) for u in (Unknown.TOTAL, Unknown.COUNT, Unknown.BYTES))
    return timed & ~counted & ~sized


def _time(of: Partials, sampled: Sampling) -> Value:
    """Exclusive time; unknown where it is known for a part only."""
    timed, counted = (of.known(u) for u in (Unknown.TOTAL, Unknown.COUNT))
    if not timed.any():
        return Value(None, "no time was seen")
    if (timed & ~of.known(Unknown.SELF)).any():
        return Value(None, "its exclusive time is not known")
    untimed, count = int(of.count[counted & ~timed].sum()), int(of.count.sum())
    # Sampled time without a number stands for what was counted without a time.
    if untimed and not _time_only(of).any():
        return Value(None, f"time is unknown for {untimed} of {count} occurrences")
    total, estimated = int(of.self_ns.sum()), of.having(Flag.ESTIMATED) & timed
    by_samples = int(of.self_ns[estimated].sum())
    # No sample is 0 here and unknown in a report: the mean over runs is right only with the zeros.
    if estimated.any() and sampled.short:
        return Value(None, f"a lower bound: only {sampled.taken:.0%} of the clock samples were taken")
    error = math.sqrt(by_samples * (sampled.period_ns or 0)) / total if total else 0.0
    return Value(float(total), "", histogram(of, own=True), None, bool(estimated.any()), error)
