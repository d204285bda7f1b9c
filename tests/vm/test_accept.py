# SPDX-License-Identifier: Apache-2.0
"""Acceptance against the truth: a kernel that logs every accept it makes, and what it cost.

/sys/kernel/debug/unaccepted_emul has a line per accept: number, cpu, CLOCK_MONOTONIC,
start, end, 2 MiB units, ns wanted, ns really spent.
"""

import statistics
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pytest

from memtrace.lab.sizes import GIB, MIB
from memtrace.lab.spec import PlugDimm, Step
from memtrace.traces.reader import Run, open_run

pytestmark = pytest.mark.vm

UNIT = 2 * MIB
EMULATE = "unaccepted_emul=768M@1G,2G@4G unaccepted_emul_cost=1000000"
Guest = Callable[..., Any]


@dataclass(frozen=True)
class Logged:
    """One accept, as the kernel itself logged it."""

    cpu: int
    at_ns: int
    start: int
    end: int
    spent_ns: int


@dataclass(frozen=True)
class Traced:
    """One accept.call of the run."""

    cpu: int
    begin_ns: int
    end_ns: int
    start: int
    bytes: int
    dur_ns: int

    def holds(self, accept: Logged) -> bool:
        """Whether the accept was made inside this call, for its range or the guard unit behind."""
        within = self.begin_ns <= accept.at_ns <= self.end_ns and self.cpu == accept.cpu
        return within and self.start - UNIT < accept.end and accept.start < self.start + self.bytes + UNIT


def logged(file: Path, run: Run) -> list[Logged]:
    """Accepts begun while recording."""
    anchor = run.header.anchors[0]
    shift = anchor.boottime_ns - anchor.monotonic_ns
    found = []
    for line in file.read_text().splitlines():
        if line.startswith("#"):
            continue
        _, cpu, at, start, end, _, _, spent = line.split()
        moment = int(at) + shift
        if run.status.started_ns <= moment <= run.status.ended_ns:
            found.append(Logged(int(cpu), moment, int(start, 16), int(end, 16), int(spent)))
    return found


def traced(run: Run) -> list[Traced]:
    """All accept.call rows."""
    table = pa.Table.from_batches(list(run.batches(["event", "cpu", "ts_ns", "dur_ns", "pfn", "bytes"])))
    rows = table.filter(pc.equal(table["event"].cast(pa.string()), "accept.call")).to_pylist()
    return [
        Traced(r["cpu"], r["ts_ns"] - r["dur_ns"], r["ts_ns"], r["pfn"] * 4096, r["bytes"], r["dur_ns"])
        for r in rows
    ]


def paired(run: Run, log: list[Logged]) -> list[tuple[Traced, list[Logged]]]:
    """Each traced call with the accepts inside it; every logged accept must be in exactly one."""
    calls = traced(run)
    pairs = [(call, [accept for accept in log if call.holds(accept)]) for call in calls]
    assert sum(len(accepts) for _, accepts in pairs) == len(log)
    return pairs


def touch_script(node_mib: str, extra: str = "") -> str:
    return f"""
cat > /tmp/touch.py <<'PY'
import sys
from memtrace.probes.touch import fresh, touch
with fresh(int(sys.argv[1]) << 20, False, int(sys.argv[2])) as address:
    touch(address, int(sys.argv[1]) << 20)
PY
memtrace record -q -f -e accept,alloc -a -o $RESULTS/run.parquet -- sh -c '{node_mib}'
cat /sys/kernel/debug/unaccepted_emul > $RESULTS/log
{extra}
"""


def test_lazy_each_accept_is_traced_with_its_cost(guest: Guest) -> None:
    result = guest(
        "accept-6.12",
        touch_script("for nid in 0 1; do python3 /tmp/touch.py 500 $nid; done"),
        memory=(2 * GIB, 2 * GIB),
        append=EMULATE,
        time_limit_s=240,
    )
    run = open_run(result.results / "run.parquet")
    log = logged(result.results / "log", run)
    assert len(log) > 20
    excess = []
    for call, accepts in paired(run, log):
        spent = sum(a.spent_ns for a in accepts)
        assert call.dur_ns >= spent
        if len(accepts) == 1:
            excess.append(call.dur_ns - spent)
    assert statistics.median(excess) < 500_000, "the kernel spent 1 ms for each 2 MiB"
    # Acceptance is inside the allocation that waited, and not in its own time.
    table = pa.Table.from_batches(list(run.batches(["event", "parent"])))
    parents = table.filter(pc.equal(table["event"].cast(pa.string()), "accept.call"))["parent"]
    assert set(parents.cast(pa.string()).to_pylist()) == {"alloc"}


def test_two_cpus_that_compete_for_one_node(guest: Guest) -> None:
    both = "for cpu in 0 1; do taskset -c $cpu python3 /tmp/touch.py 300 1 & done; wait"
    result = guest(
        "accept-6.12", touch_script(both), memory=(2 * GIB, 2 * GIB), append=EMULATE, time_limit_s=240
    )
    run = open_run(result.results / "run.parquet")
    log = logged(result.results / "log", run)
    assert {accept.cpu for accept in log} == {0, 1}
    for call, accepts in paired(run, log):
        assert call.dur_ns >= sum(a.spent_ns for a in accepts)


def test_eager_hot_added_memory_is_accepted_while_it_comes_online(guest: Guest) -> None:
    online = (
        "lab-mark plug; sleep 2; for b in /sys/devices/system/memory/memory*; do "
        "grep -q offline $b/state && echo online > $b/state; done; true"
    )
    script = touch_script(online).replace("-e accept,alloc", "-e accept,hotplug")
    result = guest(
        "accept-6.12",
        script,
        memory=(2 * GIB, 2 * GIB),
        append=f"{EMULATE.replace('2G@4G', '2G@4G,512M@6G')} accept_memory=eager",
        steps=(Step("plug", PlugDimm("dimm", 1, 512 * MIB)),),
        time_limit_s=240,
    )
    run = open_run(result.results / "run.parquet")
    log = logged(result.results / "log", run)
    dimm = range(6 * GIB, 6 * GIB + 512 * MIB, UNIT)
    units = {unit for accept in log for unit in range(accept.start, accept.end, UNIT)}
    # The guard unit behind the last range accepted at boot is the first of the DIMM.
    assert set(dimm[1:]) <= units
    for call, accepts in paired(run, log):
        assert call.dur_ns >= sum(a.spent_ns for a in accepts)
