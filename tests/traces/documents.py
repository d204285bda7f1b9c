# SPDX-License-Identifier: Apache-2.0
"""A header and a status with something in every field that a test changes."""

from __future__ import annotations

import json
from typing import Any

from memtrace.traces.run import (
    ClockAnchor,
    Fact,
    Node,
    Phase,
    ProbeSite,
    Refusal,
    RunHeader,
    RunStatus,
    Snapshot,
    TracerCost,
    TraceSource,
    VirtualMachine,
    to_json,
)
from memtrace.traces.totals import EventCounters, Losses, RootTotal, TaskTotal

Documents = dict[str, Any]

_SNAPSHOT = Snapshot("start", 10**12, {"nr_free_pages": 3}, {"0": {"MemFree": 7}}, 20)
_ANCHOR = ClockAnchor(1, 2, 3, 4)
HEADER = RunHeader(
    tool_version="0.1.0",
    command=("record", "-o", "run.parquet"),
    events=("alloc",),
    filters={"comm": "cc1"},
    tail_ns=1000,
    boot_id="b",
    config={"CONFIG_NUMA": "y"},
    facts=(Fact("sev", "no", "cpuid"),),
    cpus=4,
    nodes=(Node(0, (0, 1), ((0, 100), (200, 300)), 1 << 30), Node(1)),
    gfp_names={"__GFP_ZERO": 0x100},
    manifest=(ProbeSite("alloc", "rawtp:kmem:x", offsets=(1, 2), refused=(Refusal("a", "absent"),)),),
    anchors=(_ANCHOR,),
    snapshots=(_SNAPSHOT,),
    phases=(Phase("firmware", -5, 0, "fpdt", 1, 0, 0),),
    sources=(TraceSource("a.txt", "dmesg", 4, examples=("x",), offset_ns=-1),),
)
STATUS = RunStatus(
    complete=True,
    started_ns=10**12,
    ended_ns=2 * 10**12,
    losses=Losses(7),
    counters=(EventCounters("alloc", 5, 5, 0, 0, (1 << 64) - 1, 9),),
    tasks=(TaskTotal("alloc", 1, "cc1", 1, 4096, None),),
    roots=(RootTotal("alloc", None, None, 0, 0, False, True, None, None, 1, 4096, 10),),
    samples={"period_ns": 10},
    snapshots=(_SNAPSHOT,),
    anchors=(_ANCHOR,),
    cost=TracerCost(1, 2, 3),
    exit_status=-9,
    vms=(VirtualMachine(1, 100, "qemu", "snp", True, 5, -7),),
)


def documents() -> Documents:
    """Header and status as JSON values of their own."""
    return {"header": json.loads(to_json(HEADER)), "status": json.loads(to_json(STATUS))}
