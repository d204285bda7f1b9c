# SPDX-License-Identifier: Apache-2.0
"""A run's acceptance, each accept counted once.

One accept appears as several events, nested: accept.burst holds accept.block,
that accept.call, that accept.arch.  So they are never added up.

calls   occurrences of accept.call; where no site or source gives that event, of
        accept.block, else of accept.arch.
time    total_ns of the same rows, inclusive: waiting for other calls is in it.
        Null where a source sees only the entry.
bytes   of accept.block (PAGE_SIZE << MAX_PAGE_ORDER each, whether the source saw
        the argument or only that the function was entered) and of those
        accept.call that are in no block; where there are no blocks, those of
        accept.arch (what the platform was asked for, guard unit included), else
        what accept.call was asked for.  A bound from below where some calls'
        bytes are unknown.
queued  bytes taken off the zones' lists, which is what the counter Unaccepted
        counts: the blocks alone, where there are any; else as bytes, and as they a
        bound from below where some are unknown.

An accept belongs to the moment at which it began (ts_ns less dur_ns), and to the
node of its memory.  Where that is unknown but the thread is pgdatinitN, which
initialises node N's memmap (mm/mm_init.c), it is N's; and a machine's only node has all.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from memtrace.traces.schema import Flag

if TYPE_CHECKING:
    import duckdb

    from memtrace.traces.reader import Run

Window = tuple[int | None, int | None]
"""From (inclusive) and to (exclusive), CLOCK_BOOTTIME ns; None: open."""

BLOCK, CALL, ARCH = "accept.block", "accept.call", "accept.arch"
MAX_PAGE_ORDER = 10
"""x86-64's (include/linux/mmzone.h); no other architecture has unaccepted memory."""
_COLUMNS = (
    "flags",
    "ts_ns",
    "dur_ns",
    "event",
    "cpu",
    "comm",
    "count",
    "bytes",
    "bytes_requested",
    "total_ns",
    "nid",
)
_TABLE = f"""
CREATE TEMP TABLE accepts AS
SELECT "ts_ns" - coalesce("dur_ns", 0) AS begun_ns, "ts_ns" AS ended_ns,
  "event"::VARCHAR AS event, "cpu" AS cpu,
  coalesce("nid", TRY_CAST(nullif(regexp_extract("comm"::VARCHAR, '^pgdatinit([0-9]+)$', 1), '') AS INTEGER),
    {{only}}) AS nid,
  "count" AS n, "total_ns" AS total_ns, "flags" & {int(Flag.ESTIMATED)} <> 0 AS estimated,
  "parent"::VARCHAR IS NOT DISTINCT FROM '{BLOCK}' AS in_block,
  CASE "event"::VARCHAR WHEN '{BLOCK}' THEN coalesce("bytes", "count" * {{block}})
    WHEN '{CALL}' THEN coalesce("bytes_requested", "bytes") ELSE "bytes" END AS bytes
FROM rows_ WHERE "event"::VARCHAR IN ('{BLOCK}', '{CALL}', '{ARCH}')
"""


@dataclass(frozen=True)
class Seen:
    """Acceptance in some window, on some node."""

    calls: int
    bytes: int | None
    bytes_partial: bool
    """Some calls' bytes are unknown: ``bytes`` is a bound from below."""
    queued: int | None
    queued_partial: bool
    """``queued`` is a bound from below."""
    total_ns: int | None
    time_partial: bool
    time_estimated: bool
    """A part of ``total_ns`` is an estimate (the function tracer's, which sees no returns)."""


NOTHING = Seen(0, 0, False, 0, False, 0, False, False)


