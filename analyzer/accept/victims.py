# SPDX-License-Identifier: Apache-2.0
"""The tables ``victims``, ``worst`` and ``bursts``: who waited for acceptance, and for how much of it.

All rest on stalls (stalls.py).  The recorder's own are left out of them; a note
says how many.

victims
    One row for each process (comm, pid, cgroup) and kind of request (order, gfp,
    what it was inside of), most time lost first.  lost_ns: sum of its stalls, a
    lower bound where some have no duration (untimed); bytes likewise (unsized).
worst
    The longest stalls, one row each.  at_ns (and ``at``, in seconds) is CLOCK_BOOTTIME at
    its begin.
    stack: the kernel stack of what waited (where it has none, of the accept).
bursts
    Stalls by the number of accepts in each (1, 2, 3-4, 5-8, …).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from memtrace.analyzer.accept.calls import distribution
from memtrace.analyzer.accept.rows import UNKNOWN
from memtrace.analyzer.callers import caller_of
from memtrace.analyzer.keys import gfp_text
from memtrace.analyzer.render.units import written
from memtrace.analyzer.tables import Column, Row, Table

if TYPE_CHECKING:
    from memtrace.analyzer.accept.rows import Ints
    from memtrace.analyzer.accept.stalls import Stalls
    from memtrace.analyzer.model.staged import Model
    from memtrace.traces.run import RunHeader

TOP = 8
WORST = 5
NO_ALLOC = (
    "what was asked for (order, gfp) is unknown: no allocation around the accept was recorded (-e alloc)"
)


def victims(found: Stalls, header: RunHeader, none: str) -> Table:
    """One row per process and kind of request; ``none``: what is said where there is no stall."""
    import numpy as np

    chosen = np.flatnonzero(~found.own)
    outer, first = found.outer, found.first[chosen]
    parts = (
        outer.comm.code[first],
        outer.pid[first],
        outer.cgroup.code[first],
        found.order[chosen],
        found.gfp[chosen],
        outer.parent.code[first],
    )
    keys = np.stack(parts, axis=1)
    groups, inverse = np.unique(keys, axis=0, return_inverse=True) if len(chosen) else (keys, chosen)
    inverse = inverse.ravel()
    order = np.argsort(inverse, kind="stable")
    edges = np.searchsorted(inverse[order], np.arange(len(groups) + 1))
    rows = [_victim(found, chosen[order[edges[i] : edges[i + 1]]], header) for i in range(len(groups))]
    rows.sort(key=lambda row: (-(row["lost_ns"] or 0), -row["stalls"], str(row["comm"]), row["pid"] or 0))
    return Table(
        "victims", "Who waited", _VICTIM, tuple(rows), _VICTIMS, 4, top=TOP, notes=_notes(found, none)
    )


def _victim(found: Stalls, which: Ints, header: RunHeader) -> dict[str, Any]:
    lost = found.lost[which]
    timed = lost != UNKNOWN
    sizes = found.bytes[which]
    return {
        **_who(found, int(which[0]), header),
        "stalls": len(which),
        "accepts": int(found.accepts[which].sum()),
        "bytes": int(sizes[sizes != UNKNOWN].sum()) if (sizes != UNKNOWN).any() else None,
        "unsized": int((sizes == UNKNOWN).sum()),
        "lost_ns": int(lost[timed].sum()) if timed.any() else None,
        "untimed": int((~timed).sum()),
        "worst_ns": int(lost.max()) if timed.any() else None,
    }


def _who(found: Stalls, stall: int, header: RunHeader) -> dict[str, Any]:
    """Task and request of a stall."""
    outer, row = found.outer, int(found.first[stall])
    gfp = _known(found.gfp[stall])
    return {
        "comm": outer.comm.text(row),
        "pid": _known(outer.pid[row]),
        "cgroup": outer.cgroup.text(row),
        "order": _known(found.order[stall]),
        "gfp": None if gfp is None else gfp_text(gfp, header),
        "inside": outer.parent.text(row),
    }


def _known(value: Any) -> int | None:
    return None if int(value) == UNKNOWN else int(value)


def _notes(found: Stalls, none: str) -> tuple[str, ...]:
    own = found.own
    said = []
    if not len(found):
        said.append(none)
    elif not (found.order != UNKNOWN).any():
        said.append(NO_ALLOC)
    if own.any():
        timed = found.lost[own & found.timed]
        said.append(
            f"left out: the recorder's own stalls ({int(own.sum())}), {written(int(timed.sum()), 'ns')}"
        )
    return tuple(said)


def worst(model: Model, found: Stalls) -> Table:
    """The longest stalls, with their stacks."""
    import numpy as np

    chosen = np.flatnonzero(~found.own & found.timed)
    longest = chosen[np.argsort(-found.lost[chosen], kind="stable")[:WORST]].tolist()
    rows = []
    for stall in longest:
        stack = _stack(model, found, stall)
        row = int(found.first[stall])
        rows.append(
            {
                "at_ns": int(found.begin[stall]),
                "at": f"{int(found.begin[stall]) / 1e9:.3f}",
                **_who(found, stall, model.run.header),
                "cpu": _known(found.outer.cpu[row]),
                "nid": _known(found.outer.nid[row]),
                "accepts": int(found.accepts[stall]),
                "bytes": _known(found.bytes[stall]),
                "lost_ns": int(found.lost[stall]),
                "caller": None if stack is None else caller_of(stack),
                "stack": stack,
            }
        )
    return Table("worst", "Longest stalls", _WORST, tuple(rows), _WORSTS, 1, notes=_worst_notes(rows))


def _worst_notes(rows: list[dict[str, Any]]) -> tuple[str, ...]:
    if not rows:
        return ()
    stack = rows[0]["stack"]
    if stack is None:
        return ("the stack of the first is unknown (record --stacks)",)
    return (f"stack of the first, innermost frame first: {' < '.join(reversed(stack.split(';')))}",)


def _stack(model: Model, found: Stalls, stall: int) -> str | None:
    """The stack of the allocation around a stall, else of its first accept."""
    outer, row = found.outer, int(found.first[stall])
    values = {
        "begin": int(found.begin[stall]),
        "finish": int(found.end[stall]),
        "thread": int(outer.tid[row]),
        "on_cpu": int(outer.cpu[row]),
    }
    hit = model.query(_STACK, values)
    return str(hit[0]["stack"]) if hit else None


_STACK = """
WITH near AS (
    SELECT
        stack::VARCHAR AS stack,
        ts_ns,
        ts_ns - dur_ns AS begin_ns,
        event::VARCHAR LIKE 'accept.%' AS accepting
    FROM events
    WHERE stack IS NOT NULL AND ts_ns >= $begin
        AND CASE WHEN $thread > 0 THEN tid = $thread ELSE cpu = $on_cpu AND coalesce(tid, 0) = 0 END
)
SELECT stack FROM near
WHERE CASE WHEN accepting THEN ts_ns <= $finish ELSE ts_ns >= $finish AND begin_ns <= $begin END
ORDER BY accepting, begin_ns, ts_ns DESC LIMIT 1
"""


def bursts(found: Stalls, none: str) -> Table:
    """Stalls in allocations by the number of accepts in each; ``none``: what is said where there is none."""
    import numpy as np

    chosen = ~found.own & found.request
    count, lost = found.accepts[chosen], found.lost[chosen]
    # 0, 1, 2, 3-4, 5-8, …: the power of two that is not below.
    step = np.where(count > 1, np.ceil(np.log2(np.maximum(count, 1))).astype(np.int64) + 1, count)
    rows = []
    for number in np.unique(step).tolist():
        within = step == number
        timed = np.sort(lost[within & (lost != UNKNOWN)])
        high = number if number < 3 else 1 << (number - 1)
        low = number if number < 3 else (high >> 1) + 1
        rows.append(
            {
                "accepts": str(high) if low == high else f"{low}-{high}",
                "accepts_from": low,
                "accepts_to": high,
                "stalls": int(within.sum()),
                "share": int(within.sum()) / len(count),
                "lost_ns": int(timed.sum()) if len(timed) else None,
                **{k: v for k, v in distribution(timed).items() if k.endswith("_ns")},
            }
        )
    notes = () if rows else (NO_ALLOC if len(found) else none,)
    return Table("bursts", "Accepts that one allocation paid for", _BURST, tuple(rows), _BURSTS, notes=notes)


def _untimed(row: Row) -> str:
    return ">" if row["untimed"] else ""


def _unsized(row: Row) -> str:
    return ">" if row["unsized"] and row["bytes"] is not None else ""


_WHO = ("comm", "pid", "cgroup", "order", "gfp", "inside")
_VICTIM = (*_WHO, "stalls", "accepts", "bytes", "unsized", "lost_ns", "untimed", "worst_ns")
_VICTIMS = (
    Column("comm", "comm"),
    Column("pid", "pid", "number"),
    Column("order", "order", "number"),
    Column("gfp", "gfp"),
    Column("stalls", "stalls", "count"),
    Column("accepts", "accepts", "count"),
    Column("bytes", "memory", "bytes", _unsized),
    Column("lost_ns", "lost", "ns", _untimed),
    Column("worst_ns", "worst", "ns"),
    Column("cgroup", "cgroup", "stack", if_any=True),
)
_WORST = ("at_ns", "at", *_WHO, "cpu", "nid", "accepts", "bytes", "lost_ns", "caller", "stack")
_WORSTS = (
    Column("at", "at s", "number"),
    Column("lost_ns", "lost", "ns"),
    Column("accepts", "accepts", "count"),
    Column("comm", "comm"),
    Column("pid", "pid", "number"),
    Column("order", "order", "number"),
    Column("nid", "node", "number"),
    Column("cpu", "cpu", "number"),
    Column("caller", "caller", "stack"),
)
_BURST = (
    "accepts",
    "accepts_from",
    "accepts_to",
    "stalls",
    "share",
    "lost_ns",
    "p50_ns",
    "p90_ns",
    "p99_ns",
    "max_ns",
)
_BURSTS = (
    Column("accepts", "accepts", "number"),
    Column("stalls", "stalls", "count"),
    Column("share", "share", "share"),
    Column("lost_ns", "lost", "ns"),
    Column("p50_ns", "p50", "ns"),
    Column("p90_ns", "p90", "ns"),
    Column("p99_ns", "p99", "ns"),
    Column("max_ns", "worst", "ns"),
)
