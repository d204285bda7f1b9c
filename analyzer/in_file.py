# SPDX-License-Identifier: Apache-2.0
"""How many events the rows of a run stand for, and how many more were inferred from them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from memtrace.traces.lost import events, known_losses
from memtrace.traces.schema import Flag

if TYPE_CHECKING:
    import duckdb
    import numpy as np
    import numpy.typing as npt

    from memtrace.analyzer.partials import Partials
    from memtrace.traces.reader import Run


@dataclass(frozen=True)
class InFile:
    """What the rows of a run stand for; all of it, the recorder's own and failed attempts too."""

    events: int
    inferred: int = 0
    """Inferred from these events (flag INFERRED), and not among them."""
    imported: int = 0
    """Events that another tracer saw (flag IMPORTED)."""


def in_file(run: Run, connection: duckdb.DuckDBPyConnection) -> InFile:
    """What the rows of a run stand for."""
    if run.partials is not None:
        return _counted(run.partials.flags, run.partials.sums["count"])
    question = """
        SELECT
            coalesce(sum(count) FILTER (flags & $inferred = 0), 0)::BIGINT,
            coalesce(sum(count) FILTER (flags & $inferred > 0), 0)::BIGINT,
            coalesce(sum(count) FILTER (flags & $imported > 0), 0)::BIGINT
        FROM rows_in_file"""
    run.relation(connection, ["count", "flags"]).create_view("rows_in_file", replace=True)
    flags = {"inferred": int(Flag.INFERRED), "imported": int(Flag.IMPORTED)}
    ((own, inferred, imported),) = connection.execute(question, flags).fetchall()
    return InFile(int(own), int(inferred), int(imported))


def in_partials(parts: Partials) -> InFile:
    """What the partial aggregates of all rows of a run stand for."""
    return _counted(parts.flags, parts.count)


def _counted(flags: npt.NDArray[np.int64], count: npt.NDArray[np.int64]) -> InFile:
    inferred = flags & int(Flag.INFERRED) != 0
    imported = flags & int(Flag.IMPORTED) != 0
    return InFile(int(count[~inferred].sum()), int(count[inferred].sum()), int(count[imported].sum()))


def numbers(run: Run, found: InFile) -> dict[str, Any]:
    """The same for machines, with the losses."""
    return {
        "events_known": events(run.status, found.events, found.imported),
        "events_in_file": found.events,
        "events_lost": known_losses(run.status),
        "events_inferred": found.inferred,
        "sums_carried": run.summed_up,
    }
