# SPDX-License-Identifier: Apache-2.0
"""What of other events lies inside a hot-add's intervals: alloc, zero.*, accept.*, root.*.

A row lies inside where its thread's interval holds it; one without a duration (a sum over
the steps of an acceptance, or one of which only the end was seen) where it ends.  Exclusive
time, in ns, by phase (phases.py); bytes accepted are those asked for where no more is known.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from memtrace.analyzer import callers
from memtrace.analyzer.hotplug.adds import HotAdd
from memtrace.analyzer.hotplug.rows import of
from memtrace.analyzer.unknown import plus

if TYPE_CHECKING:
    import duckdb

    from memtrace.traces.reader import Run

OF_EVENT = {
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
"""The phase of each hot.* event."""


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
        if row.filled and row.event in OF_EVENT:
            found[number][OF_EVENT[row.event]] += time
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
