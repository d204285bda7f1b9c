# SPDX-License-Identifier: Apache-2.0
"""The table ``redundant``: memory that was accepted, and then zeroed by the allocator before its first use.

The kernel zeroes such pages whether or not acceptance has just cleared them
(post_alloc_hook() in mm/page_alloc.c never asks).  Skipping it would be right only
on a platform whose accept clears memory: TDX.  On SEV-SNP PVALIDATE leaves the
contents; nothing there is redundant, and the table says so instead of a saving.

zeroed_bytes
    Memory accepted in this run whose first allocation afterwards was zeroed by the
    allocator (``alloc`` rows with ZEROED).  Page by page: a page counts once, at
    its first allocation after its accept; if that was not zeroed, never.  Exact if
    every allocation is a row of its own (``--stream all``), and every accept tells its place
    and memory (else ``bound`` is "at least", and accepted_bytes one, too).  Where the kernel summed
    some (``bound`` "at most"), it is the lesser of the memory accepted and the memory that
    allocations zeroed after the first accept, which may count a page twice.  Allocations in bulk
    (alloc_pages_bulk) and alloc_contig_range() pass the probe unseen.  "estimated" where
    events were lost or filtered out: the first use of a page may be among them.
used_bytes
    Memory accepted in this run and allocated at least once since; null with sums.
zero_ns
    Time of zeroing that much at the run's own rate of ``zero.alloc`` (total_ns /
    bytes where both are known): an estimate.  Null where that rate is unknown.
accept_block_ns, zero_block_ns
    What 4 MiB cost to accept (at the rate of one CPU, cost.py) and to zero (at
    zero.alloc's rate): whether "clearing the cache-hot page for the second time" is
    small beside accepting it.
saving_ns
    zero_ns where the accept cleared the memory; 0 where it does not; null where
    that is unknown.

Window: the recording from the first accept seen.  Zeroing in user-page paths
(``zero.user``) is not in it.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from memtrace.analyzer.accept.cost import ns_per_byte
from memtrace.analyzer.accept.platform import Platform
from memtrace.analyzer.accept.rows import BLOCK_BYTES, UNKNOWN, Accepts, Spans
from memtrace.analyzer.callers import query
from memtrace.analyzer.cells import APART
from memtrace.analyzer.losses import known_losses
from memtrace.analyzer.render.units import written
from memtrace.analyzer.tables import Column, Table
from memtrace.traces.schema import Flag

if TYPE_CHECKING:
    import duckdb

    from memtrace.analyzer.accept.rows import Ints
    from memtrace.traces.reader import Run

ROWS = 1 << 18
"""Allocations looked at together."""
PAGES = 1 << 20
"""Pages that are written down one by one at a time."""
SPAN = 1 << 23
"""Page frames looked at together, at 9 bytes each; more are looked at in parts."""


@dataclass(frozen=True)
class Reuse:
    """Pages that were accepted, by what first became of them."""

    accepted_bytes: int | None
    zeroed_bytes: int | None
    used_bytes: int | None
    bound: str
    """exact, at most, at least, estimated or unknown."""
    partial: bool = False
    """``accepted_bytes`` is a bound from below: where some memory lies, or how much it is, is unknown."""


def redundant(run: Run, accepts: Accepts, what: Platform, connection: duckdb.DuckDBPyConnection) -> Table:
    """One row."""
    found = reuse(run, accepts, connection)
    rate = _zeroing_rate(run, connection)
    zero_ns = zeroing_ns(found, rate)
    each = ns_per_byte(accepts)
    saving = zero_ns if what.cleared or found.zeroed_bytes is None else (None if what.cleared is None else 0)
    row = {
        "platform": what.name,
        "accept_clears": {True: "yes", False: "no", None: "unknown"}[what.cleared],
        "accepted_bytes": found.accepted_bytes,
        "accepted_partial": found.partial and found.accepted_bytes is not None,
        "used_bytes": found.used_bytes,
        "zeroed_bytes": found.zeroed_bytes,
        "bound": found.bound,
        "zero_ns": zero_ns,
        "accept_block_ns": None if each is None else round(each * BLOCK_BYTES),
        "zero_block_ns": None if rate is None else round(rate * BLOCK_BYTES),
        "saving_ns": saving,
    }
    return Table(
        "redundant", "Accepted, then zeroed", _NAMES, (row,), _COLUMNS, 2, notes=_notes(run, row, what)
    )


def zeroed_again(
    run: Run, accepts: Accepts, connection: duckdb.DuckDBPyConnection
) -> tuple[Reuse, int | None]:
    """What became of the memory accepted in this run, and zero_ns."""
    found = reuse(run, accepts, connection)
    return found, zeroing_ns(found, _zeroing_rate(run, connection))


def zeroing_ns(found: Reuse, rate: float | None) -> int | None:
    """zero_ns at ``rate`` ns per byte."""
    if found.zeroed_bytes == 0:
        return 0
    return None if rate is None or found.zeroed_bytes is None else round(found.zeroed_bytes * rate)


def reuse(run: Run, accepts: Accepts, connection: duckdb.DuckDBPyConnection) -> Reuse:
    """What became of the memory accepted in this run."""
    found = _seen_uses(run, accepts, connection)
    if found.zeroed_bytes is not None and _uses_missed(run):
        return dataclasses.replace(found, bound="estimated")
    return found


def _uses_missed(run: Run) -> str:
    """Why the first use of memory may have passed unseen; empty where it may not."""
    lost = known_losses(run.status)
    filters = f"filters were on ({', '.join(run.header.filters)})" if run.header.filters else ""
    return "; ".join(filter(None, (f"{lost} events were lost" if lost else "", filters)))


def _seen_uses(run: Run, accepts: Accepts, connection: duckdb.DuckDBPyConnection) -> Reuse:
    """The same, of the allocations in the file."""
    spans = accepts.levels[accepts.work]
    known = (spans.pfn != UNKNOWN) & (spans.size > 0)
    partial = accepts.summed > 0 or bool((~known & (spans.size != 0)).any())
    spans = spans.where(known)
    accepted = int(spans.size.sum()) if len(spans) else None
    if accepted is None or "alloc" not in run.header.events:
        return Reuse(accepted, None, None, "unknown", partial)
    rows = run.relation(connection, ["event", "flags", "ts_ns", "bytes", "count"])
    since = int(spans.end.min())
    summed, zeroed = query(
        rows,
        f'SELECT coalesce(sum("count") FILTER (flags & {int(Flag.AGGREGATED)} <> 0), 0)::BIGINT,'
        f" coalesce(sum(bytes) FILTER (flags & {int(Flag.ZEROED)} <> 0), 0)::BIGINT"
        f" FROM rows_ WHERE event = 'alloc' AND ts_ns >= {since} AND flags & {int(Flag.FAILED)} = 0",
    ).fetchall()[0]
    if summed and partial:
        return Reuse(accepted, None, None, "unknown", partial)
    if summed:
        return Reuse(accepted, min(accepted, int(zeroed)), None, "at most")
    zeroed_pages, used_pages = _first_uses(run, spans, since, connection)
    page = run.header.page_size
    return Reuse(
        accepted, zeroed_pages * page, used_pages * page, "at least" if partial else "exact", partial
    )


def _first_uses(run: Run, spans: Spans, since: int, connection: duckdb.DuckDBPyConnection) -> tuple[int, int]:
    """Pages accepted whose first allocation since was zeroed, and those that had any."""
    import numpy as np

    first, end = spans.pfn, spans.pfn + spans.size // run.header.page_size
    zeroed_pages = used_pages = 0
    for low, high in _stretches(first, end):
        touching = (first < high) & (end > low)
        ready = _ready(first[touching], end[touching], spans.end[touching], low, high)
        state = np.zeros(high - low, dtype=np.int8)
        for pfn, order, zeroed, ts in _allocations(run, since, low, high, connection):
            _note(state, ready, pfn - low, order, zeroed, ts)
        zeroed_pages += int((state == 1).sum())
        used_pages += int((state != 0).sum())
    return zeroed_pages, used_pages


def _stretches(first: Ints, end: Ints) -> Iterator[tuple[int, int]]:
    """Stretches of at most SPAN page frames, apart from each other, that hold all ranges [first, end)."""
    import numpy as np

    rank = np.argsort(first, kind="stable")
    first, reached = first[rank], np.maximum.accumulate(end[rank])
    low = int(first[0])
    while True:
        begun = int(np.searchsorted(first, low + SPAN))
        last = int(reached[begun - 1])
        high = min(low + SPAN, last)
        yield low, high
        if last == high and begun == len(first):
            return
        low = high if last > high else int(first[begun])


def _ready(first: Ints, end: Ints, at: Ints, low: int, high: int) -> Ints:
    """When each page of [low, high) was accepted, the largest integer where it was not.

    ``first``, ``end``, ``at``: ranges of pages, and when each had been accepted, shape (n,).
    """
    import numpy as np

    ready = np.full(high - low, np.iinfo(np.int64).max, dtype=np.int64)
    # Latest first, so that of several accepts of a page the earliest is written last.
    latest = np.argsort(-at, kind="stable")
    start = np.maximum(first, low)
    pages = np.minimum(end, high) - start
    for part in _parts(pages[latest]):
        chosen = latest[part]
        ready[_expanded(start[chosen] - low, pages[chosen])] = np.repeat(at[chosen], pages[chosen])
    return ready


def _parts(sizes: Ints) -> list[Ints]:
    """The positions 0 … n - 1, split so that the sizes of a part sum to about PAGES."""
    import numpy as np

    edges = np.flatnonzero(np.diff(np.cumsum(sizes) // PAGES)) + 1
    return np.split(np.arange(len(sizes)), edges)


def _expanded(first: Ints, sizes: Ints) -> Ints:
    """The numbers from each ``first`` on, as many as its size, one after the other."""
    import numpy as np

    pages: Ints = np.repeat(first - (np.cumsum(sizes) - sizes), sizes) + np.arange(sizes.sum())
    return pages


def _allocations(run: Run, since: int, low: int, high: int, connection: duckdb.DuckDBPyConnection) -> Any:
    """Allocations of pages in [low, high) in the order of time: pfn, order, zeroed, ts_ns, in batches."""
    rows = run.relation(connection, ["event", "flags", "ts_ns", "pfn", "order"])
    ordered = query(
        rows,
        f'SELECT pfn, "order"::BIGINT, (flags & {int(Flag.ZEROED)} <> 0)::TINYINT, ts_ns FROM rows_'
        f" WHERE event = 'alloc' AND ts_ns >= {since} AND pfn < {high} AND \"order\" IS NOT NULL"
        f' AND pfn + (1::BIGINT << "order"::BIGINT) > {low} AND flags & {int(Flag.FAILED)} = 0'
        " ORDER BY ts_ns",
    )
    for batch in ordered.to_arrow_reader(ROWS):
        yield tuple(column.to_numpy(zero_copy_only=False) for column in batch.columns)


def _note(state: Any, ready: Ints, first: Ints, order: Ints, zeroed: Any, ts: Ints) -> None:
    """Marks pages by their first allocation since they were accepted: 1 zeroed, 2 not."""
    import numpy as np

    sizes = np.int64(1) << order
    for part in _parts(sizes):
        page = _expanded(first[part], sizes[part])
        when, is_zeroed = np.repeat(ts[part], sizes[part]), np.repeat(zeroed[part], sizes[part])
        inside = (page >= 0) & (page < len(state))
        page, when, is_zeroed = page[inside], when[inside], is_zeroed[inside]
        fresh = (state[page] == 0) & (when >= ready[page])
        page, is_zeroed = page[fresh], is_zeroed[fresh]
        # Backwards, so that of several allocations of a page the earliest is written last.
        state[page[::-1]] = np.where(is_zeroed, 1, 2)[::-1]


def _zeroing_rate(run: Run, connection: duckdb.DuckDBPyConnection) -> float | None:
    """ns per byte of zero.alloc, over rows that have both; None without any."""
    rows = run.relation(connection, ["event", "flags", "total_ns", "bytes"])
    total, size = query(
        rows,
        "SELECT sum(total_ns)::DOUBLE, sum(bytes)::DOUBLE FROM rows_ WHERE event = 'zero.alloc'"
        f" AND total_ns IS NOT NULL AND bytes > 0 AND flags & {int(APART)} = 0",
    ).fetchall()[0]
    return total / size if size and total else None


def _notes(run: Run, row: dict[str, Any], what: Platform) -> tuple[str, ...]:
    zeroed = row["zeroed_bytes"]
    if zeroed is None:
        return ("unknown: allocations were not recorded (-e alloc), or the address of accepts is unknown",)
    said = []
    amount = f"{row['bound'] + ' ' if row['bound'] != 'exact' else ''}{written(zeroed, 'bytes')}"
    if not zeroed:
        said.append("nothing of what was accepted had been zeroed at its first use by the end")
    elif what.cleared:
        time = (
            f"about {written(row['zero_ns'], 'ns')} of zeroing"
            if row["zero_ns"] is not None
            else "a time that is unknown here (zero.alloc has no durations)"
        )
        said.append(
            f"{what.name} clears memory as it accepts it: zeroing {amount} again was redundant; {time}"
        )
    elif what.cleared is False:
        why = (
            "this emulation was not told to clear" if what.name == "emulated" else "PVALIDATE does not clear"
        )
        said.append(
            f"nothing of it is redundant on this platform ({what.name}: {why}); on TDX, whose accept clears"
            f" memory, {amount} would be"
        )
    else:
        said.append(f"whether this platform's accept clears memory is unknown, so {amount} may be redundant")
    accepting, zeroing = row["accept_block_ns"], row["zero_block_ns"]
    if accepting and zeroing:
        said.append(
            f"4 MiB take {written(accepting, 'ns')} to accept and about {written(zeroing, 'ns')} to zero,"
            f" {written(zeroing / accepting, 'share')} of that"
        )
    if row["bound"] == "estimated":
        said.append(f"an estimate: {_uses_missed(run)}, so that a first use may have passed unseen")
    if row["bound"] == "at least":
        said.append("a lower bound: of some accepts the place or the memory is unknown")
    if row["bound"] == "at most":
        said.append("an upper bound: allocations were summed in the kernel (exact with record --stream all)")
    return tuple(said)


_NAMES = (
    "platform",
    "accept_clears",
    "accepted_bytes",
    "accepted_partial",
    "used_bytes",
    "zeroed_bytes",
    "bound",
    "zero_ns",
    "accept_block_ns",
    "zero_block_ns",
    "saving_ns",
)
_COLUMNS = (
    Column("platform", "platform"),
    Column("accept_clears", "clears"),
    Column("accepted_bytes", "accepted", "bytes", lambda row: ">" if row["accepted_partial"] else ""),
    Column("used_bytes", "used since", "bytes", lambda row: ">" if row["bound"] == "at least" else ""),
    Column("zeroed_bytes", "zeroed", "bytes"),
    Column("bound", "which is"),
    Column("zero_ns", "zeroing", "ns", lambda row: "~" if row["zero_ns"] else ""),
    Column("saving_ns", "saving", "ns", lambda row: "~" if row["saving_ns"] else ""),
)
