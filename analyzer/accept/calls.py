# SPDX-License-Identifier: Apache-2.0
"""The table ``calls``: what accepting took, per node and size, and how long interrupts were off.

One row stands for the acceptances (table ``accepts``) of one node and size whose work was seen
by one event: the innermost one that has a duration, ``accept.arch`` if the kernel
offers it, else ``accept.call``, else ``accept.block``.

size_bytes
    Memory of one acceptance: really accepted where the site tells
    (``bytes_are`` "accepted"), else asked for ("asked for": what was already
    accepted, and the guard unit behind the range, make the true number less or
    more).  Sizes up to 8 MiB in steps of 2 MiB are exact; above, and between, the
    next power of two.  0: everything in the range had been accepted.
calls, bytes, total_ns, time
    Acceptances, their memory, their time (entry to return, ns): "exact", or
    "estimated" where an imported trace has only the entries.
gib_per_s
    2**30 bytes a second of one CPU accepting: bytes / total_ns, over occurrences
    that have both.  With bytes asked for it is estimated (mark ~).
over_100us, over_1ms, over_10ms
    Share of the durations above these.
p50_ns … max_ns
    Quantiles of the single durations (quantiles.py): exact, since each is in the file.

Interrupts: accept_memory() (drivers/firmware/efi/unaccepted_memory.c) keeps them
off while the platform accepts, and on again only between the tries of a caller
that found its range being accepted by another.  So an accept.arch with IRQ_OFF is the time
that interrupts were off (less a few instructions); an accept.call is that or
more, an upper bound where callers compete; an accept.block has the hand-over to
the free lists besides.  On PREEMPT_RT interrupts stay on, and another task may run
in between: the durations are of wall time.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from memtrace.analyzer.accept.rows import ARCH, BLOCK, CALL, MIB, UNKNOWN, Accepts, Spans
from memtrace.analyzer.cells import GIB
from memtrace.analyzer.quantiles import exact_quantile
from memtrace.analyzer.tables import Column, Row, Table
from memtrace.traces.schema import Flag

if TYPE_CHECKING:
    from memtrace.analyzer.accept.rows import Ints

UNIT = 2 * MIB
LIMITS = (("over_100us", 100_000), ("over_1ms", 1_000_000), ("over_10ms", 10_000_000))
"""Columns, and the durations in ns above which an occurrence counts for them."""


def calls(accepts: Accepts) -> Table:
    """One row per node and size, in their order."""
    import numpy as np

    spans = accepts.work
    shown, exact = _sizes(spans)
    rank = np.array(
        [*(accepts.events.index(t) if t in accepts.events else UNKNOWN for t in spans.event.texts), 0]
    )
    keys = np.stack((rank[spans.event.code], spans.nid, shown), axis=1)
    groups, inverse = np.unique(keys, axis=0, return_inverse=True) if len(spans) else (keys, keys[:, 0])
    order = np.argsort(inverse.ravel(), kind="stable")
    edges = np.searchsorted(inverse.ravel()[order], np.arange(len(groups) + 1))
    rows = []
    for i, (event, nid, size) in enumerate(groups.tolist()):
        chosen = order[edges[i] : edges[i + 1]]
        rows.append(
            {
                "event": accepts.events[event],
                "nid": None if nid == UNKNOWN else nid,
                "size_bytes": None if size == UNKNOWN else size,
                "size_is": "exact" if bool(exact[chosen].all()) else "at most",
                **measured(spans.where(chosen)),
            }
        )
    notes = list(_notes(accepts))
    if any(row["size_is"] == "at most" for row in rows):
        notes.append("sizes that are no multiple of 2 MiB up to 8 MiB are shown under the next power of two")
    several = len(accepts.events) > 1
    title = "Accepts per node and size" + ("" if several else f" ({next(iter(accepts.events), CALL)})")
    columns = (_EVENT, *_COLUMNS) if several else _COLUMNS
    return Table("calls", title, _NAMES, tuple(rows), columns, 2 + several, notes=tuple(notes))


def _sizes(spans: Spans) -> tuple[Ints, Any]:
    """The size that each span is shown under, and whether that is exact."""
    import numpy as np

    size = spans.size
    small = (size <= 4 * UNIT) & (size % UNIT == 0)
    above = np.int64(1) << np.ceil(np.log2(np.maximum(size, 1))).astype(np.int64)
    known = size != UNKNOWN
    return np.where(small | ~known, size, above), small | ~known | (above == size)


def measured(spans: Spans) -> dict[str, Any]:
    """Number, memory, rate and distribution of some spans."""
    import numpy as np

    timed, sized = spans.timed, spans.size != UNKNOWN
    asked = bool((spans.bytes == UNKNOWN).any())
    both = timed & sized
    taken = int(spans.dur[both].sum())
    return {
        "calls": len(spans),
        "bytes": int(spans.size[sized].sum()) if bool(sized.any()) else None,
        "bytes_are": None if not sized.any() else ("asked for" if asked else "accepted"),
        "total_ns": int(spans.dur[timed].sum()) if bool(timed.any()) else None,
        "time": _time(spans),
        "gib_per_s": int(spans.size[both].sum()) / GIB / (taken / 1e9) if taken > 0 else None,
        **distribution(np.sort(spans.dur[timed])),
    }


def _time(spans: Spans) -> str:
    """exact, estimated or unknown."""
    if not spans.timed.any():
        return "unknown"
    return "estimated" if (spans.flags & int(Flag.ESTIMATED)).any() else "exact"


def distribution(durations: Ints) -> dict[str, Any]:
    """Shares above the limits and quantiles of durations in ascending order; None without any."""
    import numpy as np

    n = len(durations)
    out: dict[str, Any] = {}
    for name, limit in LIMITS:
        above = n - int(np.searchsorted(durations, limit, side="right"))
        out[name] = above / n if n else None
    for name, per_mille in (("p50_ns", 500), ("p90_ns", 900), ("p99_ns", 990), ("max_ns", 1000)):
        out[name] = exact_quantile(durations, per_mille) if n else None
    return out


def _interrupts(spans: Spans) -> str:
    """Whether they were off during the platform's accepts, by the flag IRQ_OFF of each."""
    off, every = int(((spans.flags & int(Flag.IRQ_OFF)) != 0).sum()), len(spans)
    if off == every:
        return "which runs with interrupts off: so long no interrupt was served on that CPU"
    if not off:
        return "of which it is not known that interrupts were off: on PREEMPT_RT they are not"
    return f"with interrupts off in {off} of {every}: so long no interrupt was served on that CPU"


