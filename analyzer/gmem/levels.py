# SPDX-License-Identifier: Apache-2.0
"""At which level private memory was prepared, and what a MiB of it cost.

A *preparation* is a gmem.assign (rmp_make_private(), tdh_mem_page_aug()) of a VM that has
any, else a gmem.prepare, whose level is the order of the folio.  Failed ones are left out.

level           order 0, 9 or 18: 4 KiB, 2 MiB, 1 GiB.
total_ns        of the calls whose time is known; ``untimed_calls`` are the others, whose time is in
                no column.
ns_per_call     total_ns over the calls whose time is known; ns_per_mib: over their MiB.  Inclusive
                (of splits), exact where the site is.
memory_share    of the VM's memory prepared.
fallbacks       preparations at 4 KiB of a page whose folio was of 2 MiB or more.
in_hardware     false: the VM is neither SNP nor TDX, the hook returned at once, and its time is
                the price of a call; null: the kind of VM is unknown.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from memtrace.analyzer.gmem.machines import REAL
from memtrace.analyzer.gmem.rows import FAILED, ask, inside, of, whole_sum
from memtrace.analyzer.tables import Column, Table

if TYPE_CHECKING:
    import duckdb

    from memtrace.traces.reader import Run

PREPARED = (
    f"(SELECT * FROM g WHERE NOT {FAILED} AND \"order\" IS NOT NULL AND (event = 'gmem.assign' "
    "OR (event = 'gmem.prepare' AND vm NOT IN (SELECT vm FROM g WHERE event = "
    "'gmem.assign' AND vm IS NOT NULL))))"
)
"""SQL: the preparations of all VMs, as a relation."""


def levels(run: Run, connection: duckdb.DuckDBPyConnection) -> Table:
    """One row for each VM and level."""
    size = run.header.page_size
    small = of("gmem.assign", f'"order" = 0 AND NOT {FAILED}')
    fallback = inside(small, of("gmem.prepare", '"order" >= 9'), "i.vm AS vm")
    fallbacks = {
        r["vm"]: r["n"] for r in ask(connection, f"SELECT vm, count(*) AS n FROM ({fallback}) GROUP BY vm")
    }
    kinds = {vm.number: vm.kind for vm in run.status.vms}
    found = ask(
        connection,
        'SELECT vm, "order" AS level, min(event) AS event, count(*) AS calls, '
        f"{whole_sum('pages')} AS pages, "
        "sum(dur_ns)::BIGINT AS total_ns, count(dur_ns) AS timed, "
        "sum(pages) FILTER (dur_ns IS NOT NULL)::BIGINT AS timed_pages "
        f"FROM {PREPARED} GROUP BY ALL ORDER BY ALL",
    )
    rows = []
    for row in found:
        pages, total, timed_pages = row["pages"], row["total_ns"], row["timed_pages"]
        of_vm = [r["pages"] for r in found if r["vm"] == row["vm"]]
        whole = None if None in of_vm else sum(of_vm)
        kind = kinds.get(row["vm"])
        rows.append(
            {
                "vm": row["vm"],
                "level": row["level"],
                "event": row["event"],
                "calls": row["calls"],
                "bytes": None if pages is None else pages * size,
                "memory_share": pages / whole if whole else None,
                "total_ns": total,
                "untimed_calls": row["calls"] - row["timed"],
                "ns_per_call": total / row["timed"] if total is not None else None,
                "ns_per_mib": total / (timed_pages * size / 2**20) if timed_pages and pages else None,
                "fallbacks": fallbacks.get(row["vm"], 0) if row["level"] == 0 else 0,
                "in_hardware": kind in REAL if kind else None,
            }
        )
    notes = []
    if idle := sorted({str(row["vm"]) for row in rows if row["in_hardware"] is False}):
        which = f"VM{'s' * (len(idle) > 1)} {', '.join(idle)}"
        notes.append(
            f"Preparation is a no-op for {which}, neither SNP nor TDX: the time is that of calling a hook "
            "that returns at once, not the price of preparing memory."
        )
    if rows and {row["level"] for row in rows} == {0}:
        notes.append("Nothing was prepared at 2 MiB, so that 4 KiB cannot be held against it.")
    return Table("levels", "Preparation by level", _NAMES, tuple(rows), _COLUMNS, keys=2, notes=tuple(notes))


_NAMES = (
    "vm",
    "level",
    "event",
    "calls",
    "bytes",
    "memory_share",
    "total_ns",
    "untimed_calls",
    "ns_per_call",
    "ns_per_mib",
    "fallbacks",
    "in_hardware",
)
_COLUMNS = (
    Column("vm", "vm", "number"),
    Column("level", "order", "number"),
    Column("event", "seen as"),
    Column("calls", "calls", "count"),
    Column("bytes", "memory", "bytes"),
    Column("memory_share", "share", "share"),
    Column("total_ns", "total", "ns", lambda row: ">" if row["untimed_calls"] else ""),
    Column("untimed_calls", "untimed", "count", if_any=True),
    Column("ns_per_call", "a call", "ns"),
    Column("ns_per_mib", "a MiB", "ns"),
    Column("fallbacks", "fallback", "count", if_any=True),
)
