# SPDX-License-Identifier: Apache-2.0
"""The gmem rows of a run in DuckDB, and how their times nest.

``g`` is the staged table guest_rows; ``guest_faults`` is the
staged table faults, with ``ts_ns``, the end of the fault, or its start where it has no end.

Which row lies in which.  A thread does one thing at a time, so that the row of an outer
event is the first of its kind that ends on the same thread at or after the inner one;
it must also begin no later, else an outer row was lost and the inner one is left out.
An inner row whose time is unknown lies where it ended.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from memtrace.traces.schema import Flag

if TYPE_CHECKING:
    import duckdb

    from memtrace.analyzer.model.staged import Model
    from memtrace.traces.reader import Run

HUGE = 512
"""4 KiB pages in a 2 MiB range."""

FAILED, PRIVATE, NOOP = (f"flags & {int(flag)} != 0" for flag in (Flag.FAILED, Flag.PRIVATE, Flag.NOOP))
"""Conditions in SQL."""


_NAMED = """
CREATE OR REPLACE TEMP VIEW g AS FROM guest_rows;
CREATE OR REPLACE TEMP VIEW guest_faults AS SELECT *, coalesce(end_ns, begin_ns) AS ts_ns FROM faults;
"""


def load(model: Model) -> None:
    """Make ``g`` and ``guest_faults``."""
    model.need("guest_rows", "faults")
    model.connection.execute(_NAMED)


def ask(connection: duckdb.DuckDBPyConnection, sql: str) -> list[dict[str, Any]]:
    """The rows of a query, small enough for Python."""
    result = connection.execute(sql)
    names = [column[0] for column in result.description or ()]
    return [dict(zip(names, row, strict=True)) for row in result.fetchall()]


def seen(run: Run, *events: str) -> bool:
    """Whether the run has a site for each of these events; where not, none of them says nothing."""
    sites = {site.event for site in run.header.manifest if site.site}
    return all(event in run.header.events and event in sites for event in events)


def inside(inner: str, outer: str, columns: str) -> str:
    """SQL: ``columns`` of rows ``i`` of relation ``inner``, each with the row ``o`` of ``outer`` it is in."""
    return (
        f"SELECT {columns} FROM {inner} i ASOF JOIN {outer} o ON i.tid = o.tid AND i.ts_ns <= o.ts_ns "
        "WHERE o.ts_ns - o.dur_ns <= i.ts_ns - coalesce(i.dur_ns, 0)"
    )


def of(event: str, condition: str = "true") -> str:
    """SQL: the rows of one event, as a relation."""
    return f"(SELECT * FROM g WHERE event = '{event}' AND {condition})"


PRIVATE_FAULTS = "(SELECT * FROM guest_faults WHERE memory = 'private')"
"""SQL: the faults that are known to be of private memory."""
UNRESOLVED = "coalesce(failed OR retried, false)"
"""SQL: of one of guest_faults, that it is known to have been left unresolved."""
