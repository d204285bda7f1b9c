# SPDX-License-Identifier: Apache-2.0
"""Where the time of a hot-add went, each nanosecond once.

Start: hot.request's entry.  End: the return of its last block's onlining (the request's
own, if none came online).  Exclusive time of every traced occurrence inside, summed by
phase; nested time is in the inner phase alone.  ``not_in_rows`` is what these sums leave
of the measured intervals: order-0 allocations summed in the kernel, which name no thread.
``gap`` is the time in no interval: added, and waiting for somebody to bring it online
(udev, an administrator).  All phases together are the time from start to end, unless two
threads brought blocks online at once: then the gap is what no thread worked in, and the
phases add up to more than passed.

memmap is the allocation of struct pages without their clearing (memmap_zero); where
clearing was not traced, it is inside memmap and memmap_zero is unknown.  other is what of
other traced events lies inside (root.*: the work around their allocations).  Interrupts
are inside whatever they interrupted.

Of an occurrence without a duration only the end is known: it is counted, and its time is
in the phase around it.  A phase of which no occurrence has a time is unknown; one of which
some have is a lower bound (``at_least``).
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from memtrace.analyzer import callers
from memtrace.analyzer.hotplug.adds import HotAdd
from memtrace.analyzer.hotplug.rows import Occurrence, of
from memtrace.analyzer.tables import Column, Row, Table
from memtrace.analyzer.unknown import plus

if TYPE_CHECKING:
    import duckdb

    from memtrace.traces.reader import Run

PHASES: dict[str, str] = {
    "request": "request: resource, block devices",
    "arch": "arch_add_memory(): direct map",
    "sections": "sections, less their struct pages",
    "memmap": "allocation of struct pages",
    "memmap_zero": "clearing of struct pages",
    "altmap": "struct pages inside the block",
    "init": "initialising struct pages",
    "zone": "the zone's span",
    "online": "onlining: pages to the allocator",
    "accept": "acceptance",
    "block": "block device: notifiers, state",
    "other_alloc": "other allocation inside",
    "other_zero": "other clearing inside",
    "other": "other traced work inside",
    "not_in_rows": "not in rows (summed in the kernel)",
    "gap": "gap: added, not yet online",
}
"""Each phase and what it is, in the order of a page."""

_OF_EVENT = {
    "hot.request": "request",
    "hot.add": "arch",
    "hot.section": "sections",
    "hot.memmap": "memmap",
    "hot.altmap": "altmap",
    "hot.init": "init",
    "hot.zone": "zone",
    "hot.online": "online",
    "hot.block": "block",
}


@dataclass(frozen=True)
class Nested:
    """What of other events lies inside a hot-add's intervals: exclusive time by phase, and counts."""

    own: Mapping[str, int]
    untimed: frozenset[str]
    """Phases with occurrences that have no time."""
    accepts_online: int
    """accept.call rows inside."""
    accept_bytes: int | None
    """Memory of those, None if unknown."""
    bytes_are: str | None
    """``accepted``, or ``asked for`` where of some of it that is all that is known; None without any."""
    filled: Mapping[str, int] = field(default_factory=dict)
    """By phase: of ``own``, what lies directly inside hot.* rows whose own time still has it."""


NONE = Nested({}, frozenset(), 0, 0, None)


