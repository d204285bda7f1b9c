# SPDX-License-Identifier: Apache-2.0
"""The boot against the truth: a kernel that logs every accept it makes, told to record its own boot.

The guest has no systemd and no FPDT: these phases are missing, and said to be.

Boots: 2.
"""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from memtrace.analyzer.tables import Report, Row
from memtrace.analyzer.views import view
from memtrace.lab.sizes import GIB, MIB
from memtrace.traces.importers.assemble import Request, run_import
from memtrace.traces.reader import open_run

pytestmark = pytest.mark.vm

EMULATE = "unaccepted_emul=768M@1G,2G@4G unaccepted_emul_cost=1000000"
TRACED = (
    "accept_memory,tdx_accept_memory,__accept_page,__free_pages_ok,page_alloc_init_late,deferred_init_memmap,"
    "deferred_init_memmap_chunk,padata_do_multithreaded,memblock_discard,smp_init"
)
LINE = (
    f"ftrace=function ftrace_filter={TRACED} trace_event=initcall,printk trace_clock=local trace_buf_size=2M"
    " trace_options=nooverwrite"
)
"""What `memtrace boot prepare --line` gives for this kernel; the lazy boot checks that."""
FIRMWARE = {"0": 2 * GIB - 768 * MIB, "1": 0}
"""All but what is emulated, to be less what QEMU keeps of node 0."""
Guest = Callable[..., Any]


def logged(file: Path) -> list[int]:
    """ns that each accept took, by the kernel's own log, in order."""
    return [int(line.split()[7]) for line in file.read_text().splitlines() if not line.startswith("#")]


def report(path: Path) -> Report:
    with open_run(path) as run:
        return view(run, "boot").report


def rows(found: Report, name: str) -> tuple[Row, ...]:
    table = found.table(name)
    assert table is not None
    return table.rows


def check_balance(found: Report, closes_to: int) -> None:
    """present = firmware + kernel + left on each node, and what was seen explains what went."""
    for row in rows(found, "balance"):
        parts = [row[f"{name}_bytes"] for name in ("firmware", "kernel", "left")]
        assert row["present_bytes"] == sum(parts)
        if row["nid"] is not None:
            # A page at either end of e820's ranges is no zone's.
            assert abs(row["firmware_bytes"] - FIRMWARE[row["node"]]) < MIB
        if row["rest_bytes"] is not None:
            assert abs(row["rest_bytes"]) <= closes_to


def said_to_be_missing(found: Report) -> set[str]:
    return {c.text.partition(":")[0] for c in found.caveats if c.id == "source-missing"}


