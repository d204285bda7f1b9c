# SPDX-License-Identifier: Apache-2.0
"""What did not reach the file, by cause.

``ring_full``: seen by the program, but its ring was full.  ``kretprobe_missed``:
no instance was free at the function's entry.  ``recursion``: the program was
skipped because one ran already on that CPU (for kprobes, kernels before 6.7 do not
count this: unknown).  ``entry_without_exit``: an interval began and its end was never
seen.  ``no_room``: more tasks were inside traced functions than there is
room for (older recorders forgot some and did not count them: unknown).
``not_written``: rows that the disk did not take (a row of an aggregate stands for
several events, so this is a lower bound).  Window: from the gate's opening to the
last flush.  ``share`` is of all events that are known of (traces/lost.py): those in the
file and those lost.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from memtrace.analyzer.tables import Column, Table
from memtrace.traces.lost import CAUSES, events, known_losses

if TYPE_CHECKING:
    from memtrace.analyzer.in_file import InFile
    from memtrace.analyzer.tables import Row
    from memtrace.traces.run import RunStatus
    from memtrace.traces.totals import EventCounters


def losses(status: RunStatus, in_file: InFile) -> Table:
    """One row for each cause; ``count`` is null where the kernel does not tell."""
    total = events(status, in_file.events, in_file.imported)
    counts: dict[str, int | None] = {cause: getattr(status.losses, cause) for cause in CAUSES}
    rows = tuple(
        {"cause": cause, "count": n, "share": None if n is None else (n / total if total else 0.0)}
        for cause, n in counts.items()
    )
    shown = None if known_losses(status) else ()
    return Table("losses", "Losses", ("cause", "count", "share"), rows, _COLUMNS, shown=shown)


def ledger(status: RunStatus) -> Table:
    """One row for each event that anything is known of: what became of each time that it began.

    ``reached``: how often the kernel came to where it begins.  That is ``in_file`` and all columns
    after it, and null where one of them is.  Filters apart: what they left out is in none, but for
    ``missed``, where no program ran that could apply them.
    """
    rows = tuple(_became(counter) for counter in status.counters)
    rows = tuple(row for row in rows if any(value for name, value in row.items() if name != "event"))
    lost = tuple(i for i, row in enumerate(rows) if any(row[name] for name in _LOST))
    return Table("ledger", "Losses by event", _LEDGER, rows, _LEDGER_COLUMNS, shown=lost)


def _became(counter: EventCounters) -> Row:
    parts: dict[str, int | None] = {
        "in_file": counter.streamed + counter.aggregated,
        "ring_full": counter.ring_full,
        "failed": counter.failed,
        "no_room": counter.no_room,
        "no_exit": counter.no_exit,
        "open": counter.open,
        "missed": counter.missed,
    }
    known = [value for value in parts.values() if value is not None]
    reached = sum(known) if len(known) == len(parts) else None
    return {"event": counter.event, "reached": reached, **parts}


def sentence(status: RunStatus, in_file: InFile) -> str:
    """The losses in a line: number, share, causes, and what is not known."""
    total = events(status, in_file.events, in_file.imported)
    known = known_losses(status)
    by_cause = [f"{words} {n}" for name, words in CAUSES.items() if (n := getattr(status.losses, name))]
    unknown = [words for name, words in CAUSES.items() if getattr(status.losses, name) is None]
    share = f" ({known / total:.2%}): {', '.join(by_cause)}" if known and total else ""
    rest = f"; not known: {', '.join(unknown)}" if unknown else ""
    return f"lost {known} of {total}{share}{rest}"


_LOST = ("ring_full", "no_room", "no_exit", "open", "missed")
_LEDGER = ("event", "reached", "in_file", "ring_full", "failed", "no_room", "no_exit", "open", "missed")
_LEDGER_COLUMNS = (
    Column("event", "event"),
    Column("reached", "reached", "count"),
    Column("in_file", "in file", "count"),
    Column("ring_full", "ring full", "count"),
    Column("failed", "failed", "count"),
    Column("no_room", "no room", "count"),
    Column("no_exit", "no exit", "count"),
    Column("open", "open", "count"),
    Column("missed", "missed", "count"),
)
_COLUMNS = (Column("cause", "cause"), Column("count", "lost", "number"), Column("share", "share", "share"))
