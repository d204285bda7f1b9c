# SPDX-License-Identifier: Apache-2.0
"""A recording of hotplug in a guest, and the rows of its report."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from memtrace.analyzer.tables import Report
from memtrace.analyzer.views import view
from memtrace.lab.sizes import MIB
from memtrace.traces.reader import open_run
from memtrace.traces.run import RunStatus

BLOCK = 128 * MIB
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
wait_for_checkpoints() {
  for times in 1 2; do
    size=$(stat -c %s $RESULTS/run.parquet)
    for try in $(seq 300); do
      [ $(stat -c %s $RESULTS/run.parquet) != $size ] && break
      sleep .1
    done
  done
}
online() {
  for block in /sys/devices/system/node/node$2/memory[0-9]*; do
    grep -q offline $block/state && echo $1 > $block/state
  done
}
SH
"""
Rows = list[dict[str, Any]]


def unfinished(status: RunStatus, prefix: str) -> int:
    """Intervals of some events whose end was not seen."""
    return sum((c.no_exit or 0) + (c.open or 0) for c in status.counters if c.event.startswith(prefix))


def report_of(file: Path) -> Report:
    with open_run(file) as run:
        assert unfinished(run.status, "hot.") == 0
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
