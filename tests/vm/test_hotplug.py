# SPDX-License-Identifier: Apache-2.0
"""Hotplug with known answers: what was added, where its struct pages are, what was refused.

Boots: 9, and one more where long tests are run.
"""

import statistics
from collections.abc import Callable
from pathlib import Path
from typing import Any

import duckdb
import pytest

from memtrace.analyzer.tables import Report
from memtrace.analyzer.views import view
from memtrace.lab.sizes import GIB, MIB
from memtrace.lab.spec import PlugDimm, ResizeVirtioMem, Step, UnplugDimm, VirtioMem
from memtrace.traces.reader import open_run

pytestmark = pytest.mark.vm

SIZE = 512 * MIB
# 64 bytes for each 4 KiB page.
MEMMAP = SIZE // 64
BLOCK = 128 * MIB
PAGE = 4096
RECORD = (
    "memtrace record -q -f -e {events} -a --ring-size 1M -o $RESULTS/run.parquet"
    " -- bash -c '. /tmp/lib.sh; {work}'"
)
# Memory of node 1 shows as block links below it; the request has returned a moment later.
# In a file: the shell that starts memtrace hands no functions on.
ADDED = """
cat > /tmp/lib.sh <<'SH'
wait_blocks() {
  for try in $(seq 100); do
    [ $(ls -d /sys/devices/system/node/node1/memory[0-9]* 2>/dev/null | wc -l) -ge $1 ] && break
    sleep .1
  done
  sleep .3
}
online() {
  for block in /sys/devices/system/node/node$2/memory[0-9]*; do
    grep -q offline $block/state && echo $1 > $block/state
  done
}
SH
"""
# Pipe buffers cannot be moved, and a task's memory policy says on which node they are.
PIN = r"""
cat > /tmp/pin.py <<'PY'
import ctypes, fcntl, os, time
libc = ctypes.CDLL(None, use_errno=True)
mask = ctypes.c_ulong(2)
assert libc.syscall(238, 2, ctypes.byref(mask), 8) == 0
pipes = [os.pipe() for _ in range(64)]
for _, end in pipes:
    os.write(end, b"x" * 65536)
open("/tmp/pinned", "w").write("yes")
time.sleep(600)
PY
"""
Guest = Callable[..., Any]
Rows = list[dict[str, Any]]


def report_of(file: Path) -> Report:
    with open_run(file) as run:
        assert not run.status.losses.entry_without_exit
        return view(run, "hotplug").report


def rows(report: Report, name: str) -> Rows:
    table = report.table(name)
    return [dict(row) for row in table.rows] if table else []


def columns(found: Rows, *names: str) -> list[tuple[Any, ...]]:
    return [tuple(row[name] for name in names) for row in found]


def phases(report: Report, add: int) -> dict[str, int | None]:
    return {row["phase"]: row["self_ns"] for row in rows(report, "phases") if row["add"] == add}


def check_ledger(report: Report) -> None:
    """The phases of each hot-add sum up to its time, to the nanosecond."""
    for add in rows(report, "adds"):
        spent = phases(report, add["add"])
        assert sum(value or 0 for value in spent.values()) == add["total_ns"]
        assert all(value is None or value >= 0 for value in spent.values())


