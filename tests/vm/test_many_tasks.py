# SPDX-License-Identifier: Apache-2.0
"""Thousands of tasks inside a traced function at once: each is in the file, or counted as lost.

Boots: 1.
"""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from memtrace.analyzer.losses import ledger as ledger_of
from memtrace.lab.programs import program
from memtrace.lab.sizes import GIB
from memtrace.tests.sql import fetched
from memtrace.tests.vm.conftest import Guest
from memtrace.traces.reader import open_run

pytestmark = pytest.mark.vm

HERE = Path(__file__).parent
HOLD_S = 2
FEW = 2_000
EVENT = "root.fault"
# What ftrace writes for the same function and the same tasks is the answer: its buffer counts what it
# has and what it has overwritten.  fdinfo tells the table, a hash (type 1) of long values, and its memory.
SCRIPT = """
T=/sys/kernel/tracing
[ -e $T/kprobe_events ] || mount -t tracefs tracefs $T
sysctl -q kernel.threads-max=60000 kernel.pid_max=100000 vm.max_map_count=200000
echo 'p:hits/fault handle_mm_fault' > $T/kprobe_events
mkdir $T/instances/hits
echo 'COMM == "blocked"' > $T/instances/hits/events/hits/fault/filter
echo 1 > $T/instances/hits/events/hits/fault/enable
hits() { awk -F: '/^(entries|overrun|commit overrun|dropped events):/ { n += $2 } END { print n }' \\
    $T/instances/hits/per_cpu/cpu*/stats; }
traced() {
    name=$1; shift
    hits > $RESULTS/$name.before
    memtrace record -q -f -a -e EVENT --comm blocked --stream all -o $RESULTS/$name.parquet "$@" \\
        > $RESULTS/$name
    hits > $RESULTS/$name.after
}
cat > /tmp/twice <<'END'
awk '/^map_type/ { type = $2 } /^value_size/ { size = $2 } /^max_entries/ { n = $2 }
    /^memlock/ && type == 1 && size > 1000 { print n, $2 }' /proc/$PPID/fdinfo/* | sort -u
$FILES/blocked FIT HOLD
$FILES/blocked FIT HOLD
END
traced fit -- sh /tmp/twice
traced too_many -- $FILES/blocked TOO_MANY HOLD
traced returns --avoid fentry -- $FILES/blocked FEW HOLD
echo 0 > $T/instances/hits/events/hits/fault/enable
rmdir $T/instances/hits
echo > $T/kprobe_events
"""


def hits(folder: Path, name: str) -> int:
    """How often ftrace saw the function entered by the workload while a recording ran."""
    before, after = ((folder / f"{name}.{when}").read_text().strip() for when in ("before", "after"))
    return int(after) - int(before or 0)


def held(folder: Path, name: str) -> int:
    """Threads of which an interval is known that is at least as long as the workload held them.

    Thousands that go on at once wait for each other, and fault again meanwhile.  That may be as long,
    also of a thread that finds room only then, but begins when the first ones of its process are done.
    """
    ((count,),) = fetched(
        f"""
        WITH long AS (
            SELECT tid, ts_ns - dur_ns AS began, min(ts_ns) OVER (PARTITION BY pid) AS first_done
            FROM '{folder / name}.parquet'
            WHERE event = '{EVENT}' AND comm = 'blocked' AND tid <> pid AND dur_ns >= {HOLD_S * 10**9}
        )
        SELECT count(DISTINCT tid) FROM long WHERE began < first_done"""
    )
    return int(count)


def ledger(folder: Path, name: str) -> dict[str, int]:
    """What became of each entry of the function, by cause; it holds against what ftrace counted.

    What the program missed is counted for all tasks, before the filter.
    """
    with open_run(folder / f"{name}.parquet") as run:
        (row,) = (row for row in ledger_of(run.status).rows if row["event"] == EVENT)
    found = {cause: row[cause] for cause in ("in_file", "no_room", "no_exit", "open")}
    assert row["ring_full"] == 0
    assert 0 <= hits(folder, name) - sum(found.values()) <= row["missed"]
    return found


@pytest.mark.parametrize(
    ("memory", "fit", "too_many"),
    [(GIB, 4_000, 8_000), pytest.param(4 * GIB, 20_000, 27_000, marks=pytest.mark.long)],
)
def test_each_task_that_is_inside_is_in_the_file_or_counted(
    memory: int, fit: int, too_many: int, guest: Guest
) -> None:
    script = SCRIPT
    for name, value in {"EVENT": EVENT, "FIT": fit, "TOO_MANY": too_many, "FEW": FEW, "HOLD": HOLD_S}.items():
        script = re.sub(rf"\b{name}\b", str(value), script)
    files = (program("blocked", HERE / "workloads"),)
    result = guest("debian-6.12", script, memory=(memory,), files=files)
    assert result.status == 0, result.output
    folder = result.results

    # As many at once as there is room for, and their places again for the next ones.
    table, *said = (folder / "fit").read_text().splitlines()
    places, taken = map(int, table.split())
    assert fit < places < 2 * fit
    assert taken <= memory // 100
    assert said == [str(fit), str(fit)]
    assert held(folder, "fit") == 2 * fit
    kept = ledger(folder, "fit")
    assert (kept["no_room"], kept["no_exit"]) == (0, 0)

    # What finds no room is counted, at each of its entries.
    lost = ledger(folder, "too_many")
    assert too_many - places <= too_many - held(folder, "too_many") <= lost["no_room"]

    # A return probe has few instances.  While tasks hold them all, nobody's return is seen, and each
    # is counted: when the task enters again, or when it is freed.
    returns = ledger(folder, "returns")
    assert 0 < held(folder, "returns") < FEW
    assert returns["no_exit"] >= FEW - held(folder, "returns")
