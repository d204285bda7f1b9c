# SPDX-License-Identifier: Apache-2.0
"""Every way to lose an event is counted, and what is lost and what is in the file add up.

Interrupts that allocate come while our own programs run, which the kernel then does not run
a second time: neither a kprobe's handler, nor a fentry program.  ftrace counts the same allocations.

Boots: 2.
"""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from memtrace.analyzer.losses import ledger
from memtrace.lab.programs import program
from memtrace.lab.sizes import GIB
from memtrace.tests.sql import fetched
from memtrace.tests.vm.conftest import Guest
from memtrace.traces.reader import open_run

pytestmark = pytest.mark.vm

HERE = Path(__file__).parent
SECONDS = 4
FAR_TOO_MANY = 8_000
STILL_THERE = 300
SCRIPT = f"""
T=/sys/kernel/tracing
[ -e $T/kprobe_events ] || mount -t tracefs tracefs $T
sysctl -q kernel.threads-max=60000 kernel.pid_max=100000 vm.max_map_count=200000
mkdir $T/instances/answer
A=$T/instances/answer/events/kmem/mm_page_alloc
echo 'hist:keys=order if pfn != 0xffffffffffffffff' > $A/trigger
interrupted="python3 -m memtrace.tests.vm.workloads.interrupted {SECONDS} $A"
for avoid in fentry kprobe; do
    memtrace record -q -f -a -e alloc --avoid $avoid --stream all --ring-size 64M \\
        -o $RESULTS/$avoid.parquet -- $interrupted > $RESULTS/$avoid.said
done
cat > /tmp/everything <<END
$interrupted
$FILES/blocked {FAR_TOO_MANY} 1
$FILES/blocked {STILL_THERE} 60 &
sleep 5
END
memtrace record -q -f -a -e alloc,root.fault --avoid fentry --stream all --ring-size 64K \\
    -o $RESULTS/everything.parquet -- sh /tmp/everything > /dev/null
pkill blocked
echo "!hist:keys=order" > $A/trigger
rmdir $T/instances/answer
"""


@pytest.mark.parametrize("kernel", ["debian-6.12", "debian-7.3"])
def test_what_is_lost_and_what_is_in_the_file_add_up(kernel: str, guest: Guest) -> None:
    files = (program("blocked", HERE / "workloads"),)
    result = guest(kernel, SCRIPT, memory=(GIB,), files=files)
    assert result.status == 0, result.output
    by_kprobe, by_fentry = (allocations(result.results, avoided) for avoided in ("fentry", "kprobe"))

    # A kprobe that is missed has neither beginning nor end.
    assert by_kprobe["missed"] > 0
    # A fentry program and its fexit program are two that may be skipped.
    assert by_fentry["no_exit"] > 0
    with open_run(result.results / "everything.parquet") as run:
        rows = {row["event"]: row for row in ledger(run.status).rows}
    assert min(rows["alloc"][cause] for cause in ("ring_full", "missed")) > 0
    fault = rows["root.fault"]
    assert min(fault[cause] for cause in ("in_file", "ring_full", "no_room", "no_exit")) > 0
    assert fault["open"] >= STILL_THERE // 2


def allocations(folder: Path, avoided: str) -> dict[str, int]:
    """What was lost of alloc, by cause: what ftrace has more than the file.

    That is all of order 3, which interrupts alone take.  Reading ftrace's histogram takes some of
    order 0 itself.
    """
    path = folder / f"{avoided}.parquet"
    said = json.loads((folder / f"{avoided}.said").read_text())
    in_file = dict(
        fetched(
            f"SELECT \"order\", count(*) FROM '{path}' WHERE event = 'alloc'"
            f" AND ts_ns BETWEEN {said['begin_ns']} AND {said['end_ns']} GROUP BY 1"
        )
    )
    differ = {order: hits - in_file.get(int(order), 0) for order, hits in said["hits"].items()}
    with open_run(path) as run:
        alloc = next(row for row in ledger(run.status).rows if row["event"] == "alloc")
        assert run.status.losses.recursion == alloc["missed"]
    lost = {cause: alloc[cause] for cause in ("ring_full", "no_room", "no_exit", "open", "missed")}
    assert 0 < differ["3"] <= sum(lost.values()) <= sum(differ.values())
    return lost
