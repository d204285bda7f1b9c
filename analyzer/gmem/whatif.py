# SPDX-License-Identifier: Apache-2.0
"""What other policies would have made of the same run: predictions, never measurements.

Each replays the run's private faults, preparations, holes and conversions per 2 MiB range of the
guest and counts anew.  ``faults``: resolved private faults; ``preparations``: calls that make
memory private; ``cleared``: memory that guest_memfd clears; ``time``: see below; ``extra``:
memory in use beyond the recorded; ``holes_refused``.

as recorded     the counts of the trace.
huge+fallback   guest_memfd gives 2 MiB pages; a range that was ever punched or converted in part
                goes on by 4 KiB, as recorded, until a hole covers all of it.
huge only       2 MiB pages without small ones, holes in part refused: a range is faulted in once,
                and once more after each conversion that touches it.
no small holes  4 KiB pages as recorded, holes below 2 MiB refused: a page that such a hole had
                given back stays prepared, and is not prepared again.
preallocated    all memory allocated before: faults do not allocate.  Counts are as recorded, time is
                unknown where allocations were not recorded, extra where the VM's size is not.
prefault        each conversion to private prefaults its range: the next fault of each page in it
                does not happen, and pages that nobody asked for are made too.

Time is that of the recorded faults, and what the counts differ by: each fault at the mean cost of
one less the clearing and preparation inside, each 4 KiB cleared and each preparation at its mean
cost; one at 2 MiB at the mean measured there, else at that of 4 KiB.  Costs are this run's.  The
clearing and preparing of a prefault is in it, outside faults.  What a huge page saves in the
guest's page walks is not, nor what finding one costs.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from memtrace.analyzer.gmem.levels import PREPARED
from memtrace.analyzer.gmem.rows import FAILED, HUGE, NOOP, PRIVATE, RETRIED, ask, inside, of
from memtrace.analyzer.gmem.touch import sees
from memtrace.analyzer.tables import Column, Table

if TYPE_CHECKING:
    import duckdb

    from memtrace.traces.reader import Run

ASSUMPTIONS = {
    "as recorded": "the trace",
    "huge+fallback": "every range gets a 2 MiB page at first; broken in part: 4 KiB as recorded",
    "huge only": "always 2 MiB; holes in part refused; a conversion in part costs one fault",
    "no small holes": "4 KiB; holes below 2 MiB refused, their pages stay prepared",
    "preallocated": "as recorded less the allocation inside faults",
    "prefault": "a conversion to private makes all its pages; no fault for them until the next",
}


@dataclass(frozen=True)
class Costs:
    """Means of this run, ns; None where nothing was timed."""

    fault: float | None
    """Of a private fault, without clearing, preparation and allocation of pages inside."""
    clear_page: float
    """Of clearing 4 KiB."""
    prepare: float
    """Of one preparation at 4 KiB."""
    prepare_huge: float
    """At 2 MiB; that at 4 KiB where none was seen."""
    alloc: float | None
    """Allocation in all faults; None where it was not recorded."""
    recorded: float | None
    """All private faults together."""


def what_if(run: Run, connection: duckdb.DuckDBPyConnection) -> Table:
    """One row for each VM and policy."""
    size = run.header.page_size
    _tables(connection)
    rows: list[dict[str, Any]] = []
    for (vm,) in connection.execute("SELECT DISTINCT vm FROM wf WHERE vm IS NOT NULL ORDER BY vm").fetchall():
        costs = _costs(connection, vm, sees(run, "alloc"))
        counts = _counts(connection, vm)
        recorded = counts["as recorded"]
        for policy, found in counts.items():
            time = _time(found, recorded, costs)
            if policy == "preallocated":
                time = None if time is None or costs.alloc is None else time - costs.alloc
            rows.append(
                {
                    "vm": vm,
                    "policy": policy,
                    "faults": found["faults"],
                    "preparations": found["preparations"],
                    "cleared_bytes": found["cleared"] * size,
                    "time_ns": None if time is None else round(max(time, 0)),
                    "faults_share": found["faults"] / recorded["faults"] if recorded["faults"] else None,
                    "extra_bytes": None if policy == "preallocated" else found["extra"] * size,
                    "holes_refused": found["refused"],
                    "assumption": ASSUMPTIONS[policy],
                }
            )
    columns = (
        Column("vm", "vm", "number"),
        Column("policy", "policy"),
        Column("faults", "faults", "count"),
        Column("faults_share", "of now", "share"),
        Column("preparations", "prepared", "count"),
        Column("cleared_bytes", "cleared", "bytes"),
        Column("time_ns", "time", "ns", lambda row: "" if row["policy"] == "as recorded" else "~"),
        Column("extra_bytes", "extra", "bytes"),
        Column("holes_refused", "refused", "count"),
    )
    names = ("vm", *(c.name for c in columns[1:]), "assumption")
    notes = tuple(f"{policy}: {text}." for policy, text in ASSUMPTIONS.items() if policy != "as recorded")
    if rows:
        notes += ("Times are this run's mean costs times the counts; see analyzer/gmem/whatif.py.",)
    return Table("whatif", "What if", names, tuple(rows), columns, keys=2, notes=notes if rows else ())


def _tables(connection: duckdb.DuckDBPyConnection) -> None:
    """``wf``: faults, ``wp``: preparations, each with the number of breaks of its range before it.

    ``parts``: holes and conversions of a part since the range was last given back whole;
    ``breaks``: those and the whole ones, ``emptied``: holes that cover it, ``turned``: conversions
    to shared.  Most ranges have none, and need no counting.
    """
    touched = "unnest(range(gfn // 512, (gfn + asked - 1) // 512 + 1)) AS range"
    whole = "gfn <= range * 512 AND gfn + asked >= (range + 1) * 512"
    change = f"NOT ({FAILED} OR {NOOP}) AND gfn IS NOT NULL AND asked > 0"
    connection.execute(
        "CREATE OR REPLACE TEMP TABLE breaks AS SELECT vm, range, ts_ns, event, "
        f"({whole}) AS whole FROM (SELECT vm, ts_ns, event, flags, "
        f"gfn, asked, {touched} "
        f"FROM g WHERE (event = 'gmem.punch' OR event = 'gmem.convert' AND NOT {PRIVATE}) AND {change})"
    )
    counted = (
        "SELECT x.*, count(*) FILTER (kind = 'part') OVER w AS parts, "
        "count(*) FILTER (kind = 'emptied') OVER w AS emptied, "
        "count(*) FILTER (kind IN ('part_turned', 'turned')) OVER w AS turned FROM ("
        "SELECT vm, range, gfn, ts_ns, dur_ns, pages, 'x' AS kind FROM {rows} SEMI JOIN breaks "
        "USING (vm, range) UNION ALL "
        "SELECT vm, range, NULL, ts_ns, NULL, NULL, kind FROM breaks, LATERAL (SELECT unnest(CASE "
        "WHEN event = 'gmem.punch' AND whole THEN ['emptied'] WHEN event = 'gmem.punch' THEN ['part'] "
        "WHEN whole THEN ['turned'] ELSE ['part', 'part_turned'] END) AS kind)) x "
        "WINDOW w AS (PARTITION BY vm, range ORDER BY ts_ns ROWS UNBOUNDED PRECEDING)"
    )
    faults = of("gmem.fault", f"{PRIVATE} AND NOT ({FAILED} OR {RETRIED}) AND gfn IS NOT NULL")
    prepared = of("gmem.prepare", f"NOT {FAILED} AND gfn IS NOT NULL")
    for name, rows in (("wf", faults), ("wp", prepared)):
        connection.execute(
            f"CREATE OR REPLACE TEMP TABLE {name} AS SELECT * FROM "
            f"({counted.format(rows=rows)}) WHERE kind = 'x' UNION ALL "
            "SELECT vm, range, gfn, ts_ns, dur_ns, pages, 'x' AS kind, 0 AS parts, 0 AS emptied, 0 AS turned "
            f"FROM {rows} ANTI JOIN breaks USING (vm, range)"
        )


def _counts(connection: duckdb.DuckDBPyConnection, vm: int) -> dict[str, dict[str, int]]:
    def one(sql: str) -> int:
        ((value,),) = connection.execute(sql).fetchall()
        return int(value or 0)

    mine = f"vm = {vm}"
    faults = one(f"SELECT count(*) FROM wf WHERE {mine}")
    prepared = one(f"SELECT count(*) FROM wp WHERE {mine}")
    cleared = one(f"SELECT sum(pages) FROM {of('gmem.zero', mine)}")
    recorded = {"faults": faults, "preparations": prepared, "cleared": cleared, "extra": 0, "refused": 0}
    recorded["huge"] = 0

    # A range is whole as long as nothing broke it in part since it was last emptied.
    fresh = f"{mine} AND parts = 0"
    broken_faults = one(f"SELECT count(*) FROM wf WHERE {mine} AND parts > 0")
    huge_faults = one(f"SELECT count(*) FROM (SELECT DISTINCT range, emptied, turned FROM wf WHERE {fresh})")
    broken_prepared = one(f"SELECT count(*) FROM wp WHERE {mine} AND parts > 0")
    huge_prepared = one(f"SELECT count(*) FROM (SELECT DISTINCT range, emptied FROM wp WHERE {fresh})")
    used = one(f"SELECT count(DISTINCT gfn) FROM wp WHERE {fresh}")
    broken_pages = one(f"SELECT sum(pages) FROM wp WHERE {mine} AND parts > 0")
    fallback = {
        "faults": broken_faults + huge_faults,
        "preparations": broken_prepared + huge_prepared,
        "cleared": broken_pages + HUGE * huge_prepared,
        "extra": HUGE * one(f"SELECT count(DISTINCT range) FROM wp WHERE {fresh}") - used,
        "refused": 0,
        "huge": huge_prepared,
    }

    small = f"{of('gmem.punch', f'{mine} AND NOT {FAILED}')}"
    refused = one(
        f"SELECT count(*) FROM {small} WHERE gfn IS NOT NULL AND (gfn + asked) // 512 <= (gfn + 511) // 512"
    )
    ranges = one(f"SELECT count(DISTINCT range) FROM wp WHERE {mine}")
    all_prepared = one(f"SELECT count(*) FROM (SELECT DISTINCT range, emptied FROM wp WHERE {mine})")
    only = {
        "faults": one(f"SELECT count(*) FROM (SELECT DISTINCT range, emptied, turned FROM wf WHERE {mine})"),
        "preparations": all_prepared,
        "cleared": HUGE * all_prepared,
        "extra": HUGE * ranges - one(f"SELECT count(DISTINCT gfn) FROM wp WHERE {mine}"),
        "refused": refused,
        "huge": all_prepared,
    }

    saved, saved_pages, held = _small_holes(connection, vm)
    no_small = recorded | {
        "preparations": prepared - saved,
        "cleared": max(cleared - saved_pages, 0),
        "extra": held,
        "refused": refused,
    }
    fewer, unasked = _prefault(connection, vm)
    prefault = {
        "faults": faults - fewer,
        "preparations": prepared + unasked,
        "cleared": cleared + unasked,
        "extra": unasked,
        "refused": 0,
        "huge": 0,
    }
    return {
        "as recorded": recorded,
        "huge+fallback": fallback,
        "huge only": only,
        "no small holes": no_small,
        "preallocated": dict(recorded),
        "prefault": prefault,
    }


def _small_holes(connection: duckdb.DuckDBPyConnection, vm: int) -> tuple[int, int, int]:
    """Preparations (and their pages) that follow a hole below 2 MiB; pages such holes had given back."""
    small = of(
        "gmem.punch",
        f"vm = {vm} AND NOT {FAILED} AND gfn IS NOT NULL AND (gfn + asked) // 512 <= (gfn + 511) // 512",
    )
    steps = (
        "SELECT f.gfn AS gfn, f.ts_ns AS ts_ns, 'free' AS kind, f.pages AS pages FROM "
        f"(SELECT * FROM {of('gmem.free', f'vm = {vm}')} WHERE parent = 'gmem.punch') f ASOF JOIN {small} p "
        "ON f.tid = p.tid AND f.ts_ns <= p.ts_ns WHERE p.ts_ns - p.dur_ns <= f.ts_ns "
        "UNION ALL SELECT gfn, ts_ns, 'prepare', pages FROM "
        f"{of('gmem.prepare', f'vm = {vm} AND NOT {FAILED}')}"
    )
    found = ask(
        connection,
        f"WITH s AS (SELECT *, lag(kind) OVER (PARTITION BY gfn ORDER BY ts_ns) AS before FROM ({steps})) "
        "SELECT count(*) FILTER (kind = 'prepare' AND before = 'free') AS saved, "
        "coalesce(sum(pages) FILTER (kind = 'prepare' AND before = 'free'), 0)::BIGINT AS saved_pages, "
        "coalesce(sum(pages) FILTER (kind = 'free'), 0)::BIGINT AS freed FROM s",
    )[0]
    return found["saved"], found["saved_pages"], found["freed"] - found["saved_pages"]


def _prefault(connection: duckdb.DuckDBPyConnection, vm: int) -> tuple[int, int]:
    """Faults that prefaulting conversions would have saved, and pages that nobody asked for."""
    condition = f"vm = {vm} AND {PRIVATE} AND NOT ({FAILED} OR {NOOP}) AND gfn IS NOT NULL"
    found = ask(
        connection,
        "WITH c AS (SELECT ts_ns, gfn, asked FROM "
        f"{of('gmem.convert', condition)}), "
        f"hit AS (SELECT DISTINCT f.gfn AS gfn, max(c.ts_ns) AS since FROM wf f JOIN c ON f.ts_ns > c.ts_ns "
        f"AND f.gfn >= c.gfn AND f.gfn < c.gfn + c.asked WHERE f.vm = {vm} GROUP BY f.gfn, f.ts_ns), "
        "made AS (SELECT gfn, asked FROM c) "
        "SELECT (SELECT count(*) FROM hit) AS fewer, (SELECT count(DISTINCT gfn) FROM hit) AS pages, "
        "(SELECT coalesce(sum(n), 0)::BIGINT FROM (SELECT max(asked) AS n FROM made m WHERE NOT EXISTS "
        "(SELECT 1 FROM made o WHERE o.gfn <= m.gfn AND o.gfn + o.asked >= m.gfn + m.asked "
        "AND (o.gfn, o.asked) != (m.gfn, m.asked)) GROUP BY m.gfn)) AS covered",
    )[0]
    return found["fewer"], max(found["covered"] - found["pages"], 0)


def _costs(connection: duckdb.DuckDBPyConnection, vm: int, with_alloc: bool) -> Costs:
    def mean(what: str) -> Any:
        ((value,),) = connection.execute(f"SELECT {what}").fetchall()
        return value

    clear = mean(f"(SELECT sum(dur_ns) / sum(pages) FROM {of('gmem.zero', f'vm = {vm}')})") or 0.0
    level = '(SELECT avg(dur_ns) FROM {} WHERE vm = {} AND "order" {} 9)'
    small = mean(level.format(PREPARED, vm, "<")) or 0.0
    huge = mean(level.format(PREPARED, vm, ">=")) or small
    parts = of("gmem.zero", f"vm = {vm}") + " UNION ALL " + of("gmem.prepare", f"vm = {vm}")
    within = inside(f"({parts})", of("gmem.get", "parent = 'gmem.fault'"), "i.dur_ns AS ns")
    nested = mean(f"(SELECT coalesce(sum(ns), 0) FROM ({within}))")
    fault = mean(f"(SELECT sum(dur_ns) FROM wf WHERE vm = {vm})")
    count = mean(f"(SELECT count(*) FROM wf WHERE vm = {vm})")
    own = (float(fault) - float(nested)) / count if fault is not None and count else None
    alloc = mean(
        "(SELECT coalesce(sum(dur_ns), 0) FROM g WHERE event = 'alloc' AND parent = 'gmem.get' "
        f"AND tid IN (SELECT tid FROM g WHERE event = 'gmem.fault' AND vm = {vm}))"
    )
    total = None if fault is None else float(fault)
    return Costs(own, float(clear), float(small), float(huge), float(alloc) if with_alloc else None, total)


def _time(found: dict[str, int], recorded: dict[str, int], costs: Costs) -> float | None:
    if costs.fault is None or costs.recorded is None:
        return None
    small = found["preparations"] - found["huge"] - recorded["preparations"]
    return (
        costs.recorded
        + (found["faults"] - recorded["faults"]) * costs.fault
        + (found["cleared"] - recorded["cleared"]) * costs.clear_page
        + small * costs.prepare
        + found["huge"] * costs.prepare_huge
    )