class Accepts:
    """The accept rows of a run, in a table of its connection."""

    def __init__(self, run: Run, connection: duckdb.DuckDBPyConnection) -> None:
        rows = run.relation(connection, (*_COLUMNS, "parent"))
        connection.register("rows_", rows)
        only = run.header.nodes[0].nid if len(run.header.nodes) == 1 else "NULL"
        connection.execute(_TABLE.format(block=run.header.page_size << MAX_PAGE_ORDER, only=only))
        connection.unregister("rows_")
        self._connection = connection
        events = {event for (event,) in self._ask("SELECT DISTINCT event FROM accepts")}
        self.counted = next((e for e in (CALL, BLOCK, ARCH) if e in events), None)
        """The event that calls and time are taken from; None where nothing was seen."""
        self.blocks = BLOCK in events
        self._nested = bool(self._ask("SELECT 1 FROM accepts WHERE in_block LIMIT 1"))
        self._sized = ARCH if ARCH in events else CALL

    def nodes(self) -> list[int | None]:
        """Nodes that accepts are known to be on, None among them where some are unknown."""
        found = [nid for (nid,) in self._ask("SELECT DISTINCT nid FROM accepts")]
        return sorted(found, key=lambda nid: (nid is None, nid))

    def seen(self, window: Window = (None, None), nids: Iterable[int | None] | None = None) -> Seen:
        """What is known of the accepts that began in ``window``, on ``nids`` (None: all)."""
        if self.counted is None:
            return NOTHING
        where = [f"begun_ns >= {window[0]}"] if window[0] is not None else []
        where += [f"begun_ns < {window[1]}"] if window[1] is not None else []
        if nids is not None:
            chosen = list(nids)
            listed = ", ".join(str(nid) for nid in chosen if nid is not None) or "NULL"
            where.append(f"(nid IN ({listed}){' OR nid IS NULL' if None in chosen else ''})")
        clause = " AND ".join(where) or "true"
        calls, timed, total = self._sum("total_ns", f"{clause} AND event = '{self.counted}'")
        queued, bytes_, partial = self._bytes(clause, calls)
        return Seen(
            calls=calls,
            bytes=bytes_,
            bytes_partial=partial,
            queued=queued,
            queued_partial=partial and not self.blocks,
            total_ns=total if timed or not calls else None,
            time_partial=0 < timed < calls,
            time_estimated=bool(
                self._ask(
                    f"SELECT 1 FROM accepts WHERE {clause} AND event = '{self.counted}'"
                    " AND estimated AND total_ns IS NOT NULL LIMIT 1"
                )
            ),
        )

    def _bytes(self, clause: str, calls: int) -> tuple[int | None, int | None, bool]:
        """Queued bytes, bytes, and whether the latter are a bound."""
        if not self.blocks:
            count, known, total = self._sum("bytes", f"{clause} AND event = '{self._sized}'")
            sized = total if known or not count else None
            return sized, sized, 0 < known < count
        blocks, _, queued = self._sum("bytes", f"{clause} AND event = '{BLOCK}'")
        if not self._nested:
            return queued, queued, calls > blocks
        others, known, extra = self._sum("bytes", f"{clause} AND event = '{CALL}' AND NOT in_block")
        return queued, queued + extra, known < others

    def _sum(self, column: str, clause: str) -> tuple[int, int, int]:
        """Occurrences, those of them with a known ``column``, and its sum."""
        ((n, known, total),) = self._ask(
            f"SELECT coalesce(sum(n), 0)::BIGINT, coalesce(sum(n) FILTER ({column} IS NOT NULL), 0)::BIGINT,"
            f" coalesce(sum({column}), 0)::BIGINT FROM accepts WHERE {clause}"
        )
        return n, known, total

    def spans(self) -> dict[str, Any]:
        """Columns begun_ns, ended_ns, cpu, nid of the counted event, in order of time (numpy, masked)."""
        sql = (
            f"SELECT begun_ns, ended_ns, cpu, nid FROM accepts WHERE event = '{self.counted}'"
            " ORDER BY begun_ns"
        )
        columns: dict[str, Any] = self._connection.execute(sql).fetchnumpy()
        return columns

    def falls(self) -> dict[str, Any]:
        """Columns begun_ns, nid, bytes of what left the lists, in order of time (numpy, masked)."""
        event = BLOCK if self.blocks else self._sized
        sql = f"SELECT begun_ns, nid, bytes FROM accepts WHERE event = '{event}' ORDER BY begun_ns"
        columns: dict[str, Any] = self._connection.execute(sql).fetchnumpy()
        return columns

    def _ask(self, sql: str) -> Sequence[tuple[Any, ...]]:
        return self._connection.execute(sql).fetchall()