def _notes(accepts: Accepts) -> tuple[str, ...]:
    spans = accepts.work
    if not len(spans):
        return (accepts.none,)
    if not spans.timed.any():
        return ("the sites of this run saw that memory was accepted, not for how long",)
    why = {
        ARCH: f"the platform's accept alone, {_interrupts(spans.where(spans.event.equal(ARCH)))}",
        CALL: "accept_memory() from entry to return, since the platform's own accept has no site in this"
        " run: interrupts are off while it accepts, on while it waits its turn, so where calls compete"
        " this is more than interrupts were off",
        BLOCK: "a block from the zone's list to the free lists, since accept_memory() has no site in"
        " this run: an upper bound of the time with interrupts off",
    }
    own = int(spans.own.sum())
    said = [(name, why.get(name, "whole bursts")) for name in accepts.events]
    told = [f"durations{f' of {name}' if len(said) > 1 else ''}: {text}" for name, text in said]
    if (spans.flags & int(Flag.ESTIMATED)).any():
        told.append("durations marked ~ were not measured: this trace has no returns of the function")
    if own:
        told.append(f"{own} of them are the recorder's own, which other views keep apart")
    if (spans.size == UNKNOWN).all():
        told.append("memory is unknown: this trace does not have the arguments of the function")
    elif (spans.bytes == UNKNOWN).any():
        told.append(
            "memory is what was asked for; what was really accepted is not seen at this site (a range may"
            " be accepted in part already, and a guard unit of 2 MiB may be accepted behind it)"
        )
    return tuple(told)


def _asked_mark(row: Row) -> str:
    return "~" if row["bytes_are"] == "asked for" else ""


_NAMES = (
    "event",
    "nid",
    "size_bytes",
    "size_is",
    "calls",
    "bytes",
    "bytes_are",
    "total_ns",
    "time",
    "gib_per_s",
    *(name for name, _ in LIMITS),
    "p50_ns",
    "p90_ns",
    "p99_ns",
    "max_ns",
)
DISTRIBUTION = (
    Column("over_100us", ">0.1ms", "share", block=1),
    Column("over_1ms", ">1ms", "share", block=1),
    Column("over_10ms", ">10ms", "share", block=1),
    Column("p50_ns", "p50", "ns", block=1),
    Column("p90_ns", "p90", "ns", block=1),
    Column("p99_ns", "p99", "ns", block=1),
    Column("max_ns", "max", "ns", block=1),
)
_EVENT = Column("event", "event")
"""Shown where not every acceptance was seen by the same one."""
_COLUMNS = (
    Column("nid", "node", "number"),
    Column("size_bytes", "size", "bytes"),
    Column("calls", "calls", "count"),
    Column("bytes", "memory", "bytes", _asked_mark),
    Column("total_ns", "total", "ns", lambda row: "~" if row["time"] == "estimated" else ""),
    Column("gib_per_s", "GiB/s", "rate", _asked_mark),
    *DISTRIBUTION,
)
