# SPDX-License-Identifier: Apache-2.0
"""Known answers on real kernels: counted pages, on two nodes, through each kind of site."""

import json
from pathlib import Path
from typing import Any

import pytest

from memtrace.lab.guest import run_guest
from memtrace.lab.sizes import GIB
from memtrace.lab.spec import GuestResult, GuestSpec

pytestmark = pytest.mark.vm

KERNELS = ("debian-6.1", "debian-6.12", "accept-6.12")
# 16 MiB in 4 KiB pages and 32 MiB in huge pages on each of two nodes.
SELFTEST = "memtrace selftest --pages 4096 --huge 16 --json > $RESULTS/selftest.json; "
SITES = "memtrace probes --json > $RESULTS/probes.json; "
HUGETLB = """
memtrace record -q -f --stream all -o $RESULTS/hugetlb.parquet -- \
  sh -c 'echo 8 > /sys/devices/system/node/node1/hugepages/hugepages-2048kB/nr_hugepages'
cat /sys/devices/system/node/node1/hugepages/hugepages-2048kB/nr_hugepages > $RESULTS/granted
"""


def boot(kernel: str, script: str, tmp_path: Path, append: str = "") -> GuestResult:
    spec = GuestSpec(kernel=kernel, script=script, memory=(2 * GIB, 2 * GIB), append=append, time_limit_s=300)
    return run_guest(spec, tmp_path)


def checks(folder: Path) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = json.loads((folder / "selftest.json").read_text())["tables"]["checks"]
    return found


def sites(folder: Path) -> dict[str, str | None]:
    table = json.loads((folder / "probes.json").read_text())["tables"]["sites"]
    return {row["event"]: row["site"] for row in table}


def pages(folder: Path, event: str) -> dict[tuple[int | None, int | None], int]:
    """Pages by (order, nid) in hugetlb.parquet."""
    import duckdb

    rows = duckdb.sql(
        f"SELECT \"order\", nid, sum(bytes) // 4096 FROM '{folder}/hugetlb.parquet' "
        f"WHERE event = '{event}' GROUP BY ALL"
    ).fetchall()
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
    result = boot(kernel, SITES + HUGETLB + SELFTEST, tmp_path, "init_on_alloc=1")
    wanted = {
        "alloc": "fentry:get_page_from_freelist",
        "zero.alloc": alloc,
        "zero.user": user,
        "accept.call": None if kernel == "debian-6.1" else "fentry:accept_memory",
        "hot.add": "fentry:arch_add_memory",
        "hot.memmap": None if kernel == "debian-6.1" else "fentry:vmemmap_alloc_block",
        "hot.online": "fentry:online_pages",
    }
    assert sites(tmp_path) == wanted
    failed = [c for c in checks(tmp_path) if c["passed"] is not True]
    assert not failed, result.output
    # The pool's pages are cleared as they are allocated, and not by the caller.
    assert (tmp_path / "granted").read_text().strip() == "8"
    assert pages(tmp_path, "alloc")[(9, 1)] == 8 * 512
    assert pages(tmp_path, "zero.alloc")[(9, 1)] == 8 * 512
    assert not pages(tmp_path, "zero.user")


@pytest.mark.parametrize("kernel", KERNELS)
def test_counted_pages_without_init_on_alloc(kernel: str, tmp_path: Path) -> None:
    result = boot(kernel, HUGETLB + SELFTEST, tmp_path, "init_on_alloc=0")
    found = checks(tmp_path)
    assert not [c for c in found if c["passed"] is not True], result.output
    cleared = {c["name"]: c["found"] for c in found if "cleared by" in c["name"]}
    for nid in (0, 1):
        assert cleared[f"16 huge pages on node {nid}: cleared by the allocator"] == "0"
        assert cleared[f"16 huge pages on node {nid}: cleared by the caller"] == "16"
    assert pages(tmp_path, "alloc")[(9, 1)] == 8 * 512
    assert (9, 1) not in pages(tmp_path, "zero.alloc")


TOUCH_MANY = """
cat > /tmp/many.py <<'PY'
import os
from memtrace.probes.touch import HUGE_BYTES, fresh, touch
children = []
for _ in range(24):
    pid = os.fork()
    if pid == 0:
        with fresh(8 * HUGE_BYTES, huge=True) as address:
            touch(address, 8 * HUGE_BYTES)
        os._exit(0)
    children.append(pid)
for pid in children:
    os.waitpid(pid, 0)
PY
grep thp_fault_alloc /proc/vmstat > $RESULTS/before
memtrace record -q -f --avoid fentry --stream all -o $RESULTS/many.parquet -- python3 /tmp/many.py
grep thp_fault_alloc /proc/vmstat > $RESULTS/after
"""


def test_missed_return_probes_are_counted(tmp_path: Path) -> None:
    """24 tasks clear huge pages on 2 CPUs: more are asleep in the clear than a kretprobe has room for."""
    from memtrace.traces.reader import open_run

    boot("debian-6.1", TOUCH_MANY, tmp_path)
    granted = int((tmp_path / "after").read_text().split()[1]) - int(
        (tmp_path / "before").read_text().split()[1]
    )
    run = open_run(tmp_path / "many.parquet")
    assert {s.event: s.kind for s in run.header.manifest}["zero.user"] == "kprobe"
    counters = {c.event: c for c in run.status.counters}
    losses = run.status.losses
    missed = (losses.kretprobe_missed or 0) + losses.entry_without_exit
    assert missed > 0, "return probes were meant to run out"
    # The recorder's own proof and the interpreter's start may have had huge pages too: before the window.
    assert counters["zero.user"].seen + missed >= granted >= 24 * 8


@pytest.mark.parametrize(
    ("avoid", "site"),
    [("fentry", "kprobe:get_page_from_freelist"), ("fentry,kprobe", "rawtp:mm_page_alloc")],
)
def test_lower_rungs_count_the_same(avoid: str, site: str, tmp_path: Path) -> None:
    from memtrace.traces.reader import open_run

    script = f"""
memtrace record -q -f --avoid {avoid} --stream all -o $RESULTS/run.parquet -- \
  python3 -m memtrace.probes.knownwork $RESULTS/known.json 2048 8 0 1
"""
    boot("debian-6.12", script, tmp_path)
    run = open_run(tmp_path / "run.parquet")
    assert {s.event: s.site for s in run.header.manifest}["alloc"] == site
    import pyarrow as pa
    import pyarrow.compute as pc

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
