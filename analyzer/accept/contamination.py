# SPDX-License-Identifier: Apache-2.0
"""The table ``window``: does what was measured in this stretch of time measure acceptance?

The window is ``--window``, else the whole recording: for ``record -- COMMAND`` that
is the COMMAND, from its release to its exit.  Shares are of the part of the window that
was recorded (recorded_share).  Of an accept that is partly in it,
that part counts (shares of time), and so does the stall as one (numbers).

accepts, stalls, tasks
    Acceptances, stalls, and threads hit, in the window.
wall_share
    Share of the window in which at least one CPU accepted.
cpu_share
    Accepting over the window times the CPUs online.
task_share, task
    The thread that lost the largest share of the window, and that share: how
    much slower a benchmark of one such thread may be.
alloc_share
    Stalls in allocations over all allocations that touch the window (``alloc`` rows;
    summed ones, and those without a duration, by their ends: of their flush windows).  Null
    where allocations were not recorded.
alloc_time_share
    Time lost in allocations over the time of all allocations with a known time, of
    both the part that lies in the window.
verdict
    "contaminated": task_share or wall_share is 1 % or more.  "touched": less, and not
    nothing.  "clean": no accept in the window, although the whole window was
    recorded, a site was there, nothing was lost or summed in the kernel, no filter kept
    other tasks out, and the counter does not contradict: around the window Unaccepted fell
    by no more than was seen (missed.py), and not at all where the whole run shows no
    accept.  "unknown": no accept was seen, but one of these does not hold, and shares
    are null.  What is missed can only make a share larger.

The recorder's own accepts count in shares of wall and CPU time: they are there
for everyone; they make no victim.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from memtrace.analyzer.accept.intervals import union_ns
from memtrace.analyzer.accept.missed import doubt
from memtrace.analyzer.accept.platform import served
from memtrace.analyzer.accept.rows import Accepts
from memtrace.analyzer.accept.stalls import Stalls
from memtrace.analyzer.render.units import written
from memtrace.analyzer.tables import Table
from memtrace.traces.lost import known_losses

if TYPE_CHECKING:
    from memtrace.analyzer.accept.rows import Bools, Ints, Spans
    from memtrace.analyzer.model.staged import Model
    from memtrace.traces.reader import Run

MATTERS = 0.01
"""Share from which a window is called contaminated."""


def contamination(
    model: Model,
    accepts: Accepts,
    found: Stalls,
    window: tuple[int, int] | None,
    whole: Accepts,
) -> Table:
    """One row; the verdict is its note.

    ``accepts`` and ``found`` are those of the window, ``whole`` those of the run.
    """
    run = model.run
    asked = window or (run.status.started_ns, run.status.ended_ns)
    begin, end = max(asked[0], run.status.started_ns), min(asked[1], run.status.ended_ns)
    row: dict[str, Any] = {
        "from_ns": asked[0],
        "to_ns": asked[1],
        "recorded_share": max(end - begin, 0) / (asked[1] - asked[0]) if asked[1] > asked[0] else 0.0,
        "accepts": len(accepts),
        "own_accepts": int(accepts.each.own.sum()),
        "stalls": int((~found.own).sum()),
        **_shares(run, found, begin, end),
        **_allocations(model, found, begin, end),
    }
    doubts = _doubts(run, row, whole, (begin, end))
    row["verdict"] = _verdict(row, doubts)
    if row["verdict"] == "unknown" and not row["stalls"] and not row["accepts"]:
        row |= dict.fromkeys(_MEASURED)
    what = "Window of the command" if run.header.workload and window is None else "Window"
    title = f"{what}: {asked[0] / 1e9:.3f} to {asked[1] / 1e9:.3f} s after boot"
    return Table("window", title, _NAMES, (row,), (), keys=0, shown=(), notes=_sentences(row, doubts))


def _shares(run: Run, found: Stalls, begin: int, end: int) -> dict[str, Any]:
    """Shares of time in the window, and the thread hit most."""
    import numpy as np

    length = end - begin
    timed = found.timed
    names = ("wall_share", "cpu_share", "task_share", "task", "tasks", "lost_ns")
    out: dict[str, Any] = dict.fromkeys(names)
    others = ~found.own
    tasks = found.outer.task[found.first]
    out["tasks"] = len(np.unique(tasks[others]))
    if not timed.all() or length <= 0:
        return out
    outer = found.outer
    inside = _within(outer, begin, end)
    out["wall_share"] = union_ns(outer.begin, outer.end, (begin, end)) / length
    if run.header.cpus:
        out["cpu_share"] = int(inside.sum()) / (length * run.header.cpus)
    hit = np.flatnonzero(~outer.own)
    out["lost_ns"] = int(inside[hit].sum())
    out["task_share"] = 0.0
    if len(hit):
        threads, first, number = np.unique(outer.task[hit], return_index=True, return_inverse=True)
        lost = np.bincount(number.ravel(), weights=inside[hit], minlength=len(threads))
        most = int(lost.argmax())
        row = int(hit[first[most]])
        out["task_share"] = min(float(lost[most]) / length, 1.0)
        where = f"[{int(outer.tid[row])}]" if outer.tid[row] > 0 else f" on CPU {int(outer.cpu[row])}"
        out["task"] = f"{outer.comm.text(row) or 'an unknown task'}{where}"
    return out


def _allocations(model: Model, found: Stalls, begin: int, end: int) -> dict[str, Any]:
    out: dict[str, Any] = {"alloc_share": None, "alloc_time_share": None}
    if "alloc" not in model.run.header.events:
        return out
    (allocs,) = model.query(_ALLOCATIONS, {"begin": begin, "finish": end})
    number, time = allocs["number"], allocs["time"]
    inside = found.held & ~found.own & _allocating(found)
    if number:
        out["alloc_share"] = min(int(inside.sum()) / number, 1.0)
    if time and found.timed.all():
        lost = int(_within(found.outer, begin, end)[inside[found.stall]].sum())
        out["alloc_time_share"] = min(lost / int(time), 1.0)
    return out


def _within(spans: Spans, begin: int, end: int) -> Ints:
    """How much of each span lies in the window, ns."""
    import numpy as np

    inside: Ints = np.clip(np.minimum(spans.end, end) - np.maximum(spans.begin, begin), 0, None)
    return inside


def _allocating(found: Stalls) -> Bools:
    """Stalls of allocations, not of memory that comes online."""
    import numpy as np

    parent = found.outer.parent
    online = np.array([text.startswith("hot.") for text in parent.texts] + [False], dtype=bool)
    allocating: Bools = ~online[parent.code[found.first]]
    return allocating


def _doubts(run: Run, row: dict[str, Any], whole: Accepts, window: tuple[int, int]) -> list[str]:
    """Why acceptance may have passed unseen."""
    found = []
    if not served(run):
        found.append("no site of acceptance was recorded")
    if row["recorded_share"] < 1:
        share = written(row["recorded_share"], "share")
        found.append(f"only {share} of the window was recorded, and shares are of that")
    if lost := known_losses(run.status):
        found.append(f"{lost} events were lost")
    if run.header.filters:
        found.append(f"filters were on ({', '.join(run.header.filters)})")
    if not run.whole:
        found.append("the recording was cut short")
    if why := doubt(run, whole, window):
        found.append(why)
    return found


def _verdict(row: dict[str, Any], doubts: list[str]) -> str:
    if row["accepts"] or row["stalls"]:
        if row["wall_share"] is None:
            return "unknown"
        worst = max(row["wall_share"], row["task_share"] or 0.0)
        return "contaminated" if worst >= MATTERS else "touched"
    return "unknown" if doubts else "clean"


def _sentences(row: dict[str, Any], doubts: list[str]) -> tuple[str, ...]:
    because = "; ".join(doubts)
    own = f" ({row['own_accepts']} of them the recorder's own)" if row["own_accepts"] else ""
    seen = f"{_number(row, 'accepts')}{own}, {_number(row, 'stalls')} of {_number(row, 'tasks')}"
    if row["verdict"] == "clean":
        return ("clean: no memory was accepted in this window, and what was measured in it is free of it",)
    if row["verdict"] == "unknown" and not row["accepts"]:
        return (f"cannot be told: no acceptance was seen in this window, but {because}",)
    if row["verdict"] == "unknown":
        return (f"cannot be told how much: {seen} in this window, and their durations are unknown",)
    share = written(row["task_share"], "share")
    task = f"{share} of the time of {row['task']}" if row["task"] else "nothing of any other task's time"
    by = f"acceptance took {task} and went on in {written(row['wall_share'], 'share')} of the wall time"
    if row["verdict"] == "contaminated":
        first = f"bisection magnet: a benchmark in this window measures acceptance; {by}"
    else:
        first = f"touched: {by}; differences of that size are no evidence here"
    numbers = [seen]
    for name, words in (
        ("cpu_share", "CPU time"),
        ("alloc_share", "allocations"),
        ("alloc_time_share", "allocation time"),
    ):
        if row[name] is not None:
            numbers.append(f"{written(row[name], 'share')} of all {words}")
    told = [first, ", ".join(numbers)]
    if doubts:
        told.append(f"it may be more: {because}")
    return tuple(told)


def _number(row: dict[str, Any], name: str) -> str:
    """``1 accept``, ``2 accepts``."""
    return f"{row[name]} {name[:-1] if row[name] == 1 else name}"


_ALLOCATIONS = """
WITH allocs AS (
    SELECT *, flags & 32 <> 0 AS summed FROM events
    WHERE event::VARCHAR = 'alloc' AND flags & 64 = 0 AND flags & (256 | 8) <> 256 AND ts_ns >= $begin
),
touching AS (
    -- Sums of a window reach the file with the next flush, about a second later.
    SELECT * FROM allocs
    WHERE CASE WHEN summed THEN ts_ns - 1000000000 ELSE ts_ns - coalesce(dur_ns, 0) END <= $finish
)
SELECT
    coalesce(sum("count"), 0)::BIGINT AS number,
    sum(CASE
        WHEN summed THEN total_ns
        WHEN dur_ns IS NOT NULL THEN least(ts_ns, $finish) - greatest(ts_ns - dur_ns, $begin)
    END)::BIGINT AS time
FROM touching
"""
"""Allocations that touch a window, and their time in it: also those that waited and failed."""
_MEASURED = (
    "lost_ns",
    "wall_share",
    "cpu_share",
    "task_share",
    "task",
    "alloc_share",
    "alloc_time_share",
)
"""What is not known where nothing was seen and something may have passed unseen."""
_NAMES = (
    *("verdict", "from_ns", "to_ns", "recorded_share", "accepts", "own_accepts", "stalls", "tasks"),
    *_MEASURED,
)
