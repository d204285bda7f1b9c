# SPDX-License-Identifier: Apache-2.0
"""Accepts as the kernel itself logged them, and as a run has them.

/sys/kernel/debug/unaccepted_emul has a line per accept: number, cpu, CLOCK_MONOTONIC,
start, end, 2 MiB units, ns wanted, ns really spent.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from memtrace.lab.sizes import MIB
from memtrace.traces.reader import Run, open_run

UNIT = 2 * MIB
Row = dict[str, Any]


@dataclass(frozen=True)
class Logged:
    """One accept, as the kernel itself logged it."""

    cpu: int
    at_ns: int
    start: int
    end: int
    wanted_ns: int
    spent_ns: int

    @property
    def cost(self) -> int:
        """ns wanted for each unit."""
        return self.wanted_ns * UNIT // (self.end - self.start)


def load(folder: Path, name: str) -> tuple[Run, list[Logged]]:
    """A run and the accepts begun while it was recorded."""
    run = open_run(folder / f"{name}.parquet")
    anchor = run.header.anchors[0]
    shift = anchor.boottime_ns - anchor.monotonic_ns
    found = []
    for line in (folder / f"{name}.log").read_text().splitlines():
        if line.startswith("#"):
            continue
        _, cpu, at, start, end, _, wanted, spent = line.split()
        moment = int(at) + shift
        if run.status.started_ns <= moment <= run.status.ended_ns:
            found.append(Logged(int(cpu), moment, int(start, 16), int(end, 16), int(wanted), int(spent)))
    return run, found


def rows(run: Run, event: str) -> list[Row]:
    """The rows of an event, oldest first."""
    found = [row for batch in run.batches() for row in batch.to_pylist() if row["event"] == event]
    return sorted(found, key=lambda row: row["ts_ns"])


def begin(row: Row) -> int:
    return int(row["ts_ns"] - row["dur_ns"])


def total(found: Iterable[Row], column: str) -> int:
    return sum(row[column] for row in found)


def inside(inner: Row, outer: Row) -> bool:
    return bool(
        inner["tid"] == outer["tid"] and begin(outer) <= begin(inner) and inner["ts_ns"] <= outer["ts_ns"]
    )


def paired(run: Run, log: list[Logged]) -> list[tuple[Row, Logged]]:
    """Each accept.arch with its line of the log: one to one, same range, CPU and moment."""
    traced = {(row["pfn"] * 4096, row["pfn"] * 4096 + row["bytes"]): row for row in rows(run, "accept.arch")}
    assert set(traced) == {(accept.start, accept.end) for accept in log}
    assert len(log) == len(rows(run, "accept.arch"))
    pairs = [(traced[accept.start, accept.end], accept) for accept in log]
    for row, accept in pairs:
        assert row["cpu"] == accept.cpu
        assert begin(row) - 1_000_000 <= accept.at_ns <= row["ts_ns"] + 1_000_000
        assert row["dur_ns"] >= accept.spent_ns
    return pairs
