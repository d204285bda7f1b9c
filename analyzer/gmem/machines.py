# SPDX-License-Identifier: Apache-2.0
"""The virtual machines of a run: what each is, and what happened to its private memory.

faults
    All gmem.fault, those that failed or are taken again included.
private_faults, shared_faults
    Of private and of other memory; ``failed`` went to user space with an error,
    ``retried`` were neither resolved nor failed.  Unknown where only the tracepoint was there.
prepared_bytes
    Memory made private: bytes of gmem.prepare that did not fail, each time it is prepared.
populated_bytes
    Initial contents, likewise private.
freed_bytes
    Memory given back: bytes of gmem.free.
to_private, to_shared, no_op
    Conversions that changed something, by direction, and calls that changed nothing; where that
    cannot be told the former are all calls, and the latter unknown.
holes
    Those that did not fail.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from memtrace.analyzer.gmem.rows import FAILED, NOOP, PRIVATE, RETRIED, ask
from memtrace.analyzer.tables import Caveat, Column, Table

if TYPE_CHECKING:
    import duckdb

    from memtrace.traces.reader import Run

UNTOLD = f"pages IS NULL AND NOT {FAILED}"
"""SQL: of a conversion, that it cannot be told whether it changed anything."""
_SUMS = {
    "faults": "count(*) FILTER (event = 'gmem.fault')",
    "private_faults": f"count(*) FILTER (event = 'gmem.fault' AND {PRIVATE})",
    "shared_faults": f"count(*) FILTER (event = 'gmem.fault' AND NOT {PRIVATE})",
    "failed": f"count(*) FILTER (event = 'gmem.fault' AND {FAILED})",
    "retried": f"count(*) FILTER (event = 'gmem.fault' AND {RETRIED})",
    "lookups": "count(*) FILTER (event = 'gmem.get')",
    "preparations": f"count(*) FILTER (event = 'gmem.prepare' AND NOT {FAILED})",
    "prepared_pages": f"coalesce(sum(pages) FILTER (event = 'gmem.prepare' AND NOT {FAILED}), 0)::BIGINT",
    "populated_pages": "coalesce(sum(pages) FILTER (event = 'gmem.populate'), 0)::BIGINT",
    "freed_pages": "coalesce(sum(pages) FILTER (event = 'gmem.free'), 0)::BIGINT",
    "to_private": f"count(*) FILTER (event = 'gmem.convert' AND {PRIVATE} AND NOT ({NOOP} OR {FAILED}))",
    "to_shared": f"count(*) FILTER (event = 'gmem.convert' AND NOT ({PRIVATE} OR {NOOP} OR {FAILED}))",
    "no_op": f"CASE WHEN count(*) FILTER (event = 'gmem.convert' AND {UNTOLD}) = 0 "
    f"THEN count(*) FILTER (event = 'gmem.convert' AND {NOOP}) END",
    "holes": f"count(*) FILTER (event = 'gmem.punch' AND NOT {FAILED})",
}
_EVENT = {name: re.findall(r"gmem\.\w+", sql)[0] for name, sql in _SUMS.items()}
"""The event that each sum is of: without a site for it the sum is unknown."""
_NAMES = ("vm", "kind", "private", "pid", "comm")
_PAGES = {"prepared_pages", "populated_pages", "freed_pages"}
REAL = ("snp", "tdx")
"""Kinds of VMs whose pages are prepared in hardware."""


def machines(run: Run, connection: duckdb.DuckDBPyConnection) -> Table:
    """One row for each VM, those without any event included.

    vm null: pages nobody is known to own, and faults of a VM that the trace does not name, by process.
    """
    sums = ", ".join(f"{sql} AS {name}" for name, sql in _SUMS.items())
    process = "CASE WHEN vm IS NULL AND event IN ('gmem.fault', 'gmem.split') THEN pid END"
    found = {
        (row["vm"], row["pid"]): row
        for row in ask(
            connection,
            f"SELECT vm, {process} AS pid, min_by(comm, ts_ns) AS comm, {sums} FROM g "
            "WHERE event LIKE 'gmem.%' GROUP BY ALL",
        )
    }
    sites = {site.event for site in run.header.manifest if site.site}
    unseen = dict.fromkeys(_bytes(name) for name, event in _EVENT.items() if event not in sites)
    timed = next((s.time != "unknown" for s in run.header.manifest if s.event == "gmem.fault"), True)
    size = run.header.page_size
    known = {vm.number: vm for vm in run.status.vms}
    rows = []
    keys = {*found, *((number, None) for number in known)}
    for number, pid in sorted(keys, key=lambda k: (k[0] is None, k[0] or 0, k[1] or 0)):
        vm, row = known.get(number), found.get((number, pid), dict.fromkeys(_SUMS, 0))
        rows.append(
            {
                "vm": number,
                "kind": vm.kind if vm else None,
                "private": vm.private if vm else None,
                "pid": vm.pid if vm else pid,
                "comm": (vm.comm if vm else row.get("comm") if pid else None) or None,
                **{_bytes(name): row[name] * size if name in _PAGES else row[name] for name in _SUMS},
            }
        )
        rows[-1] |= unseen
        if not timed:
            rows[-1] |= dict.fromkeys(("failed", "retried", "private_faults", "shared_faults"))
    names = (*_NAMES, *map(_bytes, _SUMS))
    return Table("vms", "Virtual machines", names, tuple(rows), _COLUMNS)


def _bytes(name: str) -> str:
    return name.replace("_pages", "_bytes")


def untold(table: Table) -> list[Caveat]:
    """Whether conversions that changed nothing could not be told from the others."""
    which = [str(row["vm"]) for row in table.rows if row["no_op"] is None and row["to_private"] is not None]
    if not which:
        return []
    text = f"conversions of VM {', '.join(which)} that changed nothing count as changes: they look alike here"
    return [Caveat("changes-untold", text)]


def no_ops(run: Run) -> list[int]:
    """Numbers of the VMs for which preparation has nothing to do in hardware."""
    return [vm.number for vm in run.status.vms if vm.private and vm.kind not in REAL]


_COLUMNS = (
    Column("vm", "vm", "number"),
    Column("kind", "kind"),
    Column("comm", "process"),
    Column("faults", "faults", "count"),
    Column("private_faults", "private", "count"),
    Column("shared_faults", "shared", "count"),
    Column("failed", "failed", "count"),
    Column("retried", "again", "count"),
    Column("lookups", "get_pfn", "count"),
    Column("prepared_bytes", "prepared", "bytes", block=1),
    Column("populated_bytes", "populated", "bytes", block=1),
    Column("freed_bytes", "freed", "bytes", block=1),
    Column("to_private", "->private", "count", block=1),
    Column("to_shared", "->shared", "count", block=1),
    Column("no_op", "no-op", "count", block=1),
    Column("holes", "holes", "count", block=1),
)
