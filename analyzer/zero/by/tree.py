# SPDX-License-Identifier: Apache-2.0
"""The table ``tree``: the time of a run as nested frames, and what was cleared in each.

A frame stands for all occurrences of one path: the events around it, outermost first.

bytes
    Memory of the event itself: allocated (alloc) or cleared (zero.*).
cleared
    Bytes cleared in the frame and in all frames inside it.
total_ns, self_ns
    The package says; ``share`` is total_ns over that of the outermost frame.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

from memtrace.analyzer.render.units import written
from memtrace.analyzer.tables import Column, Row, Table
from memtrace.analyzer.zero.by.frames import Forest, Frame, Path, folded, open_ns, walked
from memtrace.analyzer.zero.by.holds import Holds
from memtrace.analyzer.zero.kinds import CLEARING
from memtrace.analyzer.zero.totals import totals_of

if TYPE_CHECKING:
    import duckdb

    from memtrace.traces.reader import Run

SMALL = 0.005
"""Of all time and of all that was cleared: frames with less of both are not on a page."""
_FOLDED = (
    "order 0 was summed in the kernel, which keeps the outermost and the innermost root of"
    " each occurrence: roots between them stand where they always lay, else in the outermost;"
    " `record --stream all` keeps every frame."
)

_NO_SUMS = (
    "order 0 was summed in the kernel, and this run has no sums by root (cut short, imported or"
    " older): what was summed stands as outermost, and its time may be in other frames too."
)


def tree(run: Run, connection: duckdb.DuckDBPyConnection, holds: Holds) -> Table:
    """One row for each frame, each below the one around it, the longest first."""
    if holds.streamed:
        forest = walked(run, connection)
    else:
        forest = folded(totals_of(run, connection), holds.derive, open_ns(run, connection))
    rows = _rows(forest)
    shown = _shown(rows)
    return Table(
        "tree",
        "Clearing by what it was part of",
        _NAMES,
        rows,
        _COLUMNS,
        keys=1,
        shown=None if len(shown) == len(rows) else shown,
        notes=tuple(_notes(run, forest, rows, len(rows) - len(shown), holds)),
    )


def _rows(forest: Forest) -> tuple[Row, ...]:
    frames = {frame.path: frame for frame in forest.frames}
    below: dict[Path, list[Path]] = defaultdict(list)
    cleared: dict[Path, int] = defaultdict(int)
    for path, frame in frames.items():
        below[path[:-1]].append(path)
        for depth in range(1, len(path) + 1):
            cleared[path[:depth]] += (frame.bytes or 0) if frame.path[-1] in CLEARING else 0

    def weight(path: Path) -> tuple[int, int, Path]:
        return -(frames[path].total_ns or 0), -cleared[path], path

    def walk(path: Path) -> Iterator[Path]:
        if path:
            yield path
        for inner in sorted(below[path], key=weight):
            yield from walk(inner)

    return tuple(_row(frames[path], cleared[path], frames[path[:1]]) for path in walk(()))


def _row(frame: Frame, cleared: int, outermost: Frame) -> Row:
    whole = outermost.total_ns
    words = [event.removeprefix("root.") for event in frame.path]
    return {
        "path": " > ".join(frame.path),
        "depth": len(frame.path),
        "frame": ". " * (len(words) - 1) + words[-1],
        "event": frame.path[-1],
        "count": frame.count,
        "bytes": frame.bytes,
        "cleared_bytes": cleared,
        "total_ns": frame.total_ns,
        "self_ns": frame.self_ns,
        "share": frame.total_ns / whole if whole and frame.total_ns is not None else None,
        "derived": frame.derived,
        "at_least": frame.at_least,
        "shared": frame.shared,
    }


def _shown(rows: Sequence[Row]) -> tuple[int, ...]:
    """Those with time or clearing worth a line; what is around them has at least as much."""
    time = sum(row["total_ns"] or 0 for row in rows if row["depth"] == 1)
    size = sum(row["cleared_bytes"] for row in rows if row["depth"] == 1)
    return tuple(
        i
        for i, row in enumerate(rows)
        if (row["total_ns"] or 0) >= SMALL * max(time, 1) or row["cleared_bytes"] >= SMALL * max(size, 1)
    )


def _notes(run: Run, forest: Forest, rows: Sequence[Row], hidden: int, holds: Holds) -> Iterator[str]:
    if not rows:
        yield holds.nothing
        return
    yield "memory: allocated or cleared by the frame itself; share: of the outermost frame."
    if hidden:
        yield (
            f"{hidden} frames with less than {SMALL:.1%} of the time and of what was cleared"
            " are only in --format json."
        )
    yield from holds.notes
    if not any(row["cleared_bytes"] for row in rows):
        yield f"cleared: {holds.nothing}."
    if any(row["at_least"] for row in rows):
        yield "> total: some of it had not ended when the recording did."
    if any(row["shared"] for row in rows):
        yield (
            "~ total, self: clears in allocations and those of the bulk allocator were summed together;"
            " their time is shared out by number."
        )
    if not holds.roots:
        yield "around alloc: unknown; `record -e alloc,zero,root` has it where functions can be hooked."
    elif holds.summed:
        yield _FOLDED if run.status.roots else _NO_SUMS
    elif not forest.whole:
        yield "some occurrences have no time: roots stand where they always lay, else in the outermost."
    yield _sum(rows, forest)
    if apart := _apart(run, forest):
        yield f"not in this tree, but in the time of what is around them: {', '.join(apart)}."


def _sum(rows: Sequence[Row], forest: Forest) -> str:
    selfs = [row["self_ns"] for row in rows]
    if None in selfs:
        return "the sum of self is unknown: some frames have no known time."
    said = f"self adds up to {written(sum(selfs), 'ns')}"
    if forest.union_ns is None:
        return f"{said}."
    if sum(selfs) == forest.union_ns:
        return f"{said}, which is all time in which a frame was open."
    differs = sum(selfs) - forest.union_ns
    return f"{said}; frames were open for {written(forest.union_ns, 'ns')}, which differs by {differs:+d} ns."


def _apart(run: Run, forest: Forest) -> list[str]:
    """Events of the run that sums by root do not place."""
    if forest.whole:
        return []
    return sorted(
        counter.event
        for counter in run.status.counters
        if counter.seen and counter.event.split(".")[0] not in ("alloc", "zero", "root")
    )


def _derived(row: Row) -> str:
    return "~" if row["derived"] else ""


def _vague(row: Row) -> str:
    return "~" if row["shared"] else ">" if row["at_least"] else ""


_NAMES = (
    "path",
    "depth",
    "frame",
    "event",
    "count",
    "bytes",
    "cleared_bytes",
    "total_ns",
    "self_ns",
    "share",
    "derived",
    "at_least",
    "shared",
)
_COLUMNS: tuple[Any, ...] = (
    Column("frame", "frame"),
    Column("count", "count", "count", _derived),
    Column("bytes", "memory", "bytes", _derived),
    Column("cleared_bytes", "cleared", "bytes"),
    Column("total_ns", "total", "ns", _vague),
    Column("self_ns", "self", "ns", _vague),
    Column("share", "share", "share"),
)
