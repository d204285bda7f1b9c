# SPDX-License-Identifier: Apache-2.0
"""Hot-adding 512 MiB on node 1: add, memmap and online, with the right bytes and node."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from memtrace.lab.sizes import GIB, MIB
from memtrace.lab.spec import PlugDimm, Step, UnplugDimm
from memtrace.traces.reader import open_run

pytestmark = pytest.mark.vm

SIZE = 512 * MIB
# 64 bytes for each 4 KiB page.
MEMMAP = SIZE // 64
BLOCK = 128 * MIB
SCRIPT = """
memtrace record -q -f -e hotplug -a -o $RESULTS/run.parquet -- sh -c '
lab-mark plug
for try in 1 2 3 4 5 6 7 8 9 10; do
  [ "$(grep -c . /sys/devices/system/node/node1/meminfo)" -gt 0 ] &&
    ls -d /sys/devices/system/node/node1/memory[0-9]* >/dev/null 2>&1 && break
  sleep .5
done
sleep 1
for block in /sys/devices/system/memory/memory*; do
  grep -q offline $block/state && echo online_movable > $block/state
done
lab-mark unplug'
"""
Guest = Callable[..., Any]


def events(file: Path, name: str) -> list[dict[str, Any]]:
    run = open_run(file)
    rows: list[dict[str, Any]] = pa.Table.from_batches(list(run.batches())).to_pylist()
    return [row for row in rows if row["event"] == name]


@pytest.mark.parametrize("kernel_name", ["debian-6.1", "debian-6.12", "accept-6.12"])
def test_memory_added_to_node_1(guest: Guest, kernel_name: str) -> None:
    result = guest(
        kernel_name,
        SCRIPT,
        memory=(2 * GIB, 0),
        append="memhp_default_state=offline",
        steps=(Step("plug", PlugDimm("dimm", 1, SIZE)), Step("unplug", UnplugDimm("dimm"))),
        time_limit_s=240,
    )
    file = result.results / "run.parquet"
    manifest = {site.event: site for site in open_run(file).header.manifest}

    (add,) = events(file, "hot.add")
    assert (add["bytes"], add["nid"]) == (SIZE, 1)

    online = events(file, "hot.online")
    assert [(row["bytes"], row["nid"]) for row in online] == [(BLOCK, 1)] * (SIZE // BLOCK)
    first = add["pfn"]
    assert sorted(row["pfn"] for row in online) == [first + i * BLOCK // 4096 for i in range(SIZE // BLOCK)]

    memmap = events(file, "hot.memmap")
    if manifest["hot.memmap"].site is None:
        # Until 6.5 __meminit functions are notrace.
        assert {r.reason for r in manifest["hot.memmap"].refused} == {"notrace"}
        return
    assert sum(row["bytes"] for row in memmap) == MEMMAP
    assert {row["nid_requested"] for row in memmap} == {1}
    assert {row["parent"] for row in memmap} == {"hot.add"}
    # Node 1 has no memory yet: the struct pages land on node 0.
    known = {row["nid"] for row in memmap} - {None}
    assert known <= {0}
    if kernel_name == "debian-6.12":
        assert known == {0}
