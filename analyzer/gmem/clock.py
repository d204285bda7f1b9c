# SPDX-License-Identifier: Apache-2.0
"""How far apart the clocks of a host and of its guest are, by what both saw.

Both stamp with their own CLOCK_BOOTTIME; the host's is the guest's plus a difference that
moves evenly, as the two clocks do not run at quite the same rate.  ``offset_ns`` is it at the
middle of a stretch of accepts, ``drift_ppm`` by how much it grows, in us per second.

By memory.  A guest touches memory that it must accept for the first time inside the accept: so
the first private fault of each page of an accepted range lies inside that accept.  The first of
these begins after the accept does, and the last ends before it: each accept bounds the
difference from both sides.  Of the faults only those count that end no longer after the first
than the accept took: later ones are not of it.  ``stretches`` makes lines of the bounds, one
unless a clock jumped or was slewed; accepts that no line keeps are counted.  Under ``FEWEST``
agreeing ones, or under half of them, the runs are taken to be of different VMs or boots.

What range that is: accept.arch's.  accept.call's is another (accept_memory(),
drivers/firmware/efi/unaccepted_memory.c): the kernel accepts one unit of 2 MiB behind what
was asked for, and leaves out what is accepted already, mostly the first unit, which the call
before has accepted.  Without accept.arch the first unit is therefore left out of account.

By the wall clock, where the guest accepted nothing while both were recorded: the CLOCK_REALTIME
anchors of both runs.  ``uncertainty_ns`` then holds the reading of the clocks only: how far apart
the two wall clocks were is not known, nor their drift.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING

from memtrace.analyzer.gmem.rows import PRIVATE_FAULTS
from memtrace.analyzer.gmem.stretches import FEWEST, Stretch, stretches
from memtrace.analyzer.render.units import written
from memtrace.analyzer.tables import Column, Table
from memtrace.errors import MemtraceError

if TYPE_CHECKING:
    from collections.abc import Iterator

    import duckdb

    from memtrace.traces.reader import Run
    from memtrace.traces.run import ClockAnchor

_TIMED = "dur_ns IS NOT NULL AND vm IS NOT NULL AND gfn IS NOT NULL"


@dataclass(frozen=True)
class ByWallClock:
    """The host's CLOCK_BOOTTIME is the guest's plus ``offset_ns``, if their wall clocks are the same."""

    vm: int
    offset_ns: int
    uncertainty_ns: int

    def host_ns(self, guest_ns: str) -> str:
        """SQL: the host's clock at a moment of the guest's, an integer expression."""
        return f"({guest_ns} + {self.offset_ns})"


@dataclass(frozen=True)
class ByMemory:
    """The lines that accepts of a VM agree on, and when each of these began, by the guest's clock."""

    vm: int
    begun: tuple[int, ...]
    stretches: tuple[Stretch, ...]

    @property
    def agreeing(self) -> int:
        """Accepts that one of the lines keeps."""
        return sum(stretch.agreeing for stretch in self.stretches)

    @property
    def uncertainty_ns(self) -> int:
        """That of the least certain stretch."""
        return max(stretch.uncertainty_ns for stretch in self.stretches)

    def host_ns(self, guest_ns: str) -> str:
        """SQL: the host's clock at a moment of the guest's, an integer expression."""
        halfway = [(a.end_ns + b.begin_ns) // 2 for a, b in pairwise(self.stretches)]
        cases = " ".join(
            f"WHEN {guest_ns} < {until} THEN {_moved(stretch, guest_ns)}"
            for until, stretch in zip(halfway, self.stretches, strict=False)
        )
        last = _moved(self.stretches[-1], guest_ns)
        return f"({guest_ns} + {f'CASE {cases} ELSE {last} END' if cases else last})"


def _moved(stretch: Stretch, guest_ns: str) -> str:
    since = f"({guest_ns} - {stretch.at_ns})"
    return f"({stretch.offset_ns} + ({since} * {stretch.drift_ppm * 1e-6!r})::BIGINT)"


Alignment = ByMemory | ByWallClock


def align(host: Run, guest: Run, connection: duckdb.DuckDBPyConnection) -> Alignment:
    """By the host's ``guest_faults`` and the guest's ``t``: id, begun, ended, lo and hi of the gfns accepted.

    Raises MemtraceError where the two are not of one VM.
    """
    ((faults, timed),) = connection.execute(
        f"SELECT count(*), count(*) FILTER ({_TIMED}) FROM guest_faults"
    ).fetchall()
    if faults and not timed:
        raise MemtraceError(
            f"{host.path} does not tell how long faults took, or of which VM they were: record on the host "
            "with `memtrace record -e gmem` where functions can be probed"
        )
    # Text has whole microseconds, rounded down.
    cut = 1000 if guest.header.sources else 0
    private = f"(SELECT * FROM {PRIVATE_FAULTS} WHERE NOT failed AND {_TIMED})"
    pairs = connection.execute(
        "WITH f AS (SELECT vm, gfn, min(ts_ns) AS ended, arg_min(ts_ns - dur_ns, ts_ns) AS begun "
        f"FROM {private} GROUP BY vm, gfn), "
        "n AS (SELECT f.*, t.id, t.begun AS g0, t.ended AS g1, min(f.begun) OVER (PARTITION BY f.vm, t.id) "
        "AS h0 FROM t JOIN f ON f.gfn >= t.lo AND f.gfn < t.hi), "
        "p AS (SELECT vm, any_value(g0) AS g0, any_value(g1) AS g1, any_value(h0) AS h0, "
        "max(ended) FILTER (ended - h0 <= g1 - g0) AS h1 FROM n GROUP BY vm, id) "
        f"SELECT vm, g0, h0 - g0, g1, h1 - g1 - {cut} FROM p WHERE h1 IS NOT NULL"
    ).fetchall()
    found = [_by_memory(vm, [p[1:] for p in pairs if p[0] == vm]) for vm in sorted({p[0] for p in pairs})]
    if found:
        best = max(found, key=lambda alignment: alignment.agreeing)
        if best.agreeing >= FEWEST and best.agreeing * 2 >= len(best.begun):
            return best
        raise MemtraceError(
            f"{guest.path} is not of a VM in {host.path}, or of another boot: of {len(best.begun)} accepts "
            f"whose memory the host touched only {best.agreeing} could have been at the same time"
        )
    return _by_wall_clock(host, guest, connection)


def _by_memory(vm: int, bounds: list[tuple[int, int, int, int]]) -> ByMemory:
    return ByMemory(vm, tuple(b[0] for b in bounds), tuple(stretches(bounds)))


def _by_wall_clock(host: Run, guest: Run, connection: duckdb.DuckDBPyConnection) -> Alignment:
    vms = [vm.number for vm in host.status.vms if vm.private is not False]
    here, there = _anchor(host), _anchor(guest)
    if here is None or there is None or len(vms) != 1:
        raise MemtraceError(
            f"{guest.path} cannot be put on the clock of {host.path}: no memory was accepted while both "
            "were recorded, and wall clocks do not tell which VM it was"
        )
    offset = (here.boottime_ns - here.realtime_ns) - (there.boottime_ns - there.realtime_ns)
    begun, ended = guest.status.started_ns + offset, guest.status.ended_ns + offset
    if ended < host.status.started_ns or begun > host.status.ended_ns:
        raise MemtraceError(
            f"{guest.path} and {host.path} were not recorded at the same time, say their wall clocks: "
            "give the guest's run of the same boot"
        )
    return ByWallClock(vms[0], offset, here.uncertainty_ns + there.uncertainty_ns)


def _anchor(run: Run) -> ClockAnchor | None:
    return next(iter((*run.header.anchors, *run.status.anchors)), None)


def clock_table(found: Alignment) -> Table:
    """The alignment: a row for each stretch, by time."""
    columns = (
        Column("vm", "vm", "number"),
        Column("method", "aligned by"),
        Column("offset_ns", "host less guest, ns", "number"),
        Column("uncertainty_ns", "+/-", "ns"),
        Column("drift_ppm", "drift, ppm", "number"),
        Column("drift_uncertainty_ppm", "+/-", "number"),
        Column("pairs", "pairs", "count"),
        Column("agreeing", "agree", "count"),
    )
    rows = _wall_clock(found) if isinstance(found, ByWallClock) else _lines(found)
    title = "Host and guest on one clock"
    return Table("clock", title, _NAMES, tuple(rows), columns, notes=tuple(_notes(found)))


_NAMES = (
    *("vm", "method", "guest_from_ns", "guest_at_ns", "offset_ns", "drift_ppm", "drift_uncertainty_ppm"),
    *("uncertainty_ns", "pairs", "agreeing"),
)


def _wall_clock(found: ByWallClock) -> list[dict[str, object]]:
    row = {"vm": found.vm, "method": "wall clock", "offset_ns": found.offset_ns, "pairs": 0, "agreeing": 0}
    return [dict.fromkeys(_NAMES) | row | {"uncertainty_ns": found.uncertainty_ns}]


def _lines(found: ByMemory) -> list[dict[str, object]]:
    begins = [stretch.begin_ns for stretch in found.stretches]
    place = [max(sum(begin <= at for begin in begins) - 1, 0) for at in found.begun]
    return [
        {
            "vm": found.vm,
            "method": "memory",
            "guest_from_ns": stretch.begin_ns,
            "guest_at_ns": stretch.at_ns,
            "offset_ns": stretch.offset_ns,
            "drift_ppm": round(stretch.drift_ppm, 3),
            "drift_uncertainty_ppm": round(stretch.drift_uncertainty_ppm, 3),
            "uncertainty_ns": stretch.uncertainty_ns,
            "pairs": place.count(number),
            "agreeing": stretch.agreeing,
        }
        for number, stretch in enumerate(found.stretches)
    ]


def _notes(found: Alignment) -> Iterator[str]:
    if isinstance(found, ByWallClock):
        yield "By the wall clocks of both, whose difference is not known: no accept's host time is certain."
        return
    within = f"Moments of host and guest are comparable to within {written(found.uncertainty_ns, 'ns')}"
    if len(found.stretches) == 1:
        yield f"{within} if both clocks ran evenly, as they seem to have."
    else:
        yield f"{within}."
        yield (
            f"One line does for each of {len(found.stretches)} stretches: between them a clock jumped (the "
            "guest was paused, its clocksource changed) or was slewed; between two, the nearer one is taken."
        )
    if found.agreeing < len(found.begun):
        yield f"On no line are {len(found.begun) - found.agreeing} of {len(found.begun)} accepts."
