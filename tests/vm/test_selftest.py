# SPDX-License-Identifier: Apache-2.0
"""Known answers on real kernels: counted pages, on two nodes, through each kind of site.

Boots: 9.
"""

import json
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pytest

from memtrace.lab.guest import run_guest
from memtrace.lab.sizes import GIB
from memtrace.lab.spec import GuestResult, GuestSpec
from memtrace.tests.sql import fetched
from memtrace.traces.reader import open_run
from memtrace.traces.schema import Flag

pytestmark = pytest.mark.vm

KERNELS = ("debian-6.1", "debian-6.12", "accept-6.12")
# 16 MiB in 4 KiB pages and 32 MiB in huge pages on each of two nodes.
SELFTEST = "memtrace selftest --pages 4096 --huge 16 --json > $RESULTS/selftest.json; "
HUGETLB = """
memtrace record -q -f --stream all -o $RESULTS/hugetlb.parquet -- \
  sh -c 'echo 8 > /sys/devices/system/node/node1/hugepages/hugepages-2048kB/nr_hugepages'
cat /sys/devices/system/node/node1/hugepages/hugepages-2048kB/nr_hugepages > $RESULTS/granted
"""
# Where the allocator's zeroing is inferred, the CPU clock is sampled.
SAMPLED = (
    "memtrace record -q -f -e alloc,zero -o $RESULTS/sampled.parquet -- memtrace workload thp --mib 64; "
)


def boot(kernel: str, script: str, tmp_path: Path, append: str = "") -> GuestResult:
    spec = GuestSpec(kernel=kernel, script=script, memory=(2 * GIB, 2 * GIB), append=append, time_limit_s=600)
    return run_guest(spec, tmp_path)


def checks(folder: Path) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = json.loads((folder / "selftest.json").read_text())["tables"]["checks"]
    return found


def wrong(folder: Path) -> list[dict[str, Any]]:
    """Checks that did not pass.

    Whether an interrupt falls into a program of ours, and allocates, is chance: then what it
    allocated is not seen, and the losses are not known.
    """
    return [
        check
        for check in checks(folder)
        if check["passed"] is not True
        and not (check["name"] == "losses" and check["passed"] is None and "recursion" in check["why"])
    ]


def sites(folder: Path) -> dict[str, str | None]:
    header = open_run(folder / "hugetlb.parquet").header
    return {site.event: site.site for site in header.manifest if site.event in header.events}


def pages(folder: Path, event: str) -> dict[tuple[int | None, int | None], int]:
    """Pages by (order, nid) in hugetlb.parquet."""
    rows = fetched(
        f"SELECT \"order\", nid, sum(bytes) // 4096 FROM '{folder}/hugetlb.parquet' "
        f"WHERE event = '{event}' GROUP BY ALL"
    )
    return {(order, nid): int(count) for order, nid, count in rows}


@pytest.mark.parametrize(
    ("kernel", "alloc", "user"),
    [
        ("debian-6.1", "callsite:clear_page", "fentry:clear_huge_page"),
        ("debian-6.12", "callsite:clear_page", "fentry:folio_zero_user"),
        # This one is built without /proc/kcore, which call sites are read from.
        ("accept-6.12", "inferred:gfp", "fentry:folio_zero_user"),
    ],
)
def test_counted_pages_with_init_on_alloc(kernel: str, alloc: str, user: str, tmp_path: Path) -> None:
    script = HUGETLB + SELFTEST + (SAMPLED if kernel == "accept-6.12" else "")
    result = boot(kernel, script, tmp_path, "init_on_alloc=1")
    named = "" if kernel == "debian-6.1" else "_noprof"
    wanted = {
        "alloc": "fentry:get_page_from_freelist",
        "alloc.bulk": f"fentry:{'alloc_pages_bulk_noprof' if named else '__alloc_pages_bulk'}",
        "alloc.contig": f"fentry:alloc_contig_range{named}",
        "zero.alloc": alloc,
        "zero.user": user,
        "zero.page": None if kernel == "accept-6.12" else "callsite:clear_page",
        "zero.free": None,
        "accept.burst": "fentry:cond_accept_memory" if kernel == "accept-6.12" else None,
        "accept.block": None if kernel == "debian-6.1" else "fentry:__accept_page",
        "accept.call": None if kernel == "debian-6.1" else "fentry:accept_memory",
        "accept.arch": "fentry:unaccepted_emul_accept" if kernel == "accept-6.12" else None,
        "accept.step": None,
        "hot.request": "kprobe:add_memory_resource",
        "hot.add": "kprobe:arch_add_memory",
        "hot.section": None if kernel == "debian-6.1" else "kprobe:sparse_add_section",
        "hot.memmap": None if kernel == "debian-6.1" else "kprobe:vmemmap_alloc_block",
        "hot.altmap": "kprobe:mhp_init_memmap_on_memory",
        "hot.init": None if kernel == "debian-6.1" else "kprobe:memmap_init_range",
        "hot.zone": "kprobe:move_pfn_range_to_zone",
        "hot.online": "kprobe:online_pages",
        "hot.block": "kprobe:memory_subsys_online",
        "hot.offline": "kprobe:offline_pages",
        "hot.remove": "kprobe:try_remove_memory",
    }
    assert sites(tmp_path) == wanted
    assert not wrong(tmp_path), result.output
    # The pool's pages are cleared as they are allocated, and not by the caller.
    assert (tmp_path / "granted").read_text().strip() == "8"
    assert pages(tmp_path, "alloc")[(9, 1)] == 8 * 512
    assert pages(tmp_path, "zero.alloc")[(9, 1)] == 8 * 512
    assert not pages(tmp_path, "zero.user")
    if kernel == "accept-6.12":
        each_event_has_one_source_of_time(tmp_path / "sampled.parquet")


