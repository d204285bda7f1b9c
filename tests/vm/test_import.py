# SPDX-License-Identifier: Apache-2.0
"""One hot-add, recorded by our programs and by tracefs at once: both tell the same.

Boots: 1.
"""

from __future__ import annotations

import statistics
from collections import Counter
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from memtrace.lab.sizes import GIB, MIB
from memtrace.lab.spec import PlugDimm, Step
from memtrace.traces.importers.assemble import Request, run_import
from memtrace.traces.reader import open_run

from .conftest import Guest

pytestmark = pytest.mark.vm

SIZE = 512 * MIB
SCRIPT = r"""
cd /sys/kernel/tracing || { mount -t tracefs none /sys/kernel/tracing; cd /sys/kernel/tracing; }
echo boot > trace_clock
cat > kprobe_events <<'PROBES'
p:amr add_memory_resource nid=%di:s32 flags=%dx:x32
r:amr_r add_memory_resource ret=$retval:s32
p:aam arch_add_memory nid=%di:s32 start=%si size=%dx
r:aam_r arch_add_memory ret=$retval:s32
p:sas sparse_add_section nid=%di:s32 start_pfn=%si nr_pages=%dx
r:sas_r sparse_add_section ret=$retval:s32
p:vab vmemmap_alloc_block size=%di node=%si:s32
r:vab_r vmemmap_alloc_block va=$retval
p:mso memory_subsys_online
r:mso_r memory_subsys_online ret=$retval:s32
p:op online_pages pfn=%di nr_pages=%si
r:op_r online_pages ret=$retval:s32
p:mpr move_pfn_range_to_zone pfn=%si nr=%dx
r:mpr_r move_pfn_range_to_zone
p:mir memmap_init_range size=%di nid=%si:s32 start_pfn=%cx
r:mir_r memmap_init_range
p:gop generic_online_page order=%si:u32
PROBES
echo 1 > events/kprobes/enable
memtrace record -q -f -e hotplug -a -o $RESULTS/run.parquet -- sh -c '
lab-mark plug
for try in 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 19 20; do
  [ "$(ls -d /sys/devices/system/node/node1/memory[0-9]* 2>/dev/null | wc -l)" -ge 4 ] && break
  sleep .5
done
sleep 1
for block in /sys/devices/system/memory/memory*; do
  grep -q offline $block/state && echo online_movable > $block/state
done'
echo 0 > tracing_on
cat trace > $RESULTS/trace.txt
dmesg > $RESULTS/dmesg.txt
echo 0 > events/kprobes/enable
echo > kprobe_events
"""
# memory_subsys_online() has a struct device as its argument, which text cannot look into.
RANGES = ("hot.request", "hot.add", "hot.section", "hot.memmap", "hot.init", "hot.zone", "hot.online")


def rows(path: Path) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = pa.Table.from_batches(list(open_run(path).batches())).to_pylist()
    return [row for row in found if row["event"].startswith("hot.")]


def told(found: list[dict[str, Any]], *columns: str) -> Counter[tuple[Any, ...]]:
    return Counter(tuple(row[c] for c in ("event", *columns)) for row in found)


def test_text_of_a_hot_add_tells_what_the_recorder_tells(guest: Guest, tmp_path: Path) -> None:
    result = guest(
        "debian-6.12",
        SCRIPT,
        memory=(2 * GIB, 0),
        append="nokaslr memhp_default_state=offline",
        steps=(Step("plug", PlugDimm("dimm", 1, SIZE)),),
        time_limit_s=600,
    )
    files = tuple(str(result.results / name) for name in ("trace.txt", "dmesg.txt"))
    imported = tmp_path / "imported.parquet"
    run_import(Request(files, imported, clock="boot"))

    ours, theirs = rows(result.results / "run.parquet"), rows(imported)
    assert told(ours) == told(theirs)
    assert told(ours, "parent") == told(theirs, "parent")
    sized = ("bytes", "bytes_requested", "nid_requested", "pfn")
    # The resource that add_memory_resource() is given is not among its arguments.
    in_text = [row for row in theirs if row["event"] in RANGES[1:]]
    in_ours = [row for row in ours if row["event"] in RANGES[1:]]
    assert told(in_text, *sized, "nid") == told(in_ours, *sized, "nid")
    assert open_run(imported).header.sources[0].unparsed == 0
    # One clock: most occurrences end within what the probes themselves take.
    apart = []
    for event in RANGES:
        ends = [sorted(row["ts_ns"] for row in found if row["event"] == event) for found in (ours, theirs)]
        apart += [abs(a - b) for a, b in zip(*ends, strict=True)]
    assert statistics.median(apart) < 20_000_000
