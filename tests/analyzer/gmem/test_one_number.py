# SPDX-License-Identifier: Apache-2.0
"""The rows of a run and the tables of its page have the same faults, whichever table is asked."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from memtrace.analyzer.tables import Report
from memtrace.analyzer.views import PLAIN, view
from memtrace.tests.analyzer.gmem.host import case
from memtrace.tests.analyzer.gmem.tables import rows
from memtrace.tests.analyzer.gmem.test_gmem_golden import SAVED, everything
from memtrace.tests.analyzer.recorded import Case
from memtrace.tests.sql import fetched
from memtrace.traces.importers import assemble
from memtrace.traces.reader import Run, open_run
from memtrace.traces.schema import Flag

PERF = SAVED.with_name("gmem-fault-perf-6.12.txt.gz")


@pytest.fixture(params=["everything", "default", SAVED, PERF], ids=str)
def made(request: pytest.FixtureRequest, run_of: Callable[[Case], Run]) -> Iterator[tuple[Path, Report]]:
    """A run file and its page: recorded ones, the second of an ordinary VM, and imported ones."""
    path = Path("run.parquet")
    if isinstance(request.param, Path):
        clock = "mono" if request.param == PERF else None
        assemble.run_import(assemble.Request((str(request.param),), path, clock=clock))
    else:
        run_of(case(everything(), "default" if request.param == "default" else "snp"))
    with open_run(path) as run:
        yield path, view(run, "gmem", PLAIN).report


def test_faults_are_as_many_in_every_table(made: tuple[Path, Report]) -> None:
    path, report = made
    ((faults, private),) = fetched(
        f"SELECT count(*), count(*) FILTER (flags & {int(Flag.PRIVATE)} <> 0) FROM '{path}' "
        "WHERE event = 'gmem.fault'"
    )
    vms = rows(report, "vms")
    assert sum(row["faults"] for row in vms) == faults
    parts = ("private_faults", "shared_faults", "ordinary_faults", "unknown_faults")
    for row in vms:
        assert sum(row[part] or 0 for part in parts) == row["faults"]
    ordinary = sum(row["ordinary_faults"] for row in vms)
    assert sum(row["private_faults"] or 0 for row in vms) == private - ordinary
    by_region: Counter[tuple[int | None, int | None]] = Counter()
    for row in rows(report, "stalls"):
        by_region[row["vm"], row["task"]] += row["faults"]
    assert by_region == {(row["vm"], row["task"]): row["faults"] for row in vms if row["faults"]}


def test_a_pause_is_a_gap_of_the_region_that_went_on(made: tuple[Path, Report]) -> None:
    _, report = made
    longest: dict[tuple[int | None, int | None], int] = {}
    for row in rows(report, "stalls"):
        key = row["vm"], row["task"]
        longest[key] = max(longest.get(key, 0), row["gap_ns"])
    for row in rows(report, "pauses"):
        assert row["pause_ns"] <= longest[row["vm"], row["task"]]