def nested(run: Run, adds: Sequence[HotAdd], connection: duckdb.DuckDBPyConnection) -> dict[int, Nested]:
    """By number of the hot-add, what alloc, zero.* and accept.* rows lie inside; one scan of the file."""
    if not adds:
        return {}
    windows = [(add.number, w.tid, w.start, w.end) for add in adds for w in add.windows]
    memmaps = [(m.tid, m.start, m.end) for add in adds for m in of(add.rows, "hot.memmap")]
    connection.execute("CREATE TEMP TABLE hot_windows (number INT, tid INT, low BIGINT, high BIGINT)")
    connection.execute("CREATE TEMP TABLE hot_memmaps (tid INT, low BIGINT, high BIGINT)")
    connection.executemany("INSERT INTO hot_windows VALUES (?, ?, ?, ?)", windows)
    if memmaps:
        connection.executemany("INSERT INTO hot_memmaps VALUES (?, ?, ?)", memmaps)
    needed = ["event", "ts_ns", "dur_ns", "self_ns", "tid", "bytes", "bytes_requested"]
    rows = run.relation(connection, needed)
    own: dict[int, dict[str, int]] = defaultdict(lambda: defaultdict(int))
    vague: dict[int, set[str]] = defaultdict(set)
    accepted: dict[int, tuple[int, int | None, str | None]] = {}
    found = callers.query(rows, _NESTED).fetchall()
    for number, event, in_memmap, n, timed, time, size, sized, known in found:
        phase = _phase(event, in_memmap)
        own[number][phase] += time
        if timed < n:
            vague[number].add(phase)
        if event == "accept.call":
            count, before, are = accepted.get(number, (0, 0, "accepted"))
            accepted[number] = (
                count + n,
                plus(before, int(size) if sized == n else None),
                are if known == n else "asked for",
            )
    filled = _filled(adds, rows, connection)
    return {
        number: Nested(
            times,
            frozenset(vague[number]),
            *accepted.get(number, (0, 0, None)),
            filled=filled.get(number, {}),
        )
        for number, times in own.items()
    }


def _filled(
    adds: Sequence[HotAdd], rows: duckdb.DuckDBPyRelation, connection: duckdb.DuckDBPyConnection
) -> dict[int, dict[str, int]]:
    """By number of the hot-add and phase, ns of other events directly inside ``filled`` rows."""
    every = [(add.number, row) for add in adds for row in add.rows if row.dur is not None]
    if not any(row.filled for _, row in every):
        return {}
    # The inner one begins later, or ends sooner: it has the larger number.
    every.sort(key=lambda pair: (pair[1].start, -pair[1].end))
    connection.execute("CREATE TEMP TABLE hot_rows (id INT, tid INT, low BIGINT, high BIGINT)")
    intervals = [(i, row.tid, row.start, row.end) for i, (_, row) in enumerate(every)]
    connection.executemany("INSERT INTO hot_rows VALUES (?, ?, ?, ?)", intervals)
    found: dict[int, dict[str, int]] = defaultdict(lambda: defaultdict(int))
    for at, time in callers.query(rows, _INNERMOST).fetchall():
        number, row = every[at]
        if row.filled and row.event in _OF_EVENT:
            found[number][_OF_EVENT[row.event]] += time
    return found


_INNERMOST = """
SELECT inmost, coalesce(sum(self_ns), 0)::BIGINT FROM (
    SELECT any_value(r.self_ns) AS self_ns, max(h.id) AS inmost
    FROM (SELECT row_number() OVER () AS place, * FROM rows_ WHERE event::VARCHAR NOT LIKE 'hot.%') r
    JOIN hot_rows h ON r.tid = h.tid AND r.ts_ns <= h.high AND r.ts_ns - coalesce(r.dur_ns, 0) >= h.low
    GROUP BY r.place)
GROUP BY inmost
"""


# A sum over steps of accepting (accept.step) and a row of which only the end was seen have no
# duration: they lie where they end.
_NESTED = """
SELECT w.number, r.event::VARCHAR, m.tid IS NOT NULL, count(*), count(r.self_ns),
    coalesce(sum(r.self_ns), 0)::BIGINT,
    sum(coalesce(r.bytes, r.bytes_requested))::BIGINT, count(coalesce(r.bytes, r.bytes_requested)),
    count(r.bytes)
FROM rows_ r
JOIN hot_windows w ON r.tid = w.tid AND r.ts_ns <= w.high AND r.ts_ns - coalesce(r.dur_ns, 0) >= w.low
LEFT JOIN hot_memmaps m
    ON r.tid = m.tid AND r.ts_ns <= m.high AND r.ts_ns - coalesce(r.dur_ns, 0) >= m.low
WHERE r.event::VARCHAR NOT LIKE 'hot.%' GROUP BY ALL
"""