@pytest.mark.parametrize(
    ("kernel", "on_memory"),
    [
        ("debian-6.12", "N"),
        ("debian-6.12", "Y"),
        # Preemptible: programs are skipped now and then, which the run says, and a count may be short.
        pytest.param("debian-7.3", "N", marks=pytest.mark.long),
    ],
)
def test_struct_pages_of_a_node_without_memory(guest: Guest, kernel: str, on_memory: str) -> None:
    work = "lab-mark plug; wait_blocks 4; online online_movable 1; sleep 1.5"
    result = guest(
        kernel,
        ADDED + RECORD.format(events="hotplug,zero", work=work),
        memory=(2 * GIB, 0),
        append=f"memhp_default_state=offline memory_hotplug.memmap_on_memory={on_memory}",
        steps=(Step("plug", PlugDimm("dimm", 1, SIZE)),),
        time_limit_s=600,
    )
    report = report_of(result.results / "run.parquet")
    inside = on_memory == "Y"
    onlined = SIZE - (MEMMAP if inside else 0)

    (add,) = rows(report, "adds")
    assert columns([add], "origin", "nid", "bytes", "blocks", "onlined_bytes", "result", "accepts") == [
        ("ACPI DIMM", 1, SIZE, 4, onlined, "online", 0)
    ]
    assert (add["end_pfn"] - add["pfn"]) * PAGE == SIZE
    check_ledger(report)
    spent = phases(report, 1)
    assert (spent["memmap_zero"] or 0) > (spent["memmap"] or 0) if not inside else not spent["memmap_zero"]

    blocks = rows(report, "blocks")
    first = add["pfn"]
    assert sorted(columns(blocks, "pfn", "nid", "bytes")) == [
        (first + i * BLOCK // PAGE, 1, BLOCK) for i in range(4)
    ]
    left = BLOCK - (2 * MIB if inside else 0)
    assert columns(blocks, "onlined_bytes", "contiguous_bytes") == [(left, left)] * 4
    assert all(block["gap_ns"] > 0 for block in blocks)

    matrix = columns(rows(report, "memmap"), "nid_requested", "nid", "where", "bytes", "misplaced")
    if inside:
        assert matrix == [(1, 1, "in the block", MEMMAP, False)]
    else:
        assert matrix == [(1, 0, "allocated", MEMMAP, True)]
    (witness,) = rows(report, "witnesses")
    outside = 0 if inside else MEMMAP
    assert witness == {
        "add": 1, "needed_bytes": MEMMAP, "allocated_bytes": outside, "in_block_bytes": MEMMAP - outside,
        "counted_bytes": MEMMAP, "counted_over": None, "verdict": "agree",
    }  # fmt: skip

    counters = {(row["nid"], row["counter"]): row for row in rows(report, "nodes")}
    for counter in ("MemTotal", "MemFree"):
        assert columns([counters[1, counter]], "change_bytes", "rest_pages") == [(onlined, 0)]
    assert counters[0, "MemFree"]["explained_bytes"] == -outside
    if not inside:
        (dip,) = rows(report, "dip")
        assert dip["samples"] >= 1
        assert 0 < dip["low_bytes"] < dip["lowest_bytes"] < dip["before_bytes"]
    else:
        assert not rows(report, "dip")
    assert not rows(report, "refusals")


def test_an_older_kernel_honours_the_setting_for_one_block_only(guest: Guest) -> None:
    work = "lab-mark big; wait_blocks 4; lab-mark small; wait_blocks 5; online online_movable 1; sleep 1.5"
    result = guest(
        "debian-6.1",
        ADDED + RECORD.format(events="hotplug", work=work),
        memory=(2 * GIB, 0),
        append="memhp_default_state=offline memory_hotplug.memmap_on_memory=1",
        steps=(Step("big", PlugDimm("big", 1, SIZE)), Step("small", PlugDimm("small", 1, BLOCK))),
        time_limit_s=600,
    )
    report = report_of(result.results / "run.parquet")
    check_ledger(report)
    assert columns(rows(report, "adds"), "nid", "bytes", "blocks", "onlined_bytes") == [
        (1, SIZE, 4, SIZE),
        (1, BLOCK, 1, BLOCK - 2 * MIB),
    ]
    matrix = columns(rows(report, "memmap"), "add", "nid", "where", "bytes")
    assert matrix == [(2, 1, "in the block", 2 * MIB)]
    absent = next(caveat.text for caveat in report.caveats if caveat.id == "site-absent")
    assert "hot.memmap (notrace)" in absent
    # nr_memmap_pages came with 6.10: nothing is left to say where the other 8 MiB are.
    assert columns(rows(report, "witnesses"), "allocated_bytes", "counted_bytes", "verdict") == [
        (None, None, "unknown"),
        (None, None, "agree (no allocated, counted)"),
    ]


@pytest.mark.parametrize("mode", ["eager", "lazy"])
def test_acceptance_of_what_is_added(guest: Guest, mode: str) -> None:
    work = "lab-mark plug; wait_blocks 12; online online 1; sleep 1.5"
    result = guest(
        "accept-6.12",
        ADDED + RECORD.format(events="hotplug,accept.call", work=work),
        memory=(2 * GIB, 2 * GIB),
        append=f"unaccepted_emul=768M@1G,2G@4G,1G@6G unaccepted_emul_cost=100000 accept_memory={mode}"
        " memhp_default_state=offline",
        steps=(Step("plug", PlugDimm("dimm", 1, GIB)),),
        time_limit_s=600,
    )
    report = report_of(result.results / "run.parquet")
    check_ledger(report)
    (add,) = rows(report, "adds")
    assert columns([add], "nid", "bytes", "blocks", "onlined_bytes") == [(1, GIB, 8, GIB)]
    unaccepted = [row["change_bytes"] for row in rows(report, "nodes") if row["counter"] == "Unaccepted"]
    onlining, elsewhere = accepts(result.results / "run.parquet")
    if mode == "eager":
        assert (onlining, add["accepts"]) == (256, 256)
        assert (phases(report, 1)["accept"] or 0) > 0
        assert unaccepted == []
    else:
        # Struct pages and others may come from memory of the node that is accepted for them.
        assert onlining == 0
        (rise,) = unaccepted
        assert GIB - elsewhere * 4 * MIB <= rise <= GIB
        assert rise % (4 * MIB) == 0


def accepts(path: Path) -> tuple[int, int]:
    """Calls of accept_memory() directly inside onlining, and elsewhere."""
    ((onlining, elsewhere),) = duckdb.sql(
        "SELECT count(*) FILTER (parent = 'hot.online'),"
        " count(*) FILTER (parent IS DISTINCT FROM 'hot.online')"
        f" FROM '{path}' WHERE event = 'accept.call'"
    ).fetchall()
    return onlining, elsewhere


def test_adds_that_overlap_and_a_removal_refused(guest: Guest) -> None:
    work = (
        "lab-mark a; wait_blocks 2; lab-mark b; sleep 1.5;"
        " (online online_kernel 1) & (online online_movable 0) & wait; sleep 1;"
        " python3 /tmp/pin.py & pin=$!; until [ -e /tmp/pinned ]; do sleep .1; done;"
        " lab-mark remove-a; kill $pin; wait; lab-mark remove-b; sleep 1"
    )
    result = guest(
        "debian-6.12",
        ADDED + PIN + RECORD.format(events="hotplug", work=work),
        memory=(2 * GIB, 0),
        append="memhp_default_state=offline",
        steps=(
            Step("a", PlugDimm("a", 1, 2 * BLOCK)),
            Step("b", PlugDimm("b", 0, 2 * BLOCK)),
            Step("remove-a", UnplugDimm("a")),
            Step("remove-b", UnplugDimm("b")),
        ),
        time_limit_s=600,
    )
    report = report_of(result.results / "run.parquet")
    check_ledger(report)
    adds = rows(report, "adds")
    assert columns(adds, "nid", "bytes", "blocks", "result") == [
        (1, 2 * BLOCK, 2, "online"),
        (0, 2 * BLOCK, 2, "removed"),
    ]
    # The second was added while the first was not yet online.
    assert adds[1]["at_ns"] < adds[0]["at_ns"] + adds[0]["total_ns"]
    assert {(row["add"], row["nid"]) for row in rows(report, "blocks")} == {(1, 1), (2, 0)}
    assert columns(rows(report, "memmap"), "add", "nid_requested", "nid", "bytes") == [
        (1, 1, 0, 4 * MIB),
        (2, 0, 0, 4 * MIB),
    ]
    refused = rows(report, "refusals")
    assert {row["what"] for row in refused} == {"refused offlining"}
    assert {row["errno"] for row in refused} == {"EBUSY"}
    low, high = adds[0]["pfn"], adds[0]["end_pfn"]
    assert all(low <= row["pfn"] < high for row in refused)


CYCLES = 20


def test_what_cycles_of_adding_and_removing_cost(guest: Guest) -> None:
    # Emulated, the first checkpoint of a recording takes seconds, and no snapshot is taken meanwhile.
    cycle = "lab-mark plug-$i; wait_blocks 1; sleep .3; [ $i = 0 ] && sleep 5; lab-mark unplug-$i; sleep .3"
    names = [f"d{i}" for i in range(CYCLES)]
    result = guest(
        "debian-6.12",
        ADDED + RECORD.format(events="hotplug", work=f"for i in $(seq 0 {CYCLES - 1}); do {cycle}; done"),
        memory=(2 * GIB, 0),
        append="memhp_default_state=online_movable",
        steps=tuple(
            step
            for i, name in enumerate(names)
            for step in (
                Step(f"plug-{i}", PlugDimm(name, 1, BLOCK)),
                Step(f"unplug-{i}", UnplugDimm(name)),
            )
        ),
        time_limit_s=600,
    )
    report = report_of(result.results / "run.parquet")
    adds = rows(report, "adds")
    assert columns(adds, "bytes", "result", "blocks") == [(BLOCK, "removed", 1)] * CYCLES
    found = rows(report, "cycles")
    assert [row["cycle"] for row in found] == list(range(1, CYCLES + 1))
    assert {row["alone"] for row in found} == {True}
    # The struct pages themselves always come back, and the witnesses see each add apart.
    assert {row["memmap_pages"] for row in found} == {0}
    assert columns(rows(report, "witnesses"), "counted_bytes", "counted_over", "verdict") == [
        (2 * MIB, None, "agree")
    ] * CYCLES  # fmt: skip
    # A leak of one cycle's struct pages or more would show: the rest of the guest stays below that.
    lost = [row["lost_bytes"] for row in found]
    assert all(size is not None for size in lost)
    assert abs(statistics.median(lost)) < 2 * MIB


def test_a_virtio_mem_device_brings_a_part_of_a_block_online(guest: Guest) -> None:
    size = 3 * BLOCK + 64 * MIB
    result = guest(
        "debian-6.12",
        ADDED + RECORD.format(events="hotplug", work="lab-mark grow; wait_blocks 4; sleep 1.5"),
        memory=(2 * GIB, 0),
        append="memhp_default_state=online",
        modules=("virtio_mem",),
        virtio_mem=(VirtioMem("vm0", 1, GIB),),
        steps=(Step("grow", ResizeVirtioMem("vm0", size)),),
        time_limit_s=600,
    )
    report = report_of(result.results / "run.parquet")
    check_ledger(report)
    adds = rows(report, "adds")
    assert {row["origin"] for row in adds} == {"virtio-mem"}
    assert sum(row["bytes"] for row in adds) == 4 * BLOCK
    blocks = rows(report, "blocks")
    assert sorted(columns(blocks, "bytes", "onlined_bytes")) == [(BLOCK, 64 * MIB)] + [(BLOCK, BLOCK)] * 3
    assert sum(row["partly_online"] for row in rows(report, "firsts")) == 1
    # The device adds its blocks one after the other, faster than snapshots are taken: nr_memmap_pages
    # counts those without one between them together, and all of them together are what was needed.
    found = rows(report, "witnesses")
    assert {row["verdict"] for row in found} == {"agree"}
    assert columns(found, "needed_bytes", "allocated_bytes") == [(2 * MIB, 2 * MIB)] * 4
    groups = {row["counted_over"] or row["add"]: row["counted_bytes"] for row in found}
    assert sum(groups.values()) == 8 * MIB
    totals = [row for row in rows(report, "nodes") if (row["nid"], row["counter"]) == (1, "MemTotal")]
    assert sum(row["change_bytes"] for row in totals) == size
    assert {row["rest_pages"] for row in totals} == {0}


# Processes live in ZONE_MOVABLE, struct pages cannot.  Of the 512 MiB that the kernel may use 192 are
# held in pipe buffers, which are no movable memory either, and more than 64 are its image, its slabs
# and struct pages it has: 256 for 16 GiB are not left.  What an add that fails had allocated stays
# allocated, so the pipes are let go when the kernel has said so.  What has to be killed meanwhile is
# neither the recorder nor the test.
HOLD = r"""
cat > /tmp/victim.py <<'PY'
import time
open("/proc/self/oom_score_adj", "w").write("1000")
time.sleep(600)
PY
cat > /tmp/hold.py <<'PY'
import ctypes, fcntl, os, select, time
kmsg = os.open("/dev/kmsg", os.O_RDONLY | os.O_NONBLOCK)
os.lseek(kmsg, 0, os.SEEK_END)
pipes = [os.pipe() for _ in range(192)]
for _, end in pipes:
    fcntl.fcntl(end, fcntl.F_SETPIPE_SZ, 1 << 20)
    os.write(end, b"x" * (1 << 20))
assert not ctypes.CDLL(None).mlockall(3)
open("/tmp/held", "w").close()
until = time.monotonic() + 60
while time.monotonic() < until:
    select.select([kmsg], [], [], 1)
    try:
        if b"add_memory failed" in os.read(kmsg, 8192):
            break
    except OSError:
        pass
PY
for i in 1 2 3 4 5; do python3 /tmp/victim.py & done
echo -1000 > /proc/self/oom_score_adj
"""


def test_an_add_without_room_for_its_struct_pages(guest: Guest) -> None:
    size = 16 * GIB
    work = (
        "python3 /tmp/hold.py & held=$!; until [ -e /tmp/held ]; do sleep .1; done;"
        " lab-mark plug; wait $held; sleep 1"
    )
    result = guest(
        "debian-6.12",
        ADDED + HOLD + RECORD.replace("1M", "8M").format(events="hotplug", work=work),
        memory=(2 * GIB, 0),
        append="memhp_default_state=offline kernelcore=512M",
        steps=(Step("plug", PlugDimm("dimm", 1, size)),),
        time_limit_s=600,
    )
    report = report_of(result.results / "run.parquet")
    assert not rows(report, "adds")
    (failed,) = rows(report, "refusals")
    assert columns([failed], "what", "cause", "errno", "bytes", "origin") == [
        ("failed add", "hot.memmap", "ENOMEM", size, "ACPI DIMM")
    ]
    # Those of the sections before the one that failed: some, not all.
    assert 0 < failed["memmap_bytes"] < size // 64