def each_event_has_one_source_of_time(path: Path) -> None:
    """The samples give the times of zero.alloc, and no second ones of zero.user, whose own are seen."""
    run = open_run(path)
    assert run.status.samples["zero"] > 0 and run.status.samples["user"] > 0
    assert fetched(
        f"SELECT event, (flags & {int(Flag.ESTIMATED)}) > 0 AS estimated, sum(count) > 0 AS counted"
        f" FROM '{path}' WHERE event IN ('alloc', 'zero.alloc', 'zero.user') AND total_ns IS NOT NULL"
        " GROUP BY ALL ORDER BY event"
    ) == [("alloc", False, True), ("zero.alloc", True, True), ("zero.user", False, True)]


@pytest.mark.parametrize("kernel", KERNELS)
def test_counted_pages_without_init_on_alloc(kernel: str, tmp_path: Path) -> None:
    result = boot(kernel, SELFTEST, tmp_path, "init_on_alloc=0")
    assert not wrong(tmp_path), result.output
    cleared = {c["name"]: c["found"] for c in checks(tmp_path) if "cleared by" in c["name"]}
    for nid in (0, 1):
        assert cleared[f"16 huge pages on node {nid}: cleared by the allocator"] == "0"
        assert cleared[f"16 huge pages on node {nid}: cleared by the caller"] == "16"


TASKS, HUGE = 40, 8
TOUCH_MANY = f"""
cat > /tmp/many.py <<'PY'
import os
from memtrace.probes.workloads.touch import HUGE_BYTES, fresh, touch
ready, told = os.pipe()
waiting, go = os.pipe()
children = []
for _ in range({TASKS}):
    pid = os.fork()
    if pid == 0:
        os.close(go)
        with fresh({HUGE} * HUGE_BYTES, huge=True) as address:
            os.write(told, b"x")
            os.read(waiting, 1)
            touch(address, {HUGE} * HUGE_BYTES)
        os._exit(0)
    children.append(pid)
for _ in children:
    os.read(ready, 1)
os.close(go)
assert not any([os.waitpid(pid, 0)[1] for pid in children])
PY
memtrace record -q -f --avoid fentry -e zero.user --stream all -o $RESULTS/many.parquet -- \\
  python3 /tmp/many.py
"""


def test_missed_return_probes_are_counted_to_the_last_one(tmp_path: Path) -> None:
    """40 tasks clear huge pages on 2 CPUs and lose the CPU in it; a kretprobe has room for 10."""
    result = boot("debian-6.1", TOUCH_MANY, tmp_path)
    assert result.status == 0, result.output
    run = open_run(tmp_path / "many.parquet")
    assert {s.event: s.kind for s in run.header.manifest}["zero.user"] == "kprobe"
    seen = {c.event: c.seen for c in run.status.counters}["zero.user"]
    missed = (run.status.losses.kretprobe_missed or 0) + (run.status.losses.entry_without_exit or 0)
    assert missed > 0, "return probes were meant to run out"
    assert seen + missed == TASKS * HUGE


@pytest.mark.parametrize(
    ("avoid", "site"),
    [("fentry", "kprobe:get_page_from_freelist"), ("fentry,kprobe", "rawtp:mm_page_alloc")],
)
def test_lower_rungs_count_the_same(avoid: str, site: str, tmp_path: Path) -> None:
    script = f"""
memtrace record -q -f --avoid {avoid} --stream all -o $RESULTS/run.parquet -- \
  python3 -m memtrace.probes.workloads.knownwork $RESULTS/known.json 2048 8 0 1
"""
    boot("debian-6.12", script, tmp_path)
    run = open_run(tmp_path / "run.parquet")
    assert {s.event: s.site for s in run.header.manifest}["alloc"] == site
    table = pa.Table.from_batches(
        list(run.batches(["event", "order", "nid", "ts_ns", "gfp", "tid", "count"]))
    )
    movable = run.header.gfp_names["__GFP_MOVABLE"]
    for item in json.loads((tmp_path / "known.json").read_text()):
        order, expected = (0, 2048) if item["kind"] == "small" else (9, 8)
        rows = table.filter(
            (pc.field("event") == "alloc")
            & (pc.field("order") == order)
            & (pc.field("nid") == item["nid"])
            & (pc.field("tid") == item["tid"])
            & (pc.field("ts_ns") >= item["begin_ns"])
            & (pc.field("ts_ns") <= item["end_ns"])
        )
        user = [g for g in rows["gfp"].to_pylist() if g is not None and g & movable]
        assert len(user) == expected