def _phase(event: str, in_memmap: bool) -> str:
    if event.startswith("accept."):
        return "accept"
    if event.startswith("zero."):
        return "memmap_zero" if in_memmap else "other_zero"
    if in_memmap:
        return "memmap"
    return "other_alloc" if event == "alloc" else "other"


def exclusive(add: HotAdd, inner: Nested, seen: frozenset[str]) -> dict[str, int | None]:
    """ns of each phase; None where its event was not traced.  ``seen``: events with timed sites."""
    time: dict[str, int | None] = dict.fromkeys(PHASES, 0)
    for row in add.rows:
        phase = _OF_EVENT.get(row.event)
        if phase:
            time[phase] = (time[phase] or 0) + (row.own or 0)
    for phase, own in inner.filled.items():
        time[phase] = max((time[phase] or 0) - own, 0)
    for phase, own in inner.own.items():
        time[phase] = (time[phase] or 0) + own
    spent = sum(window.dur or 0 for window in add.windows)
    time["not_in_rows"] = max(spent - sum(value or 0 for value in time.values()), 0)
    time["gap"] = add.end - add.request.start - covered(add.windows)
    for phase in (*_untraced(seen), *untimed(add, inner)):
        if not time[phase]:
            time[phase] = None
    return time


def untimed(add: HotAdd, inner: Nested) -> frozenset[str]:
    """Phases with occurrences that have no time."""
    own = (_OF_EVENT.get(row.event) for row in add.rows if row.own is None)
    return inner.untimed.union(phase for phase in own if phase)


def covered(windows: Sequence[Occurrence]) -> int:
    """ns in at least one of the intervals."""
    total, reached = 0, 0
    for window in sorted(windows, key=lambda w: w.start):
        total += max(window.end - max(window.start, reached), 0)
        reached = max(reached, window.end)
    return total


def _untraced(seen: frozenset[str]) -> list[str]:
    phases = [phase for event, phase in _OF_EVENT.items() if event not in seen]
    if "zero.alloc" not in seen:
        phases += ["memmap_zero", "other_zero"]
    if "alloc" not in seen:
        phases += ["other_alloc"]
    if not any(event.startswith("accept") for event in seen):
        phases.append("accept")
    return phases


def table(
    adds: Sequence[HotAdd],
    times: Mapping[int, Mapping[str, int | None]],
    inner: Mapping[int, Nested],
    shown: int,
) -> Table:
    """One row for each hot-add and phase."""
    rows: list[dict[str, Any]] = []
    for add in adds:
        time = times[add.number]
        total = add.end - add.request.start
        vague = untimed(add, inner.get(add.number, NONE))
        for phase, what in PHASES.items():
            value = time[phase]
            rows.append(
                {
                    "add": add.number,
                    "phase": phase,
                    "what": what,
                    "self_ns": value,
                    "share": value / total if value is not None and total else None,
                    "at_least": value is not None and phase in vague,
                }
            )
    drawn = tuple(
        i for i, row in enumerate(rows) if row["add"] <= shown and (row["self_ns"] is None or row["self_ns"])
    )
    columns = (
        Column("add", "add", "number"),
        Column("what", "phase"),
        Column("self_ns", "self", "ns", _part),
        Column("share", "share", "share", _part),
    )
    notes = [] if rows else ["no memory was added"]
    if len(adds) > shown:
        notes.append(f"the first {shown} of {len(adds)} hot-adds; all are in --format json")
    return Table(
        "phases",
        "Where the time went, exclusive, from the request to the last block online",
        ("add", "phase", "what", "self_ns", "share", "at_least"),
        tuple(rows),
        columns,
        keys=2,
        shown=drawn,
        notes=tuple(notes),
    )


def _part(row: Row) -> str:
    return ">" if row["at_least"] else ""
