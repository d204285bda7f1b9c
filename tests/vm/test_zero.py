# SPDX-License-Identifier: Apache-2.0
"""How often each page is cleared, on real kernels: by page frame, for every workload.

The workloads run on the CPU of node 0 and take their memory from node 1, so that what
Python itself allocates is elsewhere.  Other tasks allocate on node 1 all the while.

Boots: 6.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import duckdb
import pytest

from memtrace.analyzer.scan import connect
from memtrace.analyzer.views import view
from memtrace.analyzer.zero.totals import from_rows
from memtrace.lab.guest import run_guest
from memtrace.lab.sizes import GIB
from memtrace.lab.spec import GuestSpec
from memtrace.traces.reader import open_run
from memtrace.traces.totals import RootTotal

pytestmark = pytest.mark.vm

MIB = 16
SCRIPT = f"""
cat > /tmp/work <<'END'
set -e
touch /tmp/other
numactl --cpunodebind=1 sh -c 'while [ -e /tmp/other ]; do cat /proc/meminfo; sleep 0.2; done' > /dev/null &
node1=/sys/devices/system/node/node1/hugepages/hugepages-2048kB/nr_hugepages
thp=/sys/kernel/mm/transparent_hugepage
for name in anon thp mlock pin pin-thp shmem memfd fork; do memtrace workload $name --mib {MIB} --node 1; done
memtrace workload vmalloc --mib {MIB}
echo {MIB // 2} > $node1
memtrace workload hugetlb --mib {MIB} --node 1
if [ -d $thp/hugepages-64kB ]; then
    echo madvise > $thp/hugepages-64kB/enabled
    echo never > $thp/hugepages-2048kB/enabled
    memtrace workload mthp --mib {MIB} --node 1
fi
rm /tmp/other
wait
END
numactl --cpunodebind=0 memtrace record -q -f -a -o $RESULTS/run.parquet -e alloc,zero,root --stream all -- \\
    sh /tmp/work > $RESULTS/said
"""
# How an allocation of the workload is known: its order, and the root directly around it.
ALLOCATED = {
    "anon": (0, "root.fault"),
    "thp": (9, "root.thp_fault"),
    "mlock": (0, "root.fault"),
    "pin": (0, "root.fault"),
    "pin-thp": (9, "root.thp_fault"),
    "shmem": (0, "root.shmem"),
    "memfd": (0, "root.shmem"),
    "fork": (0, "root.fault"),
    "mthp": (4, "root.fault"),
}
ASKED = {"anon", "mlock", "pin", "fork"}
CALLER = {
    "thp": "zero.user",
    "pin-thp": "zero.user",
    "mthp": "zero.user",
    "shmem": "zero.page",
    "memfd": "zero.page",
}
OUTERMOST = {"mlock": "root.populate", "pin": "root.pin", "pin-thp": "root.pin"}


class Trace:
    """A run in which every occurrence is a row."""

    def __init__(self, path: Path) -> None:
        self.sql = duckdb.connect()
        self.sql.execute(f"CREATE TABLE t AS SELECT * FROM '{path}' WHERE (flags & 64) = 0")

    def frames(self, where: str) -> list[int]:
        """The first page frames of rows, one for each row."""
        return [pfn for (pfn,) in self.sql.sql(f"SELECT pfn FROM t WHERE {where} ORDER BY pfn").fetchall()]

    def pages(self, where: str) -> int:
        """4 KiB pages of rows."""
        ((found,),) = self.sql.sql(f"SELECT coalesce(sum(bytes), 0) // 4096 FROM t WHERE {where}").fetchall()
        return int(found)


def boot(kernel: str, append: str, script: str, folder: Path) -> None:
    spec = GuestSpec(kernel, script, memory=(GIB, GIB), append=append, time_limit_s=600)
    result = run_guest(spec, folder)
    assert result.status == 0, result.output


def work(folder: Path) -> dict[str, dict[str, Any]]:
    lines = (folder / "said").read_text().splitlines()
    return {row["workload"]: row for line in lines for row in json.loads(line)["tables"]["workload"]}


@pytest.mark.parametrize("init", [0, 1])
@pytest.mark.parametrize("kernel", ["debian-6.1", "debian-6.12"])
def test_each_page_is_cleared_as_often_as_the_kernel_says(kernel: str, init: int, tmp_path: Path) -> None:
    boot(kernel, f"init_on_alloc={init}", SCRIPT, tmp_path)
    trace, done = Trace(tmp_path / "run.parquet"), work(tmp_path)
    assert set(done) >= (set(ALLOCATED) | {"vmalloc", "hugetlb"}) - (
        {"mthp"} if kernel == "debian-6.1" else set()
    )
    for name, row in done.items():
        window = f"ts_ns BETWEEN {row['begin_ns']} AND {row['end_ns']}"
        if name in ALLOCATED:
            check_faults(trace, name, row, f"{window} AND tid = {row['tid']}", init)
        if name == "fork":
            check_copies(trace, row, window, init)
    check_vmalloc(trace, done["vmalloc"])
    check_hugetlb(trace, done["hugetlb"], init)
    check_view(tmp_path / "run.parquet", kernel, init)


def check_faults(trace: Trace, name: str, row: dict[str, Any], window: str, init: int) -> None:
    order, parent = ALLOCATED[name]
    kind = f'"order" = {order} AND nid = 1'
    got = trace.frames(f"event = 'alloc' AND parent = '{parent}' AND {kind} AND {window}")
    assert (name, len(got), row["page_bytes"]) == (name, row["pages"], 4096 << order)
    by_allocator = trace.frames(f"event = 'zero.alloc' AND {kind} AND {window}")
    assert (name, by_allocator) == (name, got if init or name in ASKED else [])
    if name in CALLER:
        assert (name, trace.frames(f"event = '{CALLER[name]}' AND {kind} AND {window}")) == (name, got)
    else:
        assert (name, trace.pages(f"event IN ('zero.user', 'zero.page') AND {window}")) == (name, 0)
    if name in OUTERMOST:
        assert trace.sql.sql(
            f"SELECT count(*) FROM t WHERE event = '{OUTERMOST[name]}' AND {window} AND parent IS NULL"
        ).fetchall() == [(1,)]


def check_copies(trace: Trace, row: dict[str, Any], window: str, init: int) -> None:
    """The child's pages: allocated to be copied into, cleared for nothing where init_on_alloc is on."""
    child = f'{window} AND tid = {row["copied_by"]} AND nid = 1 AND "order" = 0'
    got = trace.frames(f"event = 'alloc' AND parent = 'root.cow' AND {child}")
    assert len(got) == row["copied_pages"]
    assert trace.frames(f"event = 'zero.alloc' AND {child}") == (got if init else [])


def check_vmalloc(trace: Trace, row: dict[str, Any]) -> None:
    window = f"ts_ns BETWEEN {row['begin_ns']} AND {row['end_ns']} AND tid = {row['tid']}"
    pages = trace.pages(f"event = 'zero.alloc' AND parent IN ('alloc.bulk', 'root.vmalloc') AND {window}")
    # Data, head, and the array of pointers to their pages: all asked for cleared.
    data = MIB * 256 + 1
    assert pages == row["pages"] == data + -(-data * 8 // 4096)


def check_hugetlb(trace: Trace, row: dict[str, Any], init: int) -> None:
    """Cleared as the pool grows (init_on_alloc), and in any case at the fault."""
    pooled = "event = 'alloc' AND parent = 'root.hugetlb_pool' AND nid = 1 AND \"order\" = 9"
    pool = trace.frames(pooled)
    window = f"ts_ns BETWEEN {row['begin_ns']} AND {row['end_ns']} AND tid = {row['tid']}"
    assert len(pool) == row["pages"] == MIB // 2
    assert trace.frames(f"event = 'zero.user' AND parent = 'root.hugetlb_fault' AND {window}") == pool
    # The page frames were other workloads' before: what counts is what was cleared as the pool grew.
    grown = (
        f"ts_ns >= (SELECT min(ts_ns - dur_ns) FROM t WHERE {pooled}) "
        f"AND ts_ns <= (SELECT max(ts_ns) FROM t WHERE {pooled}) "
        f"AND tid IN (SELECT tid FROM t WHERE {pooled})"
    )
    cleared = trace.frames(f"event = 'zero.alloc' AND nid = 1 AND \"order\" = 9 AND {grown}")
    assert cleared == (pool if init else [])


def check_view(path: Path, kernel: str, init: int) -> None:
    with open_run(path) as run:
        tables = {table.name: table.rows for table in view(run, "zero").report.tables}
    twice = 1.0 + init
    clears = {(r["kind"], r["order"]): r["clears_per_page"] for r in tables["main"] if r["nid"] == 1}
    assert clears[("anonymous", 0)] == 1.0
    assert clears[("anonymous, huge", 9)] == twice
    assert clears[("hugetlb", 9)] == twice
    assert clears[("shmem", 0)] == twice
    assert kernel == "debian-6.1" or clears[("anonymous, huge", 4)] == twice
    redundant = {(r["why"], r["kind"]): r["bytes"] for r in tables["redundant"]}
    assert redundant.get(("again by the caller", "hugetlb"), 0) == init * MIB << 20
    (ledger,) = tables["ledger"]
    assert (ledger["crossing"], ledger["differs"]) == (0, 0)
    assert ledger["self_sum_ns"] == ledger["union_ns"] > 0
    check_sums(path)


def check_sums(path: Path) -> None:
    """The recorder's sums by root are those that the ledger makes of the rows, to the nanosecond."""
    with open_run(path) as run, connect(run) as connection:
        assert summed(from_rows(run, connection)) == summed(run.status.roots)


def summed(totals: Sequence[RootTotal]) -> dict[tuple[Any, ...], list[int]]:
    found: dict[tuple[Any, ...], list[int]] = {}
    for t in totals:
        # A root zeroes nothing itself.
        zeroed = t.zeroed and not t.event.startswith("root.")
        key = (t.event, t.root, t.within, t.order, t.nid, t.remote, zeroed, t.asked, t.movable)
        held = found.setdefault(key, [0, 0, 0])
        for i, value in enumerate((t.count, t.bytes, t.total_ns or 0)):
            held[i] += value
    return found


FREE = """
numactl --cpunodebind=0 memtrace record -q -f -a -o $RESULTS/run.parquet -e alloc,zero,root --stream all -- \\
    sh -c 'memtrace workload anon --mib 16 --node 1; memtrace workload thp --mib 16 --node 1' > $RESULTS/said
"""


@pytest.mark.parametrize("kernel", ["debian-6.1", "debian-6.12"])
def test_with_init_on_free_pages_are_cleared_as_they_are_freed(kernel: str, tmp_path: Path) -> None:
    boot(kernel, "init_on_alloc=1 init_on_free=1", FREE, tmp_path)
    trace, done = Trace(tmp_path / "run.parquet"), work(tmp_path)
    assert trace.pages("event = 'zero.alloc'") == 0
    for name, order in (("anon", 0), ("thp", 9)):
        row = done[name]
        window = f"ts_ns BETWEEN {row['begin_ns']} AND {row['end_ns']} AND tid = {row['tid']}"
        got = trace.frames(
            f"event = 'alloc' AND nid = 1 AND \"order\" = {order} AND (gfp & 8) > 0 AND {window}"
        )
        assert len(got) == row["pages"]
        every = sorted(pfn + i for pfn in got for i in range(1 << order))
        freed = f"event = 'zero.free' AND ts_ns > {row['end_ns']} AND tid = {row['tid']} AND nid = 1"
        cleared = trace.frames(freed)
        assert [pfn for pfn in every if pfn not in set(cleared)] == []
        assert len([pfn for pfn in cleared if pfn in set(every)]) == len(every)
