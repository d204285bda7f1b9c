# SPDX-License-Identifier: Apache-2.0
"""The kernel side's tables of totals are emptied while recording: each process is counted, however many."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

import pytest

from memtrace.probes.recorder import plan, sums
from memtrace.probes.recorder.sums import Told
from memtrace.tests.probes.recorder.known import Counting, counting
from memtrace.tests.sql import fetched
from memtrace.traces.reader import open_run

pytestmark = [
    pytest.mark.live,
    pytest.mark.skipif(os.geteuid() != 0, reason="recording needs root"),
]

PLACES = 1024
PROCESSES = 2500
START = "i=0; while [ $i -lt {0} ]; do /bin/true; i=$((i + 1)); done"
SMALL = f"""
from memtrace.probes.recorder import plan
plan.keys = lambda memory_bytes, cpus: {PLACES}
from memtrace.cli import main
main()
"""


def test_more_processes_than_a_table_has_room_for_are_each_counted(tmp_path: Path) -> None:
    path = tmp_path / "run.parquet"
    record = ("record", "-q", "--stream", "all", "-o", str(path), "--", "sh", "-c", START.format(PROCESSES))
    done = subprocess.run((sys.executable, "-c", SMALL, *record), capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    with open_run(path) as run:
        status = run.status
    assert status.losses.ring_full == status.tasks_dropped == 0
    in_file = fetched(
        f"SELECT event, pid, sum(count), sum(bytes) FROM '{path}' WHERE pid IS NOT NULL GROUP BY ALL"
    )
    told = [(task.event, task.pid, task.count, task.bytes) for task in status.tasks]
    assert len({pid for _, pid, *_ in told}) > PROCESSES > PLACES
    assert sorted(told) == sorted((event, pid, int(count), int(size)) for event, pid, count, size in in_file)
    assert sum(total.count for total in status.roots) == sum(task.count for task in status.tasks)


def work(counting: Counting, processes: int) -> None:
    """Start processes while the gate is open."""
    counting.gate.set(True)
    subprocess.run(["sh", "-c", START.format(processes)], check=True)
    counting.gate.set(False)
    time.sleep(0.01)


def assert_whole(told: Told) -> None:
    """Hold the totals by process, and what has none, against the counters."""
    by_event: Counter[str] = Counter()
    for task in told.tasks:
        by_event[task.event] += task.count
    missing = {one.event: one.seen - by_event[one.event] for one in told.counters}
    assert min(missing.values()) >= 0
    assert sum(missing.values()) == told.tasks_dropped


def test_each_checkpoint_has_everything_while_tables_are_exchanged(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(plan, "keys", lambda memory_bytes, cpus: 256)
    monkeypatch.setattr(sums, "_CHECKPOINT_TASKS", 1 << 20)
    with counting("alloc") as found:
        for round_ in range(12):
            work(found, 40)
            # Between two checkpoints a table is exchanged, or about to be, or emptied already.
            for _ in range(round_ % 3):
                found.sums.make_room()
                time.sleep(0.03)
            assert_whole(found.sums.told(complete=False))
        told = found.sums.told(complete=True)
        assert_whole(told)
        assert len(told.tasks) > 400
        own = sum(task.count for task in told.tasks if task.tracer)
        assert sum(total.count for total in told.roots) + own == sum(task.count for task in told.tasks)


def test_what_finds_a_table_full_is_counted_and_all_is_cleared(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(plan, "keys", lambda memory_bytes, cpus: 64)
    with counting("alloc") as found:
        work(found, 100)
        told = found.sums.told(complete=True)
        assert_whole(told)
        assert told.tasks_dropped > 0
        # Not even what lies in a table that is being exchanged is left.
        found.sums.make_room()
        found.sums.clear()
        cleared = found.sums.told(complete=True)
        assert (cleared.tasks, cleared.roots, cleared.tasks_dropped) == ((), (), 0)
        assert not any(one.seen for one in cleared.counters)
        work(found, 5)
        told = found.sums.told(complete=True)
        assert_whole(told)
        assert len(told.tasks) > 5
