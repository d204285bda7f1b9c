# SPDX-License-Identifier: Apache-2.0
"""What did not reach the file, by cause.

``ring_full``: seen by the program, but its ring was full.  ``kretprobe_missed``:
no instance was free at the function's entry.  ``recursion``: the program was
skipped because one ran already on that CPU (kernels before 6.7 do not count
this: unknown).  ``entry_without_exit``: an interval began and its end was never
seen.  ``no_room``: more tasks were inside traced functions than there is
room for (older recorders forgot some and did not count them: unknown).
``not_written``: rows that the disk did not take (a row of an aggregate stands for
several occurrences, so this is a lower bound).  Window: from the gate's opening to the
last flush.  ``share`` is of all occurrences that are known of and could be lost: those
seen and those lost unseen.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from memtrace.analyzer.tables import Column, Table

if TYPE_CHECKING:
    from memtrace.traces.run import RunStatus

CAUSES = {
    "ring_full": "ring full",
    "kretprobe_missed": "kretprobe missed",
    "recursion": "program skipped by recursion",
    "entry_without_exit": "entry without exit",
    "no_room": "no room to hold it open",
    "not_written": "row not written",
}


def known_losses(status: RunStatus) -> int:
    """All losses whose number is known."""
    return sum(getattr(status.losses, name) or 0 for name in CAUSES)


def occurrences(status: RunStatus, in_file: int) -> int:
    """Occurrences that are known of and could be lost: seen, or lost unseen.

    The file may hold more: what was inferred from another event (flag INFERRED) is not lost
    by itself.  Its rows are counted only where no program did, as in an imported run.
    """
    lost_after_seen = status.losses.ring_full + status.losses.not_written
    seen = sum(c.seen for c in status.counters) if status.counters else in_file + lost_after_seen
    return seen + known_losses(status) - lost_after_seen


def losses(status: RunStatus, in_file: int) -> Table:
    """One row for each cause; ``count`` is null where the kernel does not tell."""
    total = occurrences(status, in_file)
    counts: dict[str, int | None] = {cause: getattr(status.losses, cause) for cause in CAUSES}
    rows = tuple(
        {"cause": cause, "count": n, "share": None if n is None else (n / total if total else 0.0)}
        for cause, n in counts.items()
    )
    shown = None if known_losses(status) else ()
    return Table("losses", "Losses", ("cause", "count", "share"), rows, _COLUMNS, shown=shown)


def sentence(status: RunStatus, in_file: int) -> str:
    """The losses in a line: number, share, causes, and what is not known."""
    total = occurrences(status, in_file)
    known = known_losses(status)
    by_cause = [f"{words} {n}" for name, words in CAUSES.items() if (n := getattr(status.losses, name))]
    unknown = [words for name, words in CAUSES.items() if getattr(status.losses, name) is None]
    share = f" ({known / total:.2%}): {', '.join(by_cause)}" if known and total else ""
    rest = f"; not known: {', '.join(unknown)}" if unknown else ""
    return f"lost {known} of {total}{share}{rest}"


_COLUMNS = (Column("cause", "cause"), Column("count", "lost", "number"), Column("share", "share", "share"))
