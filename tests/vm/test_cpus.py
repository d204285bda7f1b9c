# SPDX-License-Identifier: Apache-2.0
"""Many CPUs are possible and few online: one that comes while recording is recorded to the page.

Boots: 1.
"""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from memtrace.lab.sizes import GIB
from memtrace.tests.sql import fetched
from memtrace.tests.vm.conftest import Guest
from memtrace.tests.vm.hotplug import ADDED
from memtrace.traces.reader import open_run

pytestmark = pytest.mark.vm

MIB = 16
# The recorder looks for new CPUs each second, but not in its first checkpoint, which takes long under
# emulation; fdinfo tells its rings (map_type 27) and their bytes.
SCRIPT = f"""
{ADDED}
cat > /tmp/rings <<'END'
awk '/^pos/ {{ type = 0 }} /^map_type/ {{ type = $2 }} /^max_/ {{ n = $2 }}
    /^map_id/ && type == 27 {{ print $2, n }}' /proc/$1/fdinfo/* | sort -u | cut -d ' ' -f 2 | sort | uniq -c
END
echo 0 > /sys/devices/system/cpu/cpu1/online
cat /sys/devices/system/cpu/possible /sys/devices/system/cpu/online > $RESULTS/cpus
memtrace record -q -f -a -o $RESULTS/run.parquet -e alloc,zero --stream all -- bash -c '
    . /tmp/lib.sh
    wait_for_checkpoints
    sh /tmp/rings $PPID > $RESULTS/before
    echo 1 > /sys/devices/system/cpu/cpu1/online
    for try in $(seq 60); do
        sh /tmp/rings $PPID > $RESULTS/after
        grep -q "2 16777216" $RESULTS/after && break
        sleep 1
    done
    taskset -c 1 memtrace workload anon --mib {MIB}' > $RESULTS/said
memtrace record -q -f -o $RESULTS/hotplug.parquet -e hotplug -- sh -c '
    echo 0 > /sys/devices/system/cpu/cpu1/online
    echo 1 > /sys/devices/system/cpu/cpu1/online'
"""


def test_a_cpu_that_comes_is_recorded_and_one_that_may_come_takes_little(guest: Guest) -> None:
    result = guest("debian-6.1", SCRIPT, memory=(2 * GIB,), append="possible_cpus=64 init_on_alloc=1")
    assert result.status == 0, result.output
    assert (result.results / "cpus").read_text().split() == ["0-63", "0"]
    (done,) = json.loads((result.results / "said").read_text())["tables"]["workload"]
    path = result.results / "run.parquet"
    with open_run(path) as run:
        seen = {c.event: (c.seen, c.ring_full) for c in run.status.counters if c.seen}
    # What its small ring had no room for until it had a large one is counted.
    in_file = dict(fetched(f"SELECT event, sum(count) FROM '{path}' GROUP BY event"))
    assert {event: all_ - lost for event, (all_, lost) in seen.items()} == in_file
    assert fetched(
        f"SELECT cpu, count(*) FROM '{path}' WHERE event = 'alloc' AND \"order\" = 0 AND (gfp & 8) > 0"
        f" AND ts_ns BETWEEN {done['begin_ns']} AND {done['end_ns']} AND tid = {done['tid']} GROUP BY cpu"
    ) == [(1, MIB * 256)]
    # The one of a page only says what the rings are like.
    others = {(1, 4 << 10), (63, 64 << 10)}
    assert rings(result.results / "before") == {(1, 16 << 20)} | others
    assert rings(result.results / "after") == {(2, 16 << 20)} | others
    with open_run(result.results / "hotplug.parquet") as run:
        assert run.status.complete


def rings(counted: Path) -> set[tuple[int, int]]:
    """How many rings there are of each size in bytes."""
    lines = [line.split() for line in counted.read_text().splitlines()]
    return {(int(count), int(size)) for count, size in lines}