def test_lazy_what_was_accepted_before_the_probes_is_in_the_boot_trace(guest: Guest, tmp_path: Path) -> None:
    script = """
memtrace boot prepare --line > $RESULTS/line
mkdir -p /run/memtrace/early
for file in /proc/uptime /proc/vmstat /sys/devices/system/node/node*/meminfo; do
	echo "==> $file <=="; cat $file
done > /run/memtrace/early/initramfs-end
cat > /tmp/touch.py <<'PY'
from memtrace.probes.workloads.touch import fresh, touch
with fresh(700 << 20, False, 1) as address:
    touch(address, 700 << 20)
PY
memtrace record -q -e accept,alloc -a -o $RESULTS/run.parquet -- python3 /tmp/touch.py
memtrace boot collect --merge $RESULTS/run.parquet -o $RESULTS/boot.parquet --save $RESULTS/texts
cp /sys/kernel/debug/unaccepted_emul $RESULTS/log
"""
    append = f"{EMULATE} {LINE}"
    done = guest("accept-6.12", script, memory=(2 * GIB, 2 * GIB), append=append, time_limit_s=600)
    results = done.results
    assert (results / "line").read_text().strip() == LINE
    found = report(results / "boot.parquet")
    by = {row["seen_by"]: row for row in rows(found, "seen")}
    accepted = 2 * MIB * sum(units_of(results / "log"))
    everything = rows(found, "balance")[-1]
    # The counter counts a block whole whose first unit went as another's guard: one for each node at most.
    assert abs(everything["kernel_bytes"] - accepted) <= 3 * 2 * MIB
    check_balance(found, closes_to=4 * MIB)
    assert everything["early_bytes"] > 300 * MIB
    # All of it but what memblock accepted before there was a tracer.
    assert 0.8 < everything["traced_bytes"] / everything["early_bytes"] <= 1
    assert by["boot trace"]["bytes"] == everything["traced_bytes"]
    known = everything["firmware_bytes"] + everything["early_bytes"] - everything["traced_bytes"]
    assert everything["unseen_bytes"] == known
    assert by["probes"]["bytes"] >= 200 * MIB
    assert everything["seen_bytes"] == by["probes"]["bytes"]
    counter = [row["moment"] for row in rows(found, "unaccepted") if row["nid"] == 0]
    assert counter[:2] == ["entry", "early"] and counter[-2:] == ["end", "boot"]
    assert {"fpdt", "systemd"} == said_to_be_missing(found)

    # The saved texts make the same run elsewhere.
    again = tmp_path / "again.parquet"
    texts = tuple(str(path) for path in sorted((results / "texts").iterdir()))
    run_import(Request(texts, again, merge=results / "run.parquet"))
    other = report(again)
    assert [table.rows for table in other.tables] == [table.rows for table in found.tables]
    assert other.caveats == found.caveats


def units_of(file: Path) -> list[int]:
    return [int(line.split()[5]) for line in file.read_text().splitlines() if not line.startswith("#")]


def test_eager_the_boot_trace_sees_all_but_memblocks_accepts_and_their_time(guest: Guest) -> None:
    script = """
memtrace boot collect -o $RESULTS/boot.parquet
cp /sys/kernel/debug/unaccepted_emul $RESULTS/log
"""
    # Long beside what a function tracer adds to each call: a few hundred microseconds on a busy host.
    slow = EMULATE.replace("cost=1000000", "cost=5000000")
    append = f"{slow} accept_memory=eager {LINE}"
    done = guest("accept-6.12", script, memory=(2 * GIB, 2 * GIB), append=append, time_limit_s=600)
    found = report(done.results / "boot.parquet")
    log = logged(done.results / "log")
    assert len(log) > 690
    (seen,) = rows(found, "seen")
    # Calls that find everything accepted are no accepts in the kernel's log: a handful.
    assert 660 <= seen["calls"] <= 675
    unseen = len(log) - seen["calls"]
    assert 20 <= unseen <= 40
    assert seen["bytes"] is None and seen["time_ns"] == pytest.approx(sum(log[unseen:]), rel=0.05)
    check_balance(found, closes_to=0)
    everything = rows(found, "balance")[-1]
    assert (everything["kernel_bytes"], everything["left_bytes"]) == (768 * MIB + 2 * GIB, 0)
    deferred = {r["nid"]: r for r in rows(found, "phases") if r["phase"] == "deferred"}
    assert set(deferred) == {0, 1}
    # Three quarters of the memory to accept is on node 1, and all of the time is in accepting it.
    assert deferred[0]["calls"] + deferred[1]["calls"] == seen["calls"]
    assert deferred[1]["calls"] > 2 * deferred[0]["calls"]
    assert all(0.7 < row["time_ns"] / row["length_ns"] <= 1 for row in deferred.values())
    told = [r for r in rows(found, "phase_sources") if r["phase"] == "deferred"]
    assert {(r["source"], r["nid"]) for r in told} == {
        (s, nid) for s in ("ftrace", "dmesg") for nid in (0, 1)
    }
    # The trace stamps both ends to the microsecond, the log to a tick.
    assert {row["source"] for row in deferred.values()} == {"ftrace"}
    for row in told:
        # The log is placed by its own lines in the trace, whatever ticks were lost meanwhile.
        assert abs(row["end_ns"] - deferred[row["nid"]]["end_ns"]) < 1_000_000
