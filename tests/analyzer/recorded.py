# SPDX-License-Identifier: Apache-2.0
"""What a recorder would have written: the rows, headers and statuses that cases are made of."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa

from memtrace.traces.histogram import bucket_of, lower_edge
from memtrace.traces.run import Fact, Node, ProbeSite, RunHeader, RunStatus, TracerCost
from memtrace.traces.schema import COLUMN_NAMES, Flag, arrow_schema
from memtrace.traces.totals import EventCounters, Losses, RootTotal
from memtrace.traces.writer import RunWriter

Row = dict[str, Any]
START = 10**12
SECOND = 10**9
PERIOD = 1_003_009


@dataclass(frozen=True)
class Case:
    """What a recorder would have written."""

    rows: Sequence[Row]
    header: RunHeader
    status: RunStatus
    cut_short: bool = False


def streamed(event: str = "alloc", order: int | None = 0, dur: int | None = None, **columns: Any) -> Row:
    """One occurrence, its time all its own unless ``self_ns`` is given."""
    row: Row = {
        "ts_ns": START,
        "dur_ns": dur,
        "count": 1,
        "total_ns": dur,
        "self_ns": dur,
        "event": event,
        "site": f"fentry:{event}",
        "cpu": 0,
        "pid": 100,
        "tid": 101,
        "comm": "memhog",
        "order": order,
        "bytes": None if order is None else 4096 << order,
        "pfn": 4096,
        "nid": 0,
        "flags": 0,
    }
    return row | columns


def aggregated(event: str, count: int, dur: int | None = None, order: int | None = 0, **columns: Any) -> Row:
    """``count`` occurrences of (about) ``dur`` each, as the kernel sums them."""
    total = None if dur is None else count * dur
    row: Row = {
        "ts_ns": START + SECOND,
        "dur_ns": None if dur is None else int(lower_edge(bucket_of(dur))),
        "count": count,
        "total_ns": total,
        "self_ns": total,
        "event": event,
        "site": f"fentry:{event}",
        "order": order,
        "bytes": None if order is None else count * (4096 << order),
        "nid": 0,
        "flags": int(Flag.AGGREGATED),
    }
    return row | columns


def time_only(event: str, samples: int, order: int | None = 0, **columns: Any) -> Row:
    """Sampled time of all occurrences of a cell: no count, no bytes."""
    row: Row = {
        "ts_ns": START + SECOND,
        "total_ns": samples * PERIOD,
        "self_ns": samples * PERIOD,
        "event": event,
        "site": f"rawtp:{event}",
        "order": order,
        "nid": 0,
        "flags": int(Flag.AGGREGATED | Flag.ESTIMATED),
    }
    return row | columns


NOT_ON_FREE = Fact("init_on_free", "no", "no sign of it")


def header(*events: str, **fields: Any) -> RunHeader:
    """A header whose events all have proven sites with exact times."""
    plain = RunHeader(
        tool_version="0.1.0",
        command=("memtrace", "record", "--", "memhog", "1g"),
        workload=("memhog", "1g"),
        events=events,
        hostname="box",
        kernel_release="6.12.0-test",
        kernel_version="#1 SMP PREEMPT_DYNAMIC",
        machine="x86_64",
        page_size=4096,
        config={"CONFIG_INIT_ON_ALLOC_DEFAULT_ON": "n"},
        facts=(Fact("confidential", "plain"), Fact("init_on_alloc", "no", "no sign of it"), NOT_ON_FREE),
        cpus=2,
        nodes=(Node(0, (0,), ((0, 1 << 19),), 2 << 30), Node(1, (1,), ((1 << 19, 1 << 20),), 2 << 30)),
        gfp_names={"GFP_KERNEL": 0xCC0, "__GFP_IO": 0x40, "__GFP_FS": 0x80, "__GFP_ZERO": 0x100},
        manifest=tuple(ProbeSite(event, f"fentry:{event}", "fentry", event, proven=True) for event in events),
    )
    return dataclasses.replace(plain, **fields)


def status(seconds: float = 2.0, **fields: Any) -> RunStatus:
    """The status of a finished run of a command."""
    plain = RunStatus(
        losses=Losses(no_room=0),
        complete=True,
        started_ns=START,
        ended_ns=START + round(seconds * SECOND),
        cost=TracerCost(
            12_000_000, 90 << 20, 900_000_000, probe_ns=20, file_bytes=12_345, programs_kept=True
        ),
        exit_status=0,
        stopped_by="command",
    )
    return dataclasses.replace(plain, **fields)


def counters(rows: Sequence[Row], *events: str, **changes: Any) -> tuple[EventCounters, ...]:
    """What the kernel side would have counted for these rows, nothing lost."""
    out = []
    for event in events:
        of = [r for r in rows if r["event"] == event and not r["flags"] & int(Flag.INFERRED)]
        summed = sum(r.get("count") or 0 for r in of if r["flags"] & int(Flag.AGGREGATED))
        seen = sum(r.get("count") or 0 for r in of)
        sums = (
            sum((r["order"] or 0) * (r.get("count") or 0) for r in of),
            sum(r.get("pfn") or 0 for r in of),
        )
        out.append(EventCounters(event, seen, seen - summed, summed, 0, sums[0], sums[1] % (1 << 64)))
    return tuple(dataclasses.replace(c, **changes) for c in out)


def total(event: str, pages: int, ns: int | None, **fields: Any) -> RootTotal:
    """A sum by root: ``pages`` of 4 KiB in occurrences of its order."""
    order = fields.get("order", 0)
    plain: dict[str, Any] = {
        "root": "root.fault",
        # As the recorder has it: around an outermost root there is none.
        "within": None if event == fields.get("root", "root.fault") else "root.fault",
        "order": 0,
        "nid": 0,
        "remote": False,
        "zeroed": event != "root",
        "asked": None,
        "movable": None,
        "count": pages >> (order or 0),
        "bytes": pages * 4096,
    }
    return RootTotal(event=event, total_ns=ns, **plain | fields)


def between(event: str, begin: int, end: int, own: int, **columns: Any) -> Row:
    """A streamed interval, in ns since START, with its time outside of others."""
    order = columns.pop("order", None)
    row = streamed(event, order, end - begin, ts_ns=START + end, self_ns=own, **columns)
    return row | {"nid": 0 if row["order"] is not None else None, "pfn": None}


def write(case: Case, path: Path) -> None:
    """Writes a case as the recorder would."""
    table = pa.Table.from_pylist([{n: row.get(n) for n in COLUMN_NAMES} for row in case.rows], arrow_schema())
    with RunWriter(path, case.header) as writer:
        writer.write(table)
        if case.cut_short:
            writer.checkpoint(case.status)
        else:
            writer.close(case.status)
