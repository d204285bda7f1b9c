# SPDX-License-Identifier: Apache-2.0
"""The main table: what each event cost, per cell (event, order and node by default).

An *occurrence* is one serving of the event, as its site sees it; the window is
the whole run, from the gate's opening to the last flush.  Occurrences that the
recorder caused itself (flag TRACER) and attempts that failed (FAILED) are not in
these cells but in the table ``apart``.

count
    Occurrences, exact; inferred where the manifest says so.  Unknown where a cell
    has only rows whose time, but not number, was seen (sampling).
bytes
    Memory of all occurrences: PAGE_SIZE << order each, or the bytes cleared.
total_ns
    From the start to the end of an occurrence, on its CPU, everything included
    that ran in between (interrupts, preemption, nested events); ns, summed.
    The sum of those that are known.
self_ns
    total_ns less the time of traced events nested inside (exclusive).  Only
    self_ns may be added over events.  Unknown unless it is known wherever total_ns is,
    and where samples hit nothing but what is nested.
time
    "exact": summed from intervals; "estimated": flag ESTIMATED; "mixed": some of
    each; "unknown".
total_is
    What total_ns is: "exact", "estimate", or "at least" where some of the time is
    unknown, or where the run is short of samples (sampling.py) and it rests on them.
    Null where total_ns is.
total_rel_error
    One standard error of a total_ns that rests on samples, as a share of it: n
    samples of one period each are off by sqrt(n) periods.  Null where total_ns is
    exact or at least, and where the run has no sampling period (estimates by
    difference).
time_unknown_share
    Share of the events whose time is neither measured nor covered by an estimate.
    Above 0, total_ns is a lower bound.  A cell that no sample hit has an unknown
    time: not 0, for its time may be up to some periods.
ns_per_4kib, gib_per_s
    total_ns per 4096 bytes, and bytes per total_ns in 2**30 bytes/s, both over
    rows that have bytes and time.  An estimate made for a cell as a whole (time
    without a count) is divided by the bytes of that cell's unmeasured rows.  Null
    where the time they rest on has a standard error of more than a half: fewer than
    four samples, all of it sampled, are no rate.
rate_is
    What ns_per_4kib is: "exact", "estimate", or "at least" where the run is short
    of samples; gib_per_s is null then.  Null where both are.
rate_bytes_share
    Share of the cell's bytes that these two rest on.
p50_ns, p90_ns, p99_ns
    Of single durations, see quantiles.py.  Only over occurrences with a known duration
    (``durations`` of them).
p50_is, p90_is, p99_is
    "exact": of durations that are in the file one by one; "at most" the upper edge of the
    bucket, where the kernel summed them or there are very many; "at least" if that is the last,
    open bucket.
max_ns, max_is
    The longest duration: "exact" if it was streamed by itself; "at most" the
    upper edge of its bucket if it was aggregated; "at least" if that is the last,
    open bucket.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any

from memtrace.analyzer.partials import NO_BUCKET, Partials
from memtrace.analyzer.quantiles import group_quantiles, upper_edge
from memtrace.analyzer.sampling import LOOSE, sampling
from memtrace.analyzer.tables import Row
from memtrace.traces.histogram import BUCKETS, lower_edge, width
from memtrace.traces.partials import Unknown
from memtrace.traces.schema import Flag

if TYPE_CHECKING:
    from memtrace.analyzer.partials import Bools, Ints
    from memtrace.traces.reader import Run

PER_MILLE = (500, 900, 990)
FEW = 30
"""Durations below which a p99 says little more than the maximum."""
PAGE = 4096
GIB = 1 << 30
APART = Flag.TRACER | Flag.FAILED

MEASURED = (
    "count",
    "bytes",
    "total_ns",
    "self_ns",
    "time",
    "total_is",
    "total_rel_error",
    "time_unknown_share",
    "ns_per_4kib",
    "gib_per_s",
    "rate_is",
    "rate_bytes_share",
    "p50_ns",
    "p90_ns",
    "p99_ns",
    "max_ns",
    "max_is",
    "durations",
    "p50_is",
    "p90_is",
    "p99_is",
)
"""The measured columns of a cell, in order."""
COSTS = ("count", "bytes", "total_ns", "self_ns", "time", "total_is", "time_unknown_share")
"""Those that say what something cost in all."""


def in_cells(partials: Partials) -> Partials:
    """The partial aggregates that belong into the main table."""
    return partials.where(~partials.having(APART))


def of_run(run: Run, partials: Partials, keys: Sequence[str]) -> list[dict[str, Any]]:
    """The cells of partial aggregates of a run, by ``keys``."""
    sampled = sampling(run)
    return cells(partials, keys, sampled.period_ns, short=sampled.short)


def cells(
    partials: Partials, keys: Sequence[str], period_ns: int | None = None, *, short: bool = False
) -> list[dict[str, Any]]:
    """One row for each combination of ``keys``, sorted by them, with the columns above.

    ``period_ns`` is the time that one sample stands for, None where nothing was sampled;
    ``short``: the run is short of samples.
    """
    import numpy as np

    names, group = partials.groups(keys)
    sums = _Sums(group, len(names))
    timed, sized, counted = (partials.known(u) for u in (Unknown.TOTAL, Unknown.BYTES, Unknown.COUNT))
    selfless = ~partials.known(Unknown.SELF)
    estimated = partials.having(Flag.ESTIMATED)
    period = float(period_ns or 0)
    # Samples that were all taken elsewhere say nothing of a cell's time: it is not 0.
    timed &= ~(estimated & ((sums(partials.total_ns, estimated) == 0) & (period > 0))[group])
    time_only = timed & ~counted & ~sized
    # An estimate for the cell as a whole stands for what was counted but not measured.
    covered = sums(time_only) > 0

    count, size, total = sums(partials.count), sums(partials.bytes), sums(partials.total_ns)
    untimed = np.where(covered, 0, sums(partials.count, counted & ~timed))
    rates = timed & sized | time_only
    rate_ns = sums(partials.total_ns, rates)
    rate_bytes = sums(partials.bytes, timed & sized) + np.where(
        covered, sums(partials.bytes, sized & ~timed), 0
    )
    by_estimate, some_time = sums(timed & estimated) > 0, sums(timed) > 0
    too_few = by_estimate & short
    at_least = some_time & ((untimed > 0) | too_few)
    error_ns = np.sqrt(sums(partials.total_ns, estimated) * period)
    rate_error_ns = np.sqrt(sums(partials.total_ns, rates & estimated) * period)
    rated = (rate_bytes > 0) & some_time & ~(by_estimate & (rate_ns == 0))
    rated &= rate_error_ns <= LOOSE * rate_ns
    own = sums(partials.self_ns)
    own_known = some_time & (sums(timed & selfless) == 0) & ~(by_estimate & (own == 0) & (period > 0))
    columns: dict[str, list[Any]] = {
        "count": _known(count, sums(counted) > 0),
        "bytes": _known(size, sums(sized) > 0),
        "total_ns": _known(total, some_time),
        "self_ns": _known(own, own_known),
        "time": _time(sums(timed & ~estimated) > 0, by_estimate),
        "total_is": _bound(some_time, by_estimate, at_least),
        "total_rel_error": _ratio(error_ns, total, (error_ns > 0) & ~at_least),
        "time_unknown_share": _ratio(untimed, count, count > 0),
        "ns_per_4kib": _ratio(rate_ns * float(PAGE), rate_bytes, rated),
        "gib_per_s": _ratio(rate_bytes * (1e9 / GIB), rate_ns, rated & ~too_few & (rate_ns > 0)),
        "rate_is": _bound(rated, by_estimate, too_few),
        "rate_bytes_share": _ratio(rate_bytes, size, rated & (size > 0)),
        **_durations(partials, group, len(names)),
    }
    rows = zip(*(columns[name] for name in MEASURED), strict=True)
    return [
        dict(zip(keys, name, strict=True)) | dict(zip(MEASURED, row, strict=True))
        for name, row in zip(names, rows, strict=True)
    ]


def by_cost(rows: Iterable[Row], *first: str) -> list[Row]:
    """Sorted by the columns ``first``, then the most time, bytes and occurrences first."""

    def cost(row: Row) -> list[Any]:
        return [row[name] for name in first] + [-(row[name] or 0) for name in ("total_ns", "bytes", "count")]

    return sorted(rows, key=cost)


def longest_in(partials: Partials) -> tuple[Ints, Ints, Bools]:
    """The longest duration that each row may stand for, its count, and whether all of them took that.

    Every row has to have a bucket.
    """
    import numpy as np

    bucket = partials.bucket
    summed = partials.having(Flag.AGGREGATED) & (bucket < BUCKETS - 1)
    value = np.where(summed, upper_edge(bucket), partials.max_ns)
    return value, partials.count, partials.alike | (width(bucket) == 1)


def _durations(partials: Partials, group: Ints, groups: int) -> dict[str, list[Any]]:
    """The quantiles, the maximum, and how many durations they rest on."""
    import numpy as np

    known = (partials.bucket != NO_BUCKET) & (partials.count > 0)
    bucket, count, longest = partials.bucket[known], partials.count[known], partials.max_ns[known]
    group = group[known]
    aggregated = partials.having(Flag.AGGREGATED)[known]
    top = np.full(groups, NO_BUCKET, dtype=np.int64)
    np.maximum.at(top, group, bucket)
    in_top = bucket == top[group]
    seen = np.zeros(groups, dtype=np.int64)
    np.maximum.at(seen, group[in_top], longest[in_top])
    bounded = np.zeros(groups, dtype=bool)
    bounded[group[in_top & aggregated]] = True
    open_end = bounded & (top == BUCKETS - 1)
    longest_ns = np.where(bounded & ~open_end, upper_edge(np.maximum(top, 0)), seen)

    some = top != NO_BUCKET
    quantiles, told = group_quantiles(group, *longest_in(partials.where(known)), groups, PER_MILLE)
    last = quantiles >= lower_edge(BUCKETS - 1)
    quantile_is = np.where(told, "exact", np.where(last & open_end[:, None], "at least", "at most"))
    max_is = np.where(open_end, "at least", np.where(bounded, "at most", "exact"))
    return {
        **{f"p{q // 10}_ns": _known(quantiles[:, i], some) for i, q in enumerate(PER_MILLE)},
        **{f"p{q // 10}_is": _known(quantile_is[:, i], some) for i, q in enumerate(PER_MILLE)},
        "max_ns": _known(longest_ns, some),
        "max_is": _known(max_is, some),
        "durations": _Sums(group, groups)(count).tolist(),
    }


class _Sums:
    """Exact sums over the rows of each group."""

    def __init__(self, group: Ints, groups: int) -> None:
        self.group, self.groups = group, groups

    def __call__(self, values: Ints | Bools, chosen: Bools | None = None) -> Ints:
        import numpy as np

        out = np.zeros(self.groups, dtype=np.int64)
        np.add.at(out, self.group, values if chosen is None else np.where(chosen, values, 0))
        return out


def _known(values: Any, known: Bools) -> list[Any]:
    return [v if k else None for v, k in zip(values.tolist(), known.tolist(), strict=True)]


def _ratio(over: Any, under: Any, known: Bools) -> list[float | None]:
    import numpy as np

    out = np.zeros(len(known))
    np.divide(over, under, out=out, where=known)
    return _known(out, known)


def _time(exact: Bools, estimated: Bools) -> list[str]:
    names = ("unknown", "exact", "estimated", "mixed")
    return [names[i] for i in (exact + 2 * estimated).tolist()]


def _bound(known: Bools, estimated: Bools, at_least: Bools) -> list[str | None]:
    """What each number is; None where it is not known."""
    rows = zip(known.tolist(), estimated.tolist(), at_least.tolist(), strict=True)
    return [
        ("at least" if low else "estimate" if about else "exact") if some else None
        for some, about, low in rows
    ]
