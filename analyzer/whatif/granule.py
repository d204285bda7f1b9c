# SPDX-License-Identifier: Apache-2.0
"""The table ``granule``: what if the allocator accepted 2 MiB at a time instead of 4 MiB?

Needs the cost of a call in its two parts (cost.py).

steps
    Accepts: as many as there were units of 2 MiB.  A burst's last half may not be
    needed, which makes it one less for each stall of two units or more (steps_min).
p50_ns … max_ns, over_…
    Distribution of one step: each call of n units as recorded becomes n steps of its
    time * (fixed + per_unit) / (fixed + n * per_unit), so that the spread is kept.
stalls, stalls_min
    Allocations that wait.  A burst of several accepts waits once either way.  A
    stall of one accept of two units or more becomes two if another allocation
    needs the second half, else one: between.  One of a single unit stays one.
lost_ns
    Time of all stalls if all the memory is still needed: as recorded, times the
    predicted over the recorded time of the steps.

Nothing is predicted where the 95 % bounds of what 2 MiB take of 4 MiB are more
than WIDEST apart.

Assumed: bursts are decided by watermarks, which ask for the same memory; cost is linear in
units; order-10 blocks give way to order-9 ones at no cost of their own (more list
and lock work is not modelled).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from memtrace.analyzer.accept.calls import DISTRIBUTION, UNIT, distribution
from memtrace.analyzer.accept.cost import Cost, cost
from memtrace.analyzer.accept.rows import UNKNOWN, Accepts
from memtrace.analyzer.render.units import written
from memtrace.analyzer.tables import Column, Table

if TYPE_CHECKING:
    from memtrace.analyzer.accept.stalls import Stalls

WIDEST = 0.2
"""The share is between 1/2 and 1: bounds farther apart than this say little."""


def granule(accepts: Accepts, found: Stalls) -> Table:
    """Two rows: the steps as recorded, and as predicted; or why nothing is predicted."""
    import numpy as np

    title = "What if: steps of 2 MiB instead of 4 MiB"
    spans = accepts.work
    steps = np.sort(spans.dur[spans.timed])
    if not len(steps):
        return Table("granule", title, _NAMES, (), _COLUMNS, notes=("unknown: no accept has a duration",))
    others = ~found.own & found.timed
    rows = [_row("as recorded", len(steps), len(steps), int(others.sum()), int(others.sum()), steps)]
    rows[0]["lost_ns"] = int(found.lost[others].sum())
    if unsized := int((spans.timed & (spans.size == UNKNOWN)).sum()):
        note = f"2 MiB unknown: the memory of {unsized} accepts is unknown"
        return Table("granule", title, _NAMES, tuple(rows), _COLUMNS, notes=(note,))
    model = cost(accepts)
    if isinstance(model, str):
        note = f"2 MiB unknown: fixed cost and cost per unit cannot be told apart: {model}"
        return Table("granule", title, _NAMES, tuple(rows), _COLUMNS, notes=(note,))
    if model.per_unit <= 0:
        note = "2 MiB unknown: larger calls did not take longer, so a size says nothing of the time"
        return Table("granule", title, _NAMES, tuple(rows), _COLUMNS, notes=(note,))
    low, high = model.half[1:]
    if high - low > WIDEST:
        note = f"2 MiB unknown: the sizes seen do not tell it well enough: {_sentence(model)}"
        return Table("granule", title, _NAMES, tuple(rows), _COLUMNS, notes=(note,))
    fixed = max(model.fixed, 0.0)
    known = spans.where(spans.timed & (spans.size >= UNIT))
    units = known.size // UNIT
    halved = known.dur * (fixed + model.per_unit) / (fixed + units * model.per_unit)
    predicted = np.sort(np.rint(np.repeat(halved, units)).astype(np.int64))
    waits = int(others.sum())
    divisible = found.bytes[others] >= 2 * UNIT
    single = int((divisible & (found.accepts[others] <= 1)).sum())
    fewest = len(predicted) - int(divisible.sum())
    after = _row("2 MiB, predicted", len(predicted), fewest, waits + single, waits, predicted)
    after["lost_ns"] = round(rows[0]["lost_ns"] * float(predicted.sum()) / float(known.dur.sum()))
    rows.append(after)
    return Table("granule", title, _NAMES, tuple(rows), _COLUMNS, notes=(_sentence(model), _ASSUMED))


def _row(
    step: str, steps: int, steps_min: int, stalls: int, stalls_min: int, durations: Any
) -> dict[str, Any]:
    counts = {"steps": steps, "steps_min": steps_min, "stalls": stalls, "stalls_min": stalls_min}
    return {"step": step, **counts, "lost_ns": None, **distribution(durations)}


def _sentence(model: Cost) -> str:
    sizes = ", ".join(f"{n} calls of {units * 2} MiB" for units, n in model.sizes)
    fixed = f"{written(round(model.fixed), 'ns')} +/- {written(round(model.fixed_error), 'ns')}"
    unit = f"{written(round(model.per_unit), 'ns')} +/- {written(round(model.per_unit_error), 'ns')}"
    value, low, high = model.half
    return (
        f"a call takes {fixed}, and {unit} for each 2 MiB (from {sizes}), so that 2 MiB take {value:.0%} of"
        f" what 4 MiB take (95%: {low:.0%} to {high:.0%})"
    )


_ASSUMED = (
    "steps, stalls and lost if all the memory is still needed; a stall whose second half nobody needs"
    " becomes one of half the size (stalls_min, steps_min in --format json)"
)
_NAMES = (
    "step",
    "steps",
    "steps_min",
    "stalls",
    "stalls_min",
    "lost_ns",
    "over_100us",
    "over_1ms",
    "over_10ms",
    "p50_ns",
    "p90_ns",
    "p99_ns",
    "max_ns",
)
_COLUMNS = (
    Column("step", "step"),
    Column("steps", "accepts", "count"),
    Column("stalls", "stalls", "count"),
    Column("lost_ns", "lost", "ns"),
    *DISTRIBUTION,
)
