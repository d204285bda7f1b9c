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

from typing import TYPE_CHECKING, Any

from memtrace.analyzer.accept.cost import ns_per_byte
from memtrace.analyzer.accept.platform import Platform
from memtrace.analyzer.accept.reuse import Reuse, reuse, uses_missed
from memtrace.analyzer.accept.rows import BLOCK_BYTES, Accepts
from memtrace.analyzer.facts import init_on
from memtrace.analyzer.render.units import written
from memtrace.analyzer.tables import Column, Table
from memtrace.traces.derived import tells_zeroing

if TYPE_CHECKING:
    from memtrace.analyzer.model.staged import Model
    from memtrace.traces.reader import Run


def redundant(model: Model, accepts: Accepts, what: Platform) -> Table:
    """One row."""
    found = reuse(model, accepts)
    rate = _zeroing_rate(model)
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
        "redundant", "Accepted, then zeroed", _NAMES, (row,), _COLUMNS, 2, notes=_notes(model.run, row, what)
    )


def zeroed_again(model: Model, accepts: Accepts) -> tuple[Reuse, int | None]:
    """What became of the memory accepted in this run, and zero_ns."""
    found = reuse(model, accepts)
    return found, zeroing_ns(found, _zeroing_rate(model))


def zeroing_ns(found: Reuse, rate: float | None) -> int | None:
    """zero_ns at ``rate`` ns per byte."""
    if found.zeroed_bytes == 0:
        return 0
    return None if rate is None or found.zeroed_bytes is None else round(found.zeroed_bytes * rate)


def _zeroing_rate(model: Model) -> float | None:
    """ns per byte of zero.alloc, over rows that have both; None without any."""
    ((total, size),) = model.tuples(_RATE)
    return total / size if size and total else None


_RATE = """
SELECT sum(total_ns)::DOUBLE, sum(bytes)::DOUBLE FROM events
WHERE event::VARCHAR = 'zero.alloc' AND total_ns IS NOT NULL AND bytes > 0 AND flags & (64 | 256) = 0
"""


def _notes(run: Run, row: dict[str, Any], what: Platform) -> tuple[str, ...]:
    zeroed = row["zeroed_bytes"]
    if zeroed is None:
        if not tells_zeroing(*init_on(run.header)):
            return ("unknown: whether init_on_alloc or init_on_free is on is not known",)
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
        said.append(f"an estimate: {uses_missed(run)}, so that a first use may have passed unseen")
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
